"""Anthropic: signatures, redacted thinking, citations, and the blocks of tools that the provider runs itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from durable_streams.agents.events import Cited, Kept, ReasoningEnded, TextEnded, Usage
from durable_streams.agents.wires.keepers.base import Keeper, count, listed, mapping, text, with_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.base import Decoder

_SAID: Final = frozenset({"text", "thinking", "tool_use"})
"""Blocks that the inner decoder knows."""
_TEXTS: Final = frozenset({"text_delta", "thinking_delta"})
"""Deltas of which nothing is kept; what they say is shown, whatever block it is in."""
_BLOCKS: Final = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})


class AnthropicKeeper(Keeper):
    """Keeps blocks; see the module. The inner decoder does not hear of those it does not know."""

    def __init__(self, inner: Decoder, prefix: str = "") -> None:
        super().__init__(inner, prefix)
        self._blocks: dict[object, dict[str, Any]] = {}
        self._inputs: dict[object, str] = {}
        self._told: dict[str, int] = {}
        self._source_count = 0
        self._stopped: object = None

    def feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what an event says; see ``Decoder``."""
        delta = event.get("delta")
        if event.get("type") == "content_block_delta" and isinstance(delta, dict) and delta.get("type") in _TEXTS:
            return iter(self._inner.feed(event))
        return self._look(event)

    def _look(self, event: Mapping[str, Any]) -> Iterator[Event]:
        if event.get("type") == "message":
            for piece in _in_pieces(event):
                yield from self._look(piece)
            return
        self._observe(event)
        block = self._blocks.get(event.get("index")) if event.get("type") in _BLOCKS else None
        if block is None or block.get("type") in _SAID:
            yield from super().feed(event)
        elif event["type"] == "content_block_stop":
            yield from self._foreign(event)

    def usage_in(self, event: Mapping[str, Any]) -> Usage | None:
        """Return the tokens told of; see ``Keeper``. What is told later replaces what was told first."""
        told = mapping(event.get("usage")) or mapping(mapping(event.get("message")).get("usage"))
        if not told:
            return None
        self._told |= {name: value for name, value in told.items() if isinstance(value, int)}
        read = count(self._told.get("cache_read_input_tokens"))
        written = count(self._told.get("cache_creation_input_tokens"))
        fresh = count(self._told.get("input_tokens"))
        return Usage(fresh + read + written, count(self._told.get("output_tokens")), read)

    def marked(self, said: Event) -> Event:
        """Return the event with its block's signature or citations; see ``Keeper``."""
        if not isinstance(said, ReasoningEnded | TextEnded):
            return said
        block = self._blocks.get(self._stopped, {})
        name = "signature" if isinstance(said, ReasoningEnded) else "citations"
        return with_metadata(said, {name: block[name]} if block.get(name) else {})

    def beside(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the sources of a block; see ``Keeper``."""
        if event.get("type") != "content_block_stop":
            return
        for cited in listed(self._blocks.pop(event.get("index"), {}).get("citations")):
            if text(cited.get("url")):
                self._source_count += 1
                name = f"{self._prefix}source-{self._source_count}"
                yield Cited(name, cited["url"], text(cited.get("title")) or None)

    def _observe(self, event: Mapping[str, Any]) -> None:
        index, kind = event.get("index"), event.get("type")
        self._stopped = index if kind == "content_block_stop" else None
        if kind == "content_block_start":
            self._blocks[index] = dict(mapping(event.get("content_block")))
            return
        if kind != "content_block_delta":
            return
        # Relays leave out the start of some blocks, of those whose kind their deltas tell.
        block, delta = self._blocks.setdefault(index, {"type": "text"}), mapping(event.get("delta"))
        if delta.get("type") == "signature_delta":
            block["signature"] = text(block.get("signature")) + text(delta.get("signature"))
        elif delta.get("type") == "citations_delta":
            block["citations"] = [*listed(block.get("citations")), mapping(delta.get("citation"))]
        elif delta.get("type") == "input_json_delta":
            self._inputs[index] = self._inputs.get(index, "") + text(delta.get("partial_json"))

    def _foreign(self, event: Mapping[str, Any]) -> Iterator[Event]:
        block = self._blocks.pop(event["index"])
        if block.get("type") == "redacted_thinking":
            yield ReasoningEnded(f"{self._prefix}block-{event['index']}", {"redacted": text(block.get("data"))})
            return
        given = self._inputs.pop(event["index"], "")
        if given:
            try:
                block["input"] = orjson.loads(given)
            except orjson.JSONDecodeError:
                return  # it can be shown to nobody again
        yield Kept({"block": {name: value for name, value in block.items() if value is not None}})


def _in_pieces(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of an answer that was not streamed."""
    whole = {name: value for name, value in message.items() if name != "content"}
    yield {"type": "message_start", "message": {**whole, "content": []}}
    for index, block in enumerate(listed(message.get("content"))):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": message.get("stop_reason")}, "usage": message.get("usage")}
    yield {"type": "message_stop"}

"""Events of Anthropic Messages. Parts are content blocks, keyed by their index.

What a block starts with counts as much as what its deltas add, since relays send whole blocks. An answer that was not
streamed is a message with its blocks in a list. A turn that the provider has paused goes on with another request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.events import (
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    Usage,
)
from durable_streams.agents.wires.decoders.base import error_message, flat_error
from durable_streams.agents.wires.decoders.calls import Calls, fragment_of
from durable_streams.agents.wires.decoders.json_text import Joiner
from durable_streams.agents.wires.decoders.reasons import CUT, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.calls import OpenCall

PAUSED: Final = "pause_turn"
_KINDS: Final = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""A delta's type → that of the block it belongs to."""


@dataclass(slots=True)
class _Block:
    kind: str
    part: str
    call: OpenCall | None = None
    started_with: object = None


class AnthropicDecoder:
    """Events of one message; see the module."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._blocks: dict[object, _Block] = {}
        self._calls = Calls(prefix)
        self._joiner = Joiner()
        self._said: str | None = None
        self._reason: FinishReason | None = None
        self._input_count = self._output_count = 0
        self._stopped = False
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Event]]] = {
            "message_start": lambda event: self._message(event["message"]),
            "message": self._message,
            "content_block_start": lambda event: self._block_start(event.get("index"), event["content_block"]),
            "content_block_delta": self._block_delta,
            "content_block_stop": lambda event: self._block_stop(event.get("index")),
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
        }

    @property
    def ended(self) -> bool:
        """Whether ``message_stop`` has come."""
        return self._stopped

    def feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what an event says; see ``Decoder``."""
        handler = self._handlers.get(str(event.get("type")))
        if handler is not None:
            yield from handler(event)
        elif error := flat_error(event):
            raise UpstreamError(error_message(error))

    def finish(self) -> Iterator[Event]:
        """Yield what the end says; see ``Decoder``."""
        if not self._stopped and self._said is None:
            raise UpstreamCutError
        for index in list(self._blocks):
            yield from self._block_stop(index)
        yield from self._calls.end_all(cut=self._reason in CUT)
        usage = Usage(self._input_count, self._output_count)
        reason = self._reason or "other"
        if reason == "stop" and self._calls.count:
            reason = "tool-calls"
        yield Finished(reason, usage, self._said, paused=self._said == PAUSED)

    def _message(self, message: Mapping[str, Any]) -> Iterator[Event]:
        self._count(message)
        for index, block in enumerate(message.get("content") or ()):
            yield from self._block_start(index, block)
            yield from self._block_stop(index)
        self._end(message)

    def _count(self, message: Mapping[str, Any]) -> None:
        usage = message.get("usage") or {}
        self._input_count = usage.get("input_tokens") or self._input_count
        self._output_count = usage.get("output_tokens") or self._output_count

    def _end(self, message: Mapping[str, Any]) -> None:
        if said := message.get("stop_reason"):
            self._said, self._reason = str(said), reason_of(str(said))

    def _block_start(self, index: object, content: Mapping[str, Any]) -> Iterator[Event]:
        block = self._open(index, content["type"])
        if block.kind == "tool_use":
            block.call = self._calls.begin(str(content.get("id") or ""))
            block.started_with = content.get("input")
            yield from self._calls.say(block.call, fragment_of(None, content.get("name"), None))
            return
        yield from self._say(block, content.get(block.kind))

    def _open(self, index: object, kind: str) -> _Block:
        block = self._blocks[index] = _Block(kind, f"{self._prefix}block-{index or 0}")
        return block

    def _block_delta(self, event: Mapping[str, Any]) -> Iterator[Event]:
        delta, index = event["delta"], event.get("index")
        kind = delta["type"]
        block = self._blocks.get(index)
        if block is None:
            if kind not in _KINDS or kind == "input_json_delta":
                return  # without its start nobody knows which tool it is for
            block = self._open(index, _KINDS[kind])
        if kind == "input_json_delta":
            if block.call is not None:
                yield from self._calls.say(block.call, fragment_of(None, None, delta.get("partial_json")))
        else:
            yield from self._say(block, delta.get(_KINDS.get(kind, "")))

    def _say(self, block: _Block, text: object) -> Iterator[Event]:
        said = self._joiner.take(block.part, text) if isinstance(text, str) else ""
        if said:
            yield TextDelta(block.part, said) if block.kind == "text" else ReasoningDelta(block.part, said)

    def _block_stop(self, index: object) -> Iterator[Event]:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.call is not None:
            if not block.call.text.strip() and block.started_with not in ({}, None):
                # Its deltas, if any, have said nothing: the input came with the start.
                yield from self._calls.say(block.call, fragment_of(None, None, block.started_with))
            return  # whether the answer was cut off there, its end says
        yield from self._say(block, self._joiner.rest(block.part))
        if block.kind == "thinking":
            yield ReasoningEnded(block.part)
        elif block.kind == "text":
            yield TextEnded(block.part)

    def _message_delta(self, event: Mapping[str, Any]) -> Iterator[Event]:
        self._count(event)
        self._end(event["delta"])
        yield from ()

    def _message_stop(self, _event: Mapping[str, Any]) -> Iterator[Event]:
        self._stopped = True
        yield from ()

"""Responses: items of reasoning and of the provider's own tools are kept whole; generated images are files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import FileGiven, Kept, ReasoningEnded, Usage
from durable_streams.agents.wires.decoders.openai_responses import thoughts_part
from durable_streams.agents.wires.keepers.base import Keeper, count, listed, mapping, text, with_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.base import Decoder

_SAID: Final = frozenset({"message", "function_call", "reasoning"})
"""Items whose content is in events of its own."""


class ResponsesKeeper(Keeper):
    """Keeps items; see the module."""

    def __init__(self, inner: Decoder, prefix: str = "") -> None:
        super().__init__(inner, prefix)
        self._thoughts: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()

    def usage_in(self, event: Mapping[str, Any]) -> Usage | None:
        """Return the tokens told of; see ``Keeper``."""
        whole = event if event.get("object") == "response" else mapping(event.get("response"))
        told = mapping(whole.get("usage"))
        return _usage(told) if told else None

    def observe(self, event: Mapping[str, Any]) -> None:
        """Look at an event; see ``Keeper``."""
        for item in _items(event):
            if item.get("type") == "reasoning":
                self._thoughts[thoughts_part(self._prefix, item.get("id"))] = item

    def marked(self, said: Event) -> Event:
        """Return the event with its item; see ``Keeper``."""
        if isinstance(said, ReasoningEnded) and said.part in self._thoughts:
            return with_metadata(said, {"item": self._thoughts[said.part]})
        return said

    def beside(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield files, and items of the provider's own tools, each once; see ``Keeper``."""
        for item in _items(event):
            name = text(item.get("id"))
            if text(item.get("type")) and item["type"] not in _SAID and name not in self._seen:
                self._seen |= {name} if name else set()
                yield _image(item) or Kept({"item": item})


def _items(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the complete items in an event: the one that is done, or those of an answer that was not streamed."""
    if event.get("type") == "response.output_item.done":
        return listed([event.get("item")])
    return listed(event.get("output")) if event.get("object") == "response" else []


def _image(item: dict[str, Any]) -> Event | None:
    image = text(item.get("result")) if item.get("type") == "image_generation_call" else ""
    if not image:
        return None
    kind = f"image/{text(item.get('output_format')) or 'png'}"
    slim = {name: value for name, value in item.items() if name != "result"}
    return FileGiven(kind, f"data:{kind};base64,{image}", {"item": slim})


def _usage(told: dict[str, Any]) -> Usage:
    read, said = mapping(told.get("input_tokens_details")), mapping(told.get("output_tokens_details"))
    return Usage(
        count(told.get("input_tokens")),
        count(told.get("output_tokens")),
        count(read.get("cached_tokens")),
        count(said.get("reasoning_tokens")),
    )

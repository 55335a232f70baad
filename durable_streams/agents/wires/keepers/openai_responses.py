"""Responses: items of reasoning and of the provider's own tools are kept whole; generated images are files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import FileGiven, Kept, ReasoningEnded, Usage
from durable_streams.agents.fit import DELTAS
from durable_streams.agents.wires.keepers.base import Keeper, count, listed, mapping, text, with_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.base import Decoder

_SAID: Final = frozenset({"message", "function_call", "reasoning"})
"""Items whose content is in events of its own."""

_WHOLE: Final = frozenset({None, "response.completed", "response.incomplete"})
"""Events that hold the whole response; one that was not streamed has no type."""


class ResponsesKeeper(Keeper):
    """Keeps items; see the module."""

    def __init__(self, inner: Decoder, prefix: str = "") -> None:
        super().__init__(inner, prefix)
        self._items: list[dict[str, Any]] = []
        self._thoughts: list[dict[str, Any]] = []
        self._seen: set[tuple[object, ...]] = set()

    def is_plain(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is a delta; see ``Keeper``."""
        return str(event.get("type")).endswith(".delta")

    def usage_in(self, event: Mapping[str, Any]) -> Usage | None:
        """Return the tokens told of; see ``Keeper``."""
        whole = event if event.get("object") == "response" else mapping(event.get("response"))
        told = mapping(whole.get("usage"))
        return _usage(told) if told else None

    def observe(self, event: Mapping[str, Any]) -> None:
        """Look at an event; see ``Keeper``."""
        self._items = [item for item in _items(event) if self._is_new(item)]
        self._thoughts += [item for item in self._items if item.get("type") == "reasoning"]

    def marked(self, said: Event) -> Event:
        """Return the event with its item; see ``Keeper``. Items of reasoning end in the order in which they come."""
        if type(said) not in DELTAS and isinstance(said, ReasoningEnded) and self._thoughts:
            return with_metadata(said, {"item": self._thoughts.pop(0)})
        return said

    def beside(self, _event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield files, and items of the provider's own tools; see ``Keeper``."""
        for item in self._items:
            if text(item.get("type")) and item["type"] not in _SAID:
                yield _image(item) or Kept({"item": item})

    def _is_new(self, item: dict[str, Any]) -> bool:
        """Return whether an item is seen for the first time: the whole response has all of them again."""
        # Some give all items of a response the same id.
        key = (item.get("type"), item.get("id"), text(item.get("encrypted_content")))
        is_new = not item.get("id") or key not in self._seen
        self._seen.add(key)
        return is_new


def _items(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the complete items in an event: the one that is done, or those of the whole response."""
    if event.get("type") == "response.output_item.done":
        return listed([event.get("item")])
    whole = event if event.get("object") == "response" else mapping(event.get("response"))
    # One without an id would be told twice.
    return [item for item in listed(whole.get("output")) if item.get("id")] if event.get("type") in _WHOLE else []


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

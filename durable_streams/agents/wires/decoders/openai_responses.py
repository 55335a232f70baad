"""Events of OpenAI Responses. Parts are output items, keyed by ``item_id``; ``sequence_number`` tells repeats.

Each text and each call may come in deltas, whole when it is done, whole with its item, and whole with the response:
the first form that has anything counts, since relays leave out some of them. An answer that was not streamed is the
response itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.events import (
    Cited,
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
from durable_streams.agents.wires.decoders.content import pieces
from durable_streams.agents.wires.decoders.json_text import Joiner
from durable_streams.agents.wires.decoders.reasons import CUT, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.calls import OpenCall

_FAILED: Final = frozenset({"failed", "cancelled"})


def thoughts_part(prefix: str, item_id: object) -> str:
    """Return the name of the part that a reasoning item becomes."""
    # Some give all items of a response the same id, and a part is of one kind.
    return f"{prefix}{item_id or 'item'}-reasoning"


class OpenAIResponsesDecoder:
    """Events of one response; see the module."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._seen: dict[int, int] = {}
        self._numbered = True
        self._calls = Calls(prefix)
        self._places: dict[str, OpenCall] = {}
        self._said: dict[str, bool] = {}
        self._thought: str | None = None
        self._has_thought = False
        self._joiner = Joiner()
        self._refused = False
        self._finished: Finished | None = None
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Event]]] = {
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.output_text.delta": self._text,
            "response.refusal.delta": self._refusal,
            "response.output_text.done": self._text_done,
            "response.refusal.done": self._refusal_done,
            "response.output_text.annotation.added": self._annotation,
            "response.reasoning_summary_text.delta": self._reasoning,
            "response.reasoning_text.delta": self._reasoning,
            "response.function_call_arguments.delta": lambda event: self._arguments(event, "delta"),
            "response.function_call_arguments.done": lambda event: self._arguments(event, "arguments"),
            "response.completed": lambda event: self._response(event["response"]),
            "response.incomplete": lambda event: self._response(event["response"]),
            "response.failed": self._failed,
            "response.cancelled": self._failed,
            "error": self._failed,
        }

    @property
    def ended(self) -> bool:
        """Whether the response has been told whole."""
        return self._finished is not None

    def feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what an event says; one that was seen already says nothing."""
        if self._is_repeated(event):
            return
        handler = self._handlers.get(str(event.get("type")))
        if handler is not None:
            yield from handler(event)
        elif event.get("object") == "response" and "type" not in event:
            yield from self._response(event)
        elif error := flat_error(event):
            raise UpstreamError(error_message(error))

    def finish(self) -> Iterator[Event]:
        """Yield what the end says; see ``Decoder``."""
        if self._finished is None:
            raise UpstreamCutError
        yield from self._calls.end_all(cut=self._finished.reason in CUT)
        yield self._finished

    def _is_repeated(self, event: Mapping[str, Any]) -> bool:
        number = event.get("sequence_number")
        if not isinstance(number, int) or not self._numbered:
            return False
        said = hash((event.get("type"), event.get("item_id"), str(event.get("delta"))))
        if number not in self._seen:
            self._seen[number] = said
            return False
        # Some relays number all events alike: from there on numbers tell nothing.
        self._numbered = self._seen[number] == said
        return self._numbered

    def _part(self, event: Mapping[str, Any], kind: str) -> str:
        index = event.get("content_index") or event.get("summary_index") or 0
        return f"{self._prefix}{event.get('item_id') or kind}" + (f"-{index}" if index else "")

    def _text(self, event: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._say(self._part(event, "text"), event.get("delta"))

    def _text_done(self, event: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._whole(self._part(event, "text"), event.get("text"))

    def _refusal(self, event: Mapping[str, Any]) -> Iterator[Event]:
        self._refused = True
        yield from self._text(event)

    def _refusal_done(self, event: Mapping[str, Any]) -> Iterator[Event]:
        self._refused = True
        yield from self._whole(self._part(event, "text"), event.get("refusal"))

    def _say(self, part: str, text: object) -> Iterator[Event]:
        said = self._joiner.take(part, text) if isinstance(text, str) else ""
        if said:
            self._said[part] = True
            yield TextDelta(part, said)

    def _whole(self, part: str, text: object) -> Iterator[Event]:
        """Yield a part's end, and before it the whole text if its deltas have not come."""
        if part not in self._said:
            yield from self._say(part, text)
        yield from self._say(part, self._joiner.rest(part))
        yield TextEnded(part)

    def _reasoning(self, event: Mapping[str, Any]) -> Iterator[Event]:
        # All summaries of an item are one part, so that the item's end closes it.
        yield from self._think(thoughts_part(self._prefix, event.get("item_id")), event.get("delta"))

    def _think(self, part: str, text: object) -> Iterator[Event]:
        said = self._joiner.take(part, text) if isinstance(text, str) else ""
        if said:
            self._thought, self._has_thought = part, True
            yield ReasoningDelta(part, said)

    def _annotation(self, event: Mapping[str, Any]) -> Iterator[Event]:
        annotation = event.get("annotation") or {}
        url = annotation.get("url")
        number = event.get("annotation_index", 0)
        if url:
            yield Cited(f"{self._part(event, 'text')}-{number}", url, annotation.get("title"))

    def _item_added(self, event: Mapping[str, Any]) -> Iterator[Event]:
        if event["item"].get("type") == "function_call":
            yield from self._announced(event["item"], event)

    def _announced(self, item: Mapping[str, Any], event: Mapping[str, Any]) -> Iterator[Event]:
        call = self._calls.begin(str(item.get("call_id") or item.get("id") or ""))
        self._places |= dict.fromkeys(_places(item, event), call)
        yield from self._calls.say(call, fragment_of(None, item.get("name"), None))

    def _arguments(self, event: Mapping[str, Any], field: str) -> Iterator[Event]:
        call = self._found({}, event)
        if call is not None and (field == "delta" or not call.text.strip()):
            yield from self._calls.say(call, fragment_of(None, event.get("name"), event.get(field)))

    def _item_done(self, event: Mapping[str, Any]) -> Iterator[Event]:
        item = event["item"]
        kind = item.get("type")
        if kind == "function_call":
            yield from self._call(item, event, cut=item.get("status") == "incomplete")
        elif kind == "reasoning":
            yield from self._thoughts(item)
        elif kind == "message":
            yield from self._message(item)

    def _thoughts(self, item: Mapping[str, Any]) -> Iterator[Event]:
        part = self._thought or thoughts_part(self._prefix, item.get("id"))
        if self._thought is None:
            for _, text in pieces(item.get("summary") or item.get("content")):
                yield from self._think(part, text)
        yield from self._think(part, self._joiner.rest(part))
        self._thought = None
        yield ReasoningEnded(part)

    def _message(self, item: Mapping[str, Any]) -> Iterator[Event]:
        # Relays give an item another id in each event: what was said since the last item is this one's.
        said = [part for part, since in self._said.items() if since]
        for part in said:
            yield from self._whole(part, None)
        for index, content in enumerate(item.get("content") or ()):
            self._refused = self._refused or content.get("type") == "refusal"
            if not said:
                part = self._part({"item_id": item.get("id"), "content_index": index}, "text")
                yield from self._whole(part, "".join(text for _, text in pieces(content)))
        self._said = dict.fromkeys(self._said, False)

    def _call(self, item: Mapping[str, Any], event: Mapping[str, Any], *, cut: bool) -> Iterator[Event]:
        call = self._found(item, event)
        if call is None:
            yield from self._announced(item, event)
            call = self._calls.last()
        if call is None or not self._calls.is_open(call):
            return  # told when it was done, and told again with the response
        if not call.text.strip():
            yield from self._calls.say(call, fragment_of(None, item.get("name"), item.get("arguments")))
        yield self._calls.end(call, cut=cut)

    def _found(self, item: Mapping[str, Any], event: Mapping[str, Any]) -> OpenCall | None:
        """Return the call that an item or event is of; relays leave out some of what tells it, and repeat the rest."""
        given_id = item.get("call_id")
        for place in _places(item, event):
            call = self._places.get(place)
            if call is not None and given_id in {None, call.given_id}:
                return call
        return None

    def _response(self, response: Mapping[str, Any]) -> Iterator[Event]:
        if response.get("status") in _FAILED or response.get("error"):
            raise UpstreamError(error_message(response.get("error") or response.get("status")))
        why = (response.get("incomplete_details") or {}).get("reason")
        said = why or ("incomplete" if response.get("status") == "incomplete" else None)
        for index, item in enumerate(self._untold(response.get("output") or ())):
            yield from self._item_done({"item": item, "output_index": index})
        self._finished = Finished(self._reason(said), _usage(response.get("usage") or {}), said)

    def _untold(self, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the items of a kind of which the events have told nothing."""
        told = {"message": bool(self._said), "reasoning": self._has_thought, "function_call": self._calls.count > 0}
        return [item for item in items if not told.get(str(item.get("type")))]

    def _reason(self, said: str | None) -> FinishReason:
        if said is not None:
            return "length" if said == "incomplete" else reason_of(said)
        return "tool-calls" if self._calls.count else "content-filter" if self._refused else "stop"

    def _failed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        response = event.get("response") or {}
        raise UpstreamError(error_message(response.get("error") or event.get("error") or dict(event)))
        yield  # a generator


def _places(item: Mapping[str, Any], event: Mapping[str, Any]) -> list[str]:
    """Return what a call may be found by, the surest first; by its own id only if it has no place of its own."""
    place, named = event.get("output_index"), item.get("id") or event.get("item_id")
    places = [f"output {place}"] if place is not None else []
    places += [f"item {named}"] if named else []
    return places or [f"call {item.get('call_id')}"]


def _usage(spent: Mapping[str, Any]) -> Usage | None:
    return Usage(spent.get("input_tokens") or 0, spent.get("output_tokens") or 0) if spent else None

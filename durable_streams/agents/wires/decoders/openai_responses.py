"""Events of OpenAI Responses. Parts are output items, keyed by ``item_id``; ``sequence_number`` tells repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.events import (
    Cited,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    ToolInputDelta,
    Usage,
)
from durable_streams.agents.wires.decoders.base import called, error_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.agents.events import Event


class OpenAIResponsesDecoder:
    """Events of one response; see the module."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._seen = -1
        self._calls: dict[str, tuple[str, str]] = {}
        self._called = False
        self._finished: Finished | None = None
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], list[Event]]] = {
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.output_text.delta": self._text,
            "response.refusal.delta": self._text,
            "response.output_text.done": self._text_done,
            "response.refusal.done": self._text_done,
            "response.output_text.annotation.added": self._annotation,
            "response.reasoning_summary_text.delta": self._reasoning,
            "response.reasoning_text.delta": self._reasoning,
            "response.function_call_arguments.delta": self._arguments,
            "response.completed": self._completed,
            "response.incomplete": self._completed,
            "response.failed": self._failed,
            "response.cancelled": self._failed,
            "error": self._failed,
        }

    def feed(self, event: Mapping[str, Any]) -> list[Event]:
        """Return what an event says; one that was seen already says nothing."""
        number = event.get("sequence_number")
        if isinstance(number, int):
            if number <= self._seen:
                return []
            self._seen = number
        handler = self._handlers.get(str(event.get("type")))
        return [] if handler is None else handler(event)

    def finish(self) -> list[Event]:
        """Return what the end says; see ``Decoder``."""
        if self._finished is None:
            raise UpstreamCutError
        return [self._finished]

    def _part(self, event: Mapping[str, Any], kind: str) -> str:
        index = event.get("content_index") or event.get("summary_index") or 0
        return f"{self._prefix}{event.get('item_id', kind)}" + (f"-{index}" if index else "")

    def _text(self, event: Mapping[str, Any]) -> list[Event]:
        return [TextDelta(self._part(event, "text"), event["delta"])]

    def _text_done(self, event: Mapping[str, Any]) -> list[Event]:
        return [TextEnded(self._part(event, "text"))]

    def _reasoning(self, event: Mapping[str, Any]) -> list[Event]:
        # All summaries of an item are one part, so that the item's end closes it.
        return [ReasoningDelta(f"{self._prefix}{event.get('item_id', 'reasoning')}", event["delta"])]

    def _annotation(self, event: Mapping[str, Any]) -> list[Event]:
        annotation = event.get("annotation") or {}
        url = annotation.get("url")
        number = event.get("annotation_index", 0)
        return [Cited(f"{self._part(event, 'text')}-{number}", url, annotation.get("title"))] if url else []

    def _item_added(self, event: Mapping[str, Any]) -> list[Event]:
        item = event["item"]
        if item.get("type") != "function_call":
            return []
        self._calls[item["id"]] = (item["call_id"], item["name"])
        return [ToolInputDelta(item["call_id"], item["name"], "")]

    def _arguments(self, event: Mapping[str, Any]) -> list[Event]:
        call = self._calls.get(event["item_id"])
        return [] if call is None else [ToolInputDelta(*call, event["delta"])]

    def _item_done(self, event: Mapping[str, Any]) -> list[Event]:
        item = event["item"]
        if item.get("type") == "function_call":
            self._called = True
            return [called(item["call_id"], item["name"], item.get("arguments") or "")]
        if item.get("type") == "reasoning":
            return [ReasoningEnded(f"{self._prefix}{item.get('id', 'reasoning')}")]
        return []

    def _completed(self, event: Mapping[str, Any]) -> list[Event]:
        response = event["response"]
        spent = response.get("usage") or {}
        usage = Usage(spent.get("input_tokens") or 0, spent.get("output_tokens") or 0) if spent else None
        self._finished = Finished(self._reason(response), usage)
        return []

    def _reason(self, response: Mapping[str, Any]) -> FinishReason:
        why = (response.get("incomplete_details") or {}).get("reason")
        if why is not None:
            return "content-filter" if why == "content_filter" else "length"
        return "tool-calls" if self._called else "stop"

    def _failed(self, event: Mapping[str, Any]) -> list[Event]:
        response = event.get("response") or {}
        raise UpstreamError(error_message(response.get("error") or event.get("error") or dict(event)))

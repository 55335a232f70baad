"""Chunks of OpenAI Chat Completions, and of the many servers that speak it.

A call's fragments are keyed by ``index``; id and name come with the first fragment alone. ``finish_reason`` comes
before the usage, whose chunk has no choices. Servers add ``reasoning_content`` or ``reasoning``.
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
    ToolInputDelta,
    Usage,
)
from durable_streams.agents.wires.decoders.base import called, error_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event

REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
}


@dataclass(slots=True)
class _Fragments:
    call_id: str
    tool: str
    text: str = ""


class OpenAIChatDecoder:
    """Chunks of one completion; see the module."""

    def __init__(self, prefix: str = "") -> None:
        self._text, self._reasoning = f"{prefix}text", f"{prefix}reasoning"
        self._prefix = prefix
        self._open: str | None = None
        self._calls: dict[int, _Fragments] = {}
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def feed(self, event: Mapping[str, Any]) -> list[Event]:
        """Return what a chunk says; see ``Decoder``."""
        if event.get("error"):
            raise UpstreamError(error_message(event["error"]))
        if usage := event.get("usage"):
            self._usage = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        choices = event.get("choices") or ()
        return self._choice(choices[0]) if choices else []

    def finish(self) -> list[Event]:
        """Return what the end says; see ``Decoder``."""
        if self._reason is None:
            raise UpstreamCutError
        return [Finished(self._reason, self._usage)]

    def _choice(self, choice: Mapping[str, Any]) -> list[Event]:
        delta = choice.get("delta") or {}
        events: list[Event] = []
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            events += [*self._switch(self._reasoning), ReasoningDelta(self._reasoning, thought)]
        said = delta.get("content") or delta.get("refusal")
        if said:
            events += [*self._switch(self._text), TextDelta(self._text, said)]
        for fragment in delta.get("tool_calls") or ():
            events += [*self._switch(None), *self._fragment(fragment)]
        if choice.get("finish_reason"):
            events += [*self._switch(None), *self._end(choice["finish_reason"])]
        return events

    def _end(self, reason: str) -> Iterator[Event]:
        self._reason = REASONS.get(reason, "other")
        for call in self._calls.values():
            yield called(call.call_id, call.tool, call.text)
        self._calls.clear()

    def _switch(self, part: str | None) -> list[Event]:
        """Close the open part if it is another one than ``part``, and open that one."""
        was, self._open = self._open, part
        if was is None or was == part:
            return []
        return [TextEnded(was) if was == self._text else ReasoningEnded(was)]

    def _fragment(self, fragment: Mapping[str, Any]) -> list[Event]:
        function = fragment.get("function") or {}
        index = fragment.get("index") or 0
        call = self._calls.get(index)
        if call is None:
            call_id = fragment.get("id") or f"{self._prefix}call-{index}"
            call = self._calls[index] = _Fragments(call_id, function.get("name") or "")
        text = function.get("arguments") or ""
        call.text += text
        return [ToolInputDelta(call.call_id, call.tool, text)]

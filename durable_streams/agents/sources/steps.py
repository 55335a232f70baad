"""One call of a model within an answer: what it said, as it is shown again, and which of its calls may run.

Pure. Invariant: no two calls of a session have one id; what is stored and shown is what runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.events import (
    FileGiven,
    Finished,
    Kept,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolInputDelta,
    ToolRejected,
)
from durable_streams.agents.plain import plain, whole
from durable_streams.agents.wires.decoders.calls import rejected, unique
from durable_streams.agents.wires.decoders.reasons import CUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage

_OF_CALLS: Final = (ToolInputDelta, ToolCalled, ToolRejected)


class Step:
    """What one call of the model says.

    Args:
        tools: by name; what their inputs must have is checked here.
        taken: ids of all earlier calls; those of this step are added. Servers that number their calls begin anew in
            each response, and others repeat an id; readers and providers know a call by its id alone.

    Attributes:
        calls: the complete calls, those that were rejected among them, in order.
    """

    def __init__(self, tools: Mapping[str, Tool], taken: set[str]) -> None:
        self.calls: list[ToolCalled | ToolRejected] = []
        self._tools, self._taken = tools, taken
        self._ids: dict[str, str] = {}
        self._open: dict[str, dict[str, Any]] = {}
        self._parts: list[dict[str, Any]] = []
        self._finished: Finished | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the model is to be called again: to see what became of its calls, or because it has paused.

        An answer that was cut off while it wrote the input of its only call would be cut off there again: it ends, and
        its reason says so.
        """
        if self._finished is not None and self._finished.paused:
            return True
        if self._finished is not None and self._finished.reason in CUT:
            return bool(self.to_run())
        return bool(self.calls)

    def to_run(self) -> list[ToolCalled]:
        """Return the calls that were not rejected."""
        return [call for call in self.calls if isinstance(call, ToolCalled)]

    def said(self, settled: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return all that was said as parts, in its order, the settled calls where they began.

        What a provider wants back may be signed together with what stands beside it.
        """
        calls = {part["toolCallId"]: part for part in settled}
        parts = [calls.get(part["toolCallId"]) if "toolCallId" in part else part for part in self._parts]
        return [_joined(part) for part in parts if part is not None]

    def take(self, event: Event) -> Event:
        """Take what the model says next, and return it as it is to be stored."""
        if isinstance(event, TextDelta | ReasoningDelta):
            self._say(event)
            return event
        if isinstance(event, _OF_CALLS):
            event = replace(event, call_id=self._placed(event.call_id))
        if isinstance(event, ToolCalled):
            event = self._checked(event)
        if isinstance(event, ToolCalled | ToolRejected):
            self.calls.append(event)
        elif isinstance(event, TextEnded | ReasoningEnded):
            self._end(event)
        elif isinstance(event, Kept):
            self._parts.append({"type": names.KEPT, "data": event.metadata})
        elif isinstance(event, FileGiven):
            made = {"type": names.FILE, "mediaType": event.media_type, "url": event.url}
            self._parts.append(made | _kept(event, names.METADATA))
        elif isinstance(event, Finished):
            self._finished = event
        return event

    def _say(self, event: TextDelta | ReasoningDelta) -> None:
        self._part(event.part, is_text=isinstance(event, TextDelta))["text"].append(event.text)

    def _end(self, event: TextEnded | ReasoningEnded) -> None:
        if event.metadata is not None:
            self._part(event.part, is_text=isinstance(event, TextEnded)).update(_kept(event, names.METADATA))

    def _part(self, name: str, *, is_text: bool) -> dict[str, Any]:
        part = self._open.get(name)
        if part is None:
            part = self._open[name] = {"type": "text" if is_text else "reasoning", "text": []}
            self._parts.append(part)
        return part

    def _placed(self, call_id: str) -> str:
        """Return the id that a call has here; its place is where it is first heard of."""
        if call_id not in self._ids:
            self._ids[call_id] = unique(call_id, self._taken)
            self._parts.append({"toolCallId": self._ids[call_id]})
        return self._ids[call_id]

    def _checked(self, call: ToolCalled) -> ToolCalled | ToolRejected:
        """Return the call, or its rejection if it has no input at all where its tool requires one.

        Providers send an empty input for a tool without parameters, and also where they have lost it.
        """
        tool = self._tools.get(call.tool)
        required = tool.parameters.get("required") if tool is not None else None
        if call.input != {} or not required:
            return call
        why = f"the input is empty, and the tool requires {', '.join(required)}"
        return replace(rejected(call.call_id, call.tool, "{}", why=why), metadata=call.metadata)


def _joined(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "text": whole("".join(part["text"]))} if "text" in part else part


def call_part(call: ToolCalled | ToolRejected) -> dict[str, Any]:
    """Return the part of a call as the model is shown it, without what became of it."""
    named = {"type": f"tool-{call.tool}", "toolCallId": call.call_id, **_kept(call, names.CALL_METADATA)}
    given = {"input": call.text} if isinstance(call, ToolRejected) else {"input": plain(call.input)}
    return named | given


def _kept(event: TextEnded | ReasoningEnded | ToolCalled | ToolRejected | FileGiven, field: str) -> dict[str, Any]:
    return {} if event.metadata is None else {field: event.metadata}


def ids_of(messages: Sequence[UIMessage]) -> set[str]:
    """Return the ids of all calls in a history."""
    parts = [part for message in messages for part in message.get("parts", ())]
    return {part["toolCallId"] for part in parts if isinstance(part.get("toolCallId"), str)}

"""One call of a model within an answer: what it said, as it is shown again, and which of its calls may run.

Pure. Invariant: no two calls of a session have one id; what is stored and shown is what runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import (
    Finished,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolCalled,
    ToolInputDelta,
    ToolRejected,
)
from durable_streams.agents.plain import whole
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
        self._texts: dict[str, list[str]] = {}
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

    def said(self) -> list[dict[str, Any]]:
        """Return texts and thoughts as parts."""
        return [{**part, "text": whole("".join(self._texts[name]))} for name, part in self._open.items()]

    def take(self, event: Event) -> Event:
        """Take what the model says next, and return it as it is to be stored."""
        if isinstance(event, TextDelta | ReasoningDelta):
            self._say(event)
            return event
        if isinstance(event, _OF_CALLS):
            event = replace(event, call_id=self._id_of(event.call_id))
        if isinstance(event, ToolCalled):
            event = self._checked(event)
        if isinstance(event, ToolCalled | ToolRejected):
            self.calls.append(event)
        elif isinstance(event, ReasoningEnded) and event.signature and event.part in self._open:
            self._open[event.part]["providerMetadata"] = {"anthropic": {"signature": event.signature}}
        elif isinstance(event, Finished):
            self._finished = event
        return event

    def _say(self, event: TextDelta | ReasoningDelta) -> None:
        if event.part not in self._open:
            self._open[event.part] = {"type": "text" if isinstance(event, TextDelta) else "reasoning"}
            self._texts[event.part] = []
        self._texts[event.part].append(event.text)

    def _id_of(self, call_id: str) -> str:
        if call_id not in self._ids:
            self._ids[call_id] = unique(call_id, self._taken)
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
        return rejected(call.call_id, call.tool, "{}", why=why)


def ids_of(messages: Sequence[UIMessage]) -> set[str]:
    """Return the ids of all calls in a history."""
    parts = [part for message in messages for part in message.get("parts", ())]
    return {part["toolCallId"] for part in parts if isinstance(part.get("toolCallId"), str)}

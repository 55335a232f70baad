"""From stored UI chunks back to events, so that another codec can say the same.

Pure and stateless: a chunk always means the same events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.events import (
    Cited,
    Custom,
    Noted,
    ReasoningDelta,
    ReasoningEnded,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolRejected,
    ToolReturned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.agents.events import Event

_READERS: Mapping[str, Callable[[dict[str, Any]], Event]] = {
    "start-step": lambda _chunk: StepStarted(),
    "finish-step": lambda _chunk: StepEnded(),
    "text-delta": lambda chunk: TextDelta(chunk["id"], chunk["delta"]),
    "text-end": lambda chunk: TextEnded(chunk["id"]),
    "reasoning-delta": lambda chunk: ReasoningDelta(chunk["id"], chunk["delta"]),
    "reasoning-end": lambda chunk: ReasoningEnded(chunk["id"]),
    "tool-input-start": lambda chunk: ToolInputDelta(chunk["toolCallId"], chunk["toolName"], ""),
    "tool-input-delta": lambda chunk: ToolInputDelta(chunk["toolCallId"], "", chunk["inputTextDelta"]),
    "tool-input-available": lambda chunk: ToolCalled(chunk["toolCallId"], chunk["toolName"], chunk["input"]),
    "tool-input-error": lambda chunk: ToolRejected(
        chunk["toolCallId"], chunk["toolName"], str(chunk["input"]), chunk["errorText"]
    ),
    "tool-output-available": lambda chunk: ToolReturned(chunk["toolCallId"], chunk["output"]),
    "tool-output-error": lambda chunk: ToolFailed(chunk["toolCallId"], chunk["errorText"]),
    "source-url": lambda chunk: Cited(chunk["sourceId"], chunk["url"], chunk.get("title")),
    "message-metadata": lambda chunk: Noted(chunk["messageMetadata"]),
}


def event_of(chunk: dict[str, Any]) -> Event | None:
    """Return the event that a chunk stands for; ``None`` for what begins or ends a message, and for unknown types."""
    kind = chunk["type"]
    if kind.startswith("data-"):
        return Custom(kind.removeprefix("data-"), chunk["data"], chunk.get("id"))
    reader = _READERS.get(kind)
    return None if reader is None else reader(chunk)

"""From stored UI chunks back to events, so that another codec can say the same.

Pure and stateless: a chunk always means the same events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.events import (
    DENIED,
    Cited,
    Custom,
    FileGiven,
    Kept,
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
from durable_streams.agents.fit import UnstorableError, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.agents.events import Event

_READERS: Mapping[str, Callable[[dict[str, Any]], Event]] = {
    names.START_STEP: lambda _chunk: StepStarted(),
    names.FINISH_STEP: lambda _chunk: StepEnded(),
    names.TEXT_DELTA: lambda chunk: TextDelta(chunk["id"], chunk[names.DELTA]),
    names.TEXT_END: lambda chunk: TextEnded(chunk["id"], chunk.get(names.METADATA)),
    names.REASONING_DELTA: lambda chunk: ReasoningDelta(chunk["id"], chunk[names.DELTA]),
    names.REASONING_END: lambda chunk: ReasoningEnded(chunk["id"], chunk.get(names.METADATA)),
    names.TOOL_INPUT_START: lambda chunk: ToolInputDelta(chunk["toolCallId"], chunk["toolName"], ""),
    names.TOOL_INPUT_DELTA: lambda chunk: ToolInputDelta(chunk["toolCallId"], "", chunk[names.INPUT_DELTA]),
    names.TOOL_INPUT_AVAILABLE: lambda chunk: ToolCalled(
        chunk["toolCallId"], chunk["toolName"], chunk["input"], chunk.get(names.METADATA)
    ),
    names.TOOL_INPUT_ERROR: lambda chunk: ToolRejected(
        chunk["toolCallId"], chunk["toolName"], str(chunk["input"]), chunk["errorText"], chunk.get(names.METADATA)
    ),
    names.TOOL_OUTPUT_AVAILABLE: lambda chunk: ToolReturned(chunk["toolCallId"], chunk["output"]),
    names.TOOL_OUTPUT_ERROR: lambda chunk: ToolFailed(chunk["toolCallId"], chunk["errorText"]),
    names.TOOL_OUTPUT_DENIED: lambda chunk: ToolFailed(chunk["toolCallId"], DENIED),
    names.SOURCE_URL: lambda chunk: Cited(chunk["sourceId"], chunk["url"], chunk.get("title")),
    names.FILE: lambda chunk: FileGiven(chunk["mediaType"], chunk["url"], chunk.get(names.METADATA)),
    names.KEPT: lambda chunk: Kept(chunk["data"]),
    names.MESSAGE_METADATA: lambda chunk: Noted(chunk["messageMetadata"]),
}


def event_of(chunk: dict[str, Any]) -> Event | None:
    """Return the event that a chunk stands for; ``None`` for what ends a message, and for what is unknown."""
    try:
        event = _event_of(chunk)
        return None if event is None else fit(event)
    except (LookupError, TypeError, AttributeError, UnstorableError):
        return None


def _event_of(chunk: dict[str, Any]) -> Event | None:
    kind = chunk["type"]
    reader = _READERS.get(kind)
    if reader is None and kind.startswith(names.DATA_PREFIX):
        if chunk.get("transient"):
            return None
        return Custom(kind.removeprefix(names.DATA_PREFIX), chunk["data"], chunk.get("id"))
    return None if reader is None else reader(chunk)

"""AI SDK UI message chunks: what ``useChat`` and its transports read.

The client's rules this keeps: a delta or an end for a part that is not open, and an item that is not an object, break
the client for good; ``start`` without ``messageId`` gives every tab a message of its own; a stream that just ends looks
complete. So parts are opened and closed exactly once and every ending is a chunk: ``finish``, ``abort`` or ``error``.
As clients ignore ``abort``, ``message-metadata`` before it says the same where an interface can show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.base import joined_deltas
from durable_streams.agents.codecs.open_parts import OpenParts
from durable_streams.agents.codecs.pending import pending_told, told_pending
from durable_streams.agents.events import (
    INTERRUPTED,
    UNKNOWN,
    Cited,
    Custom,
    Ending,
    FileGiven,
    Finished,
    How,
    Kept,
    Noted,
    ReasoningDelta,
    ReasoningEnded,
    Spent,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolRejected,
    ToolReturned,
    Usage,
    Waiting,
)
from durable_streams.agents.plain import encoded
from durable_streams.agents.usage import told_usage, usage_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from durable_streams.agents.codecs.base import Chunk, Identity
    from durable_streams.agents.events import Event

_TOLD_BY: Final[Mapping[str, How]] = {names.FINISH: "finished", names.ERROR: "failed"}
"""What a terminal chunk alone tells; of an ``abort`` the metadata beside it does."""
_CALL_ERRORS: Final = {
    "finished": "no result was given",
    "aborted": INTERRUPTED,
    "failed": "the run failed before a result was recorded; it may have taken effect",
    "lost": UNKNOWN,
}


class UiChunks:
    """The default codec. ``resumed`` makes one that knows what is stored already and can end it."""

    def __init__(self) -> None:
        self._open = OpenParts()
        self._usage: Usage | None = None
        self._handlers: Mapping[type[Event], Callable[[Any], list[Chunk]]] = {
            TextDelta: self._text,
            TextEnded: self._text_end,
            ReasoningDelta: self._reasoning,
            ReasoningEnded: self._reasoning_end,
            ToolInputDelta: self._tool_input,
            ToolCalled: self._tool_called,
            ToolRejected: self._tool_rejected,
            ToolReturned: self._tool_returned,
            ToolFailed: self._tool_failed,
            StepStarted: self._step_start,
            StepEnded: self._step_end,
            Cited: _cited,
            FileGiven: _file,
            Kept: lambda event: [{"type": names.KEPT, "data": dict(event.metadata)}],
            Custom: _custom,
            Noted: _noted,
            Waiting: self._waiting,
            Spent: lambda _event: [],  # likewise
            Finished: self._finished,
        }

    @classmethod
    def resumed(cls, chunks: Iterable[Chunk]) -> UiChunks:
        """Return a codec that stands behind these chunks."""
        codec = cls()
        for chunk in chunks:
            codec._open.observe(chunk)
            said = chunk.get("messageMetadata") if chunk.get("type") == names.MESSAGE_METADATA else None
            codec._usage = (usage_told(said.get("usage")) if isinstance(said, dict) else None) or codec._usage
        return codec

    @property
    def usage(self) -> Usage | None:
        """Tokens of the calls of the model that are over, those of an earlier owner too; ``None`` if none was told."""
        return self._usage

    def open_calls(self) -> list[str]:
        """Return the ids of the calls that have no result yet."""
        return list(self._open.calls)

    @property
    def content_type(self) -> str:
        """JSON mode."""
        return "application/json"

    def begin(self, identity: Identity) -> list[Chunk]:
        """Return ``start``."""
        return [
            {
                "type": names.START,
                "messageId": identity.message_id,
                "messageMetadata": {"generationId": identity.run_id},
            }
        ]

    def feed(self, event: Event) -> list[Chunk]:
        """Return the event's chunks."""
        chunks = self._handlers[type(event)](event)
        for chunk in chunks:
            self._open.observe(chunk)
        return chunks

    def end(self, ending: Ending) -> list[Chunk]:
        """Return the ends of what is open, and the terminal record."""
        closing = self._open.closing(_CALL_ERRORS[ending.how], {one.call_id for one in ending.waiting})
        return [*closing, *terminal(ending)]

    def merge(self, first: Chunk, second: Chunk) -> Chunk | None:
        """Join neighbouring deltas of one part."""
        return joined_deltas(first, second, kinds=names.DELTAS, same=("id", "toolCallId"))

    def encode(self, chunk: Chunk) -> bytes:
        """Return compact JSON."""
        return encoded(chunk)

    def _text(self, event: TextDelta) -> list[Chunk]:
        return self._delta(names.TEXT_START, names.TEXT_DELTA, event)

    def _reasoning(self, event: ReasoningDelta) -> list[Chunk]:
        return self._delta(names.REASONING_START, names.REASONING_DELTA, event)

    def _delta(self, start: str, kind: str, event: TextDelta | ReasoningDelta) -> list[Chunk]:
        if not event.text:
            return []
        delta: Chunk = {"type": kind, "id": event.part, names.DELTA: event.text}
        return [delta] if event.part in self._open.parts else [{"type": start, "id": event.part}, delta]

    def _text_end(self, event: TextEnded) -> list[Chunk]:
        if event.part not in self._open.parts:
            return []
        return [{"type": names.TEXT_END, "id": event.part, **_metadata(event)}]

    def _reasoning_end(self, event: ReasoningEnded) -> list[Chunk]:
        end: Chunk = {"type": names.REASONING_END, "id": event.part, **_metadata(event)}
        if event.part in self._open.parts:
            return [end]
        return [] if event.metadata is None else [{"type": names.REASONING_START, "id": event.part}, end]

    def _tool_input(self, event: ToolInputDelta) -> list[Chunk]:
        if self._is_called(event.call_id):
            return []
        chunks: list[Chunk] = []
        if event.call_id not in self._open.calls:
            chunks.append({"type": names.TOOL_INPUT_START, "toolCallId": event.call_id, "toolName": event.tool})
        if event.text:
            chunks.append({"type": names.TOOL_INPUT_DELTA, "toolCallId": event.call_id, names.INPUT_DELTA: event.text})
        return chunks

    def _tool_called(self, event: ToolCalled) -> list[Chunk]:
        if self._is_called(event.call_id):
            return []
        named: Chunk = {"toolCallId": event.call_id, "toolName": event.tool}
        return [{"type": names.TOOL_INPUT_AVAILABLE, **named, "input": event.input, **_metadata(event)}]

    def _tool_rejected(self, event: ToolRejected) -> list[Chunk]:
        if event.call_id in self._open.returned:
            return []
        named: Chunk = {"toolCallId": event.call_id, "toolName": event.tool}
        said: Chunk = {"input": event.text, "errorText": event.error}
        return [{"type": names.TOOL_INPUT_ERROR, **named, **said, **_metadata(event)}]

    def _tool_returned(self, event: ToolReturned) -> list[Chunk]:
        return self._returned(event.call_id, {"type": names.TOOL_OUTPUT_AVAILABLE, "output": event.output})

    def _tool_failed(self, event: ToolFailed) -> list[Chunk]:
        return self._returned(event.call_id, {"type": names.TOOL_OUTPUT_ERROR, "errorText": event.error})

    def _step_start(self, _event: StepStarted) -> list[Chunk]:
        return [] if self._open.in_step else [{"type": names.START_STEP}]

    def _step_end(self, _event: StepEnded) -> list[Chunk]:
        return [{"type": names.FINISH_STEP}] if self._open.in_step else []

    def _finished(self, event: Finished) -> list[Chunk]:
        """Tell the tokens so far: whoever ends the run of a dead process knows no others. How it ended comes last."""
        if event.usage is None:
            return []
        self._usage = event.usage + (self._usage or Usage())
        return [{"type": names.MESSAGE_METADATA, "messageMetadata": {"usage": told_usage(self._usage)}}]

    def _waiting(self, event: Waiting) -> list[Chunk]:
        """Ask for approvals; of what else is waited for the ending tells. An approval is called as its call is."""
        asked = [one.call_id for one in event.pending if one.kind == "approval" and one.call_id in self._open.calls]
        chunks: list[Chunk] = [
            {"type": names.TOOL_APPROVAL_REQUEST, "approvalId": one, "toolCallId": one} for one in asked
        ]
        if event.state is not None:
            chunks.append({"type": names.PAUSED, "data": event.state, "transient": True})
        return chunks

    def _is_called(self, call_id: str) -> bool:
        return self._open.calls.get(call_id) == "called" or call_id in self._open.returned

    def _returned(self, call_id: str, chunk: Chunk) -> list[Chunk]:
        # The client throws on a result for a call it has not seen.
        return [{**chunk, "toolCallId": call_id}] if call_id in self._open.calls else []


def _cited(event: Cited) -> list[Chunk]:
    named: Chunk = {} if event.title is None else {"title": event.title}
    return [{"type": names.SOURCE_URL, "sourceId": event.source_id, "url": event.url, **named}]


def _file(event: FileGiven) -> list[Chunk]:
    return [{"type": names.FILE, "mediaType": event.media_type, "url": event.url, **_metadata(event)}]


def _metadata(event: TextEnded | ReasoningEnded | ToolCalled | ToolRejected | FileGiven) -> Chunk:
    return {} if event.metadata is None else {names.METADATA: dict(event.metadata)}


def _custom(event: Custom) -> list[Chunk]:
    keyed: Chunk = {} if event.key is None else {"id": event.key}
    passing: Chunk = {"transient": True} if event.transient else {}
    return [{"type": f"{names.DATA_PREFIX}{event.name}", "data": event.value, **keyed, **passing}]


def _noted(event: Noted) -> list[Chunk]:
    return [{"type": names.MESSAGE_METADATA, "messageMetadata": dict(event.values)}]


def terminal(ending: Ending) -> list[Chunk]:
    """Return what says how a message ended, the terminal record last, and nothing that closes a part.

    Anybody can write it without knowing what is open.
    """
    said = ending_metadata(ending)
    if ending.how == "finished":
        return [{"type": names.FINISH, "finishReason": ending.finish_reason, "messageMetadata": said}]
    metadata: Chunk = {"type": names.MESSAGE_METADATA, "messageMetadata": said}
    if ending.how == "failed":
        return [metadata, {"type": names.ERROR, "errorText": ending.reason or "failed"}]
    return [metadata, {"type": names.ABORT, "reason": ending.reason or ending.how}]


def ending_metadata(ending: Ending) -> dict[str, object]:
    """Return an ending as message metadata.

    ``ending``, ``aborted``, ``by``, ``reason``, ``at``, ``usage``; of a paused run ``waiting``, what it waits for; of a
    model that ended by itself ``finishReason`` and, where the provider's word is another, ``rawFinishReason``.
    """
    said: dict[str, object] = {"ending": ending.how}
    if ending.how == "finished":
        said["finishReason"] = ending.finish_reason
        if ending.finish_said not in {None, ending.finish_reason}:
            said["rawFinishReason"] = ending.finish_said
    if ending.how in {"aborted", "lost"}:
        said["aborted"] = True
    if ending.by is not None:
        said["by"] = ending.by
    if ending.reason is not None:
        said["reason"] = ending.reason
    if ending.at_ms:
        said["at"] = ending.at_ms
    if ending.usage is not None:
        said["usage"] = told_usage(ending.usage)
    if ending.waiting:
        said["waiting"] = told_pending(ending.waiting)
    return said


def ending_of(chunks: list[dict[str, Any]]) -> Ending | None:
    """Return how a stored message ended, from its terminal record and the metadata beside it, or ``None``."""
    if not chunks or chunks[-1].get("type") not in names.TERMINAL:
        return None
    last = chunks[-1]
    beside = chunks[-2] if len(chunks) > 1 and chunks[-2].get("type") == names.MESSAGE_METADATA else {}
    said = last.get("messageMetadata") or beside.get("messageMetadata")
    said = said if isinstance(said, dict) else {}
    told: How = said["ending"] if said.get("ending") in get_args(How) else "aborted"
    how: How = _TOLD_BY.get(last["type"], told)
    at_ms = said.get("at")
    return Ending(
        how=how,
        reason=said.get("reason") or last.get("reason") or last.get("errorText"),
        by=said.get("by"),
        at_ms=at_ms if isinstance(at_ms, int) else 0,
        finish_reason=last.get("finishReason", "stop"),
        finish_said=said.get("rawFinishReason"),
        usage=usage_told(said.get("usage")),
        waiting=pending_told(said.get("waiting")),
    )

"""AI SDK UI message chunks: what ``useChat`` and its transports read.

The client's rules this keeps: a delta or an end for a part that is not open, and an item that is not an object, break
the client for good; ``start`` without ``messageId`` gives every tab a message of its own; a stream that just ends looks
complete. So parts are opened and closed exactly once and every ending is a chunk: ``finish``, ``abort`` or ``error``.
As clients ignore ``abort``, ``message-metadata`` before it says the same where an interface can show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

import orjson

from durable_streams.agents.codecs.base import joined_deltas
from durable_streams.agents.codecs.open_parts import OpenParts
from durable_streams.agents.events import (
    INTERRUPTED,
    UNKNOWN,
    Cited,
    Custom,
    Ending,
    Finished,
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
    from collections.abc import Iterable

    from durable_streams.agents.codecs.base import Chunk, Identity
    from durable_streams.agents.events import Event

_DELTAS: Final = frozenset({"text-delta", "reasoning-delta", "tool-input-delta"})
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

    @classmethod
    def resumed(cls, chunks: Iterable[Chunk]) -> UiChunks:
        """Return a codec that stands behind these chunks."""
        codec = cls()
        for chunk in chunks:
            codec._open.observe(chunk)
        return codec

    @property
    def content_type(self) -> str:
        """JSON mode."""
        return "application/json"

    def begin(self, identity: Identity) -> list[Chunk]:
        """Return ``start``."""
        return [
            {"type": "start", "messageId": identity.message_id, "messageMetadata": {"generationId": identity.run_id}}
        ]

    def feed(self, event: Event) -> list[Chunk]:
        """Return the event's chunks."""
        chunks = self._chunks(event)
        for chunk in chunks:
            self._open.observe(chunk)
        return chunks

    def end(self, ending: Ending) -> list[Chunk]:
        """Return the ends of what is open, and the terminal record."""
        closing = self._open.closing(_CALL_ERRORS[ending.how])
        return [*closing, *terminal(ending)]

    def merge(self, first: Chunk, second: Chunk) -> Chunk | None:
        """Join neighbouring deltas of one part."""
        return joined_deltas(first, second, kinds=_DELTAS, same=("id", "toolCallId"))

    def encode(self, chunk: Chunk) -> bytes:
        """Return compact JSON."""
        return orjson.dumps(chunk, default=str)

    def _chunks(self, event: Event) -> list[Chunk]:  # noqa: C901, PLR0911, PLR0912 the whole table in one place
        match event:
            case TextDelta(part, text):
                return self._delta("text", part, text)
            case ReasoningDelta(part, text):
                return self._delta("reasoning", part, text)
            case TextEnded(part):
                return [{"type": "text-end", "id": part}] if part in self._open.parts else []
            case ReasoningEnded(part, signature):
                return self._reasoning_end(part, signature)
            case ToolInputDelta(call_id, tool, text):
                return self._tool_input(call_id, tool, text)
            case ToolCalled(call_id, tool, given):
                return self._tool_called(call_id, tool, given)
            case ToolRejected():
                return self._tool_rejected(event)
            case ToolReturned(call_id, output):
                return self._returned(call_id, {"type": "tool-output-available", "output": output})
            case ToolFailed(call_id, error):
                return self._returned(call_id, {"type": "tool-output-error", "errorText": error})
            case StepStarted():
                return [] if self._open.in_step else [{"type": "start-step"}]
            case StepEnded():
                return [{"type": "finish-step"}] if self._open.in_step else []
            case Cited(source_id, url, title):
                named: Chunk = {} if title is None else {"title": title}
                return [{"type": "source-url", "sourceId": source_id, "url": url, **named}]
            case Custom(name, value, key):
                keyed: Chunk = {} if key is None else {"id": key}
                return [{"type": f"data-{name}", "data": value, **keyed}]
            case Noted(values):
                return [{"type": "message-metadata", "messageMetadata": dict(values)}]
            case Finished():
                return []
            case _:
                assert_never(event)

    def _delta(self, kind: str, part: str, text: str) -> list[Chunk]:
        if not text:
            return []
        delta: Chunk = {"type": f"{kind}-delta", "id": part, "delta": text}
        return [delta] if part in self._open.parts else [{"type": f"{kind}-start", "id": part}, delta]

    def _reasoning_end(self, part: str, signature: str | None) -> list[Chunk]:
        if part not in self._open.parts:
            return []
        signed: Chunk = {} if signature is None else {"providerMetadata": {"anthropic": {"signature": signature}}}
        return [{"type": "reasoning-end", "id": part, **signed}]

    def _tool_input(self, call_id: str, tool: str, text: str) -> list[Chunk]:
        if self._open.calls.get(call_id) == "called" or call_id in self._open.returned:
            return []
        chunks: list[Chunk] = []
        if call_id not in self._open.calls:
            chunks.append({"type": "tool-input-start", "toolCallId": call_id, "toolName": tool})
        if text:
            chunks.append({"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": text})
        return chunks

    def _tool_called(self, call_id: str, tool: str, given: object) -> list[Chunk]:
        if self._open.calls.get(call_id) == "called" or call_id in self._open.returned:
            return []
        return [{"type": "tool-input-available", "toolCallId": call_id, "toolName": tool, "input": given}]

    def _tool_rejected(self, event: ToolRejected) -> list[Chunk]:
        if event.call_id in self._open.returned:
            return []
        return [
            {
                "type": "tool-input-error",
                "toolCallId": event.call_id,
                "toolName": event.tool,
                "input": event.text,
                "errorText": event.error,
            }
        ]

    def _returned(self, call_id: str, chunk: Chunk) -> list[Chunk]:
        # The client throws on a result for a call it has not seen.
        return [{**chunk, "toolCallId": call_id}] if call_id in self._open.calls else []


def terminal(ending: Ending) -> list[Chunk]:
    """Return what says how a message ended, the terminal record last, and nothing that closes a part.

    Anybody can write it without knowing what is open.
    """
    said = ending_metadata(ending)
    if ending.how == "finished":
        return [{"type": "finish", "finishReason": ending.finish_reason, "messageMetadata": said}]
    metadata: Chunk = {"type": "message-metadata", "messageMetadata": said}
    if ending.how == "failed":
        return [metadata, {"type": "error", "errorText": ending.reason or "failed"}]
    return [metadata, {"type": "abort", "reason": ending.reason or ending.how}]


def ending_metadata(ending: Ending) -> dict[str, object]:
    """Return an ending as message metadata: ``ending``, ``aborted``, ``by``, ``reason``, ``at``, ``usage``."""
    said: dict[str, object] = {"ending": ending.how}
    if ending.how in {"aborted", "lost"}:
        said["aborted"] = True
    if ending.by is not None:
        said["by"] = ending.by
    if ending.reason is not None:
        said["reason"] = ending.reason
    if ending.at_ms:
        said["at"] = ending.at_ms
    if ending.usage is not None:
        said["usage"] = {"inputTokens": ending.usage.input_count, "outputTokens": ending.usage.output_count}
    return said


def ending_of(chunks: list[dict[str, Any]]) -> Ending | None:
    """Return how a stored message ended, from its terminal record and the metadata beside it, or ``None``."""
    if not chunks or chunks[-1].get("type") not in {"finish", "abort", "error"}:
        return None
    last = chunks[-1]
    beside = chunks[-2] if len(chunks) > 1 and chunks[-2].get("type") == "message-metadata" else {}
    said = last.get("messageMetadata") or beside.get("messageMetadata") or {}
    how = {"finish": "finished", "error": "failed"}.get(last["type"], said.get("ending", "aborted"))
    return Ending(
        how=how,
        reason=said.get("reason") or last.get("reason") or last.get("errorText"),
        by=said.get("by"),
        at_ms=said.get("at", 0),
        finish_reason=last.get("finishReason", "stop"),
    )

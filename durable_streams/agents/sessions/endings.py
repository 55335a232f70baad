"""How a run ends when it is not its owner's doing, and how every ending gets into the session.

Invariant: whatever happens in between, any process can repeat each of these and come to the same result.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
import structlog

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.codecs.pending import told_pending
from durable_streams.agents.codecs.ui_chunks import UiChunks, ending_of, terminal
from durable_streams.agents.events import Ending, Usage
from durable_streams.agents.runs.writer import GENERATOR
from durable_streams.agents.sessions.bulk import ROW_MAX_BYTES, keep, kept_path, parted, unkept
from durable_streams.agents.sessions.ended import RunEnded
from durable_streams.agents.sessions.rows import CONTROL, Attempt, attempt_row, message_row, row
from durable_streams.agents.usage import told_usage, usage_told
from durable_streams.client import (
    DurableStreamError,
    ProducerTriple,
    StaleEpochError,
    StreamClosedError,
    StreamNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.session import Session
    from durable_streams.client import IdempotentAppendResult

STOP: Final = ProducerTriple("stop", 0, 0)
REAP: Final = ProducerTriple("reap", 0, 0)
FAIL: Final = ProducerTriple("fail", 0, 0)
FINAL_EPOCH: Final = 1_000_000
"""Of a row's producer: above that of any owner."""
SMALL_BYTES: Final = 16 * 1024
"""Of a message for a server that does not take an ordinary row."""
_SIZES: Final = ((ROW_MAX_BYTES, True), (SMALL_BYTES, True), (SMALL_BYTES, False))
"""How large a message is in the final rows, and whether its large values are kept: tried in this order."""
_FENCE: Final[Chunk] = {"type": f"{names.DATA_PREFIX}owner", "data": {"is": "lost"}, "transient": True}
"""For whoever looks at the stream; it is no part of the message."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an attempt's stream holds."""

    chunks: list[dict[str, Any]]
    closed: bool
    offset: str


def row_triple(gid: str, epoch: int, seq: int) -> ProducerTriple:
    """Return the triple for an attempt's row: the epoch is the owner's, or ``FINAL_EPOCH`` for the final state."""
    return ProducerTriple(f"row:{gid}", epoch, seq)


async def ask_owner(session: Session, attempt: Attempt, ending: Ending) -> None:
    """Tell the owner, wherever it is, that somebody wants to stop the run."""
    value = {"stop": {"by": ending.by, "reason": ending.reason, "at": ending.at_ms}}
    triple = ProducerTriple(f"control:{attempt.id}", 0, 0)
    await session.append(triple, [row(CONTROL, attempt.id, value)])


async def close_as(places: Places, attempt: Attempt, *, triple: ProducerTriple, chunks: Sequence[Chunk]) -> None:
    """Append the last chunks and close, unless the stream is closed already."""
    codec = UiChunks()
    try:
        await places.stream(attempt.stream).append_as(triple, [codec.encode(c) for c in chunks], close=True)
    except (StreamClosedError, StreamNotFoundError):
        return


async def stop_as_handler(places: Places, attempt: Attempt, ending: Ending) -> None:
    """Write the minimal ending of a stopped run; what is open in it is not known, so nothing is closed but the run."""
    await close_as(places, attempt, triple=STOP, chunks=terminal(ending))


async def fail(places: Places, attempt: Attempt, ending: Ending) -> None:
    """End a run whose owner cannot append any more, for another reason than that somebody else has ended it."""
    stored = await read(places, attempt)
    if not stored.closed:
        await close_as(places, attempt, triple=FAIL, chunks=UiChunks.resumed(stored.chunks).end(ending))


async def reap(places: Places, attempt: Attempt, now_ms: int) -> None:
    """End a lost run: fence its owner, then tell what is known, each call without a result as unknown."""
    await fence(places, attempt)
    # From here on nobody adds to it: at most somebody closes it.
    stored = await read(places, attempt)
    if not stored.closed:
        ending = Ending("lost", reason="lost", at_ms=now_ms)
        await close_as(places, attempt, triple=REAP, chunks=UiChunks.resumed(stored.chunks).end(ending))


async def fence(places: Places, attempt: Attempt) -> None:
    """Take over the owner's producer, so that nothing it still sends is accepted; that it was lost is noted."""
    triple = ProducerTriple(GENERATOR, attempt.epoch + 1, 0)
    with contextlib.suppress(StreamClosedError, StreamNotFoundError, StaleEpochError):
        await places.stream(attempt.stream).append_as(triple, [orjson.dumps(_FENCE)])


async def read(places: Places, attempt: Attempt) -> Stored:
    """Return what is stored of an attempt; one whose stream is gone counts as closed and empty."""
    try:
        async with places.stream(attempt.stream).stream(live=False) as response:
            stored = await response.read_json()
            # What is no chunk cannot be said again, and must not keep anybody from ending the run.
            chunks = [one for one in stored if isinstance(one, dict) and isinstance(one.get("type"), str)]
            return Stored(chunks, response.stream_closed, response.offset)
    except StreamNotFoundError:
        return Stored([], closed=True, offset="")


class Noting(Protocol):
    """Whoever keeps account of endings."""

    async def note(self, ended: RunEnded) -> None:
        """Take note of an ending, before its row is written; perhaps again."""

    def written(self, ended: RunEnded) -> None:
        """Know that this process has written its row."""


async def finalize(
    places: Places, session: Session, attempt: Attempt, *, noting: Noting | None = None
) -> Attempt | None:
    """Write a closed attempt's final row and message to its session, once, and return it; ``None`` if it is open."""
    stored = await read(places, attempt)
    if not stored.closed:
        return None
    ending = ending_of(stored.chunks) or Ending("lost", reason="its stream is gone")
    told = message_of(stored.chunks)
    # One that was ended by somebody else is known by what it had told before.
    usage = ending.usage or usage_told(told["metadata"].get("usage"))
    final = replace(
        attempt,
        status="waiting" if ending.waiting else ending.how,
        ended_at=ending.at_ms,
        stopped_by=ending.by,
        reason=ending.reason,
        final_offset=stored.offset,
        request=attempt.request if ending.waiting else None,
        waiting=told_pending(ending.waiting) or None,
        finish_reason=ending.finish_reason if ending.how == "finished" else None,
        usage=None if usage is None else told_usage(usage),
    )
    message = {"order": attempt.turn * 2 + 1, **told}
    ended = RunEnded(session.session_id, final, message, usage or Usage())
    if noting is not None:
        await noting.note(ended)
    result = await _tell(places, session, message=message if message["id"] else None, final=final)
    if noting is not None and not (result.duplicate and not result.in_doubt):
        noting.written(ended)
    return final


async def _tell(
    places: Places, session: Session, *, message: dict[str, Any] | None, final: Attempt
) -> IdempotentAppendResult:
    """Append the final rows: with the message, or with less of it if the server takes no more, or without."""
    path = kept_path(final.stream)
    triple = row_triple(final.id, FINAL_EPOCH, 0)
    for max_bytes, is_kept in _SIZES if message is not None else ():
        small, items = parted(message or {}, path, max_bytes)
        try:
            if items and is_kept:
                await keep(places, path, items)
            rows = [message_row(small if is_kept else unkept(small)), attempt_row(final)]
            result = await session.append(triple, rows)
        except DurableStreamError as refusal:
            if refusal.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise
            log.warning("final_row_too_large", session=session.session_id, attempt=final.id, max_bytes=max_bytes)
        else:
            return result
    return await session.append(triple, [attempt_row(final)])

"""Append and close: may this request add to the stream (§5.2, §5.2.1, §5.3)?

The order of the checks is the documented precedence of errors: gone, closed, content type, body, producer, Stream-Seq.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable_streams.protocol import content_types
from durable_streams.protocol.errors import (
    ContentTypeMismatchError,
    GoneError,
    ProducerRequiredError,
    StreamClosedError,
    StreamError,
    StreamSeqConflictError,
    WriteFencedError,
)
from durable_streams.protocol.head import CLOSED, Closer
from durable_streams.protocol.producer import Fence, ProducerClaim, is_duplicate

if TYPE_CHECKING:
    from durable_streams.protocol.draft import Draft


class Append(NamedTuple):
    """One request to append, close, or both.

    payload: the bytes to store (JSON already flattened), empty for a close alone; or the refusal its body deserves,
        kept until the checks before it have passed.
    write_token: what a claim was given to write with; not looked at on streams without ``Stream-Write-Fence``.
    content_type: the request's content type; not looked at when ``payload`` is empty (§5.2).
    """

    payload: bytes | StreamError
    content_type: str
    close: bool = False
    claim: ProducerClaim | None = None
    stream_seq: str | None = None
    write_token: str | None = None


class Appended(NamedTuple):
    """The append became part of the stream.

    tail: the offset just after it. grew: False for a bare close. claim: the producer triple it came with.
    """

    tail: int
    closed: bool
    grew: bool
    claim: ProducerClaim | None


class Duplicate(NamedTuple):
    """Nothing was added: a retry of something accepted before (§5.2.1), or a bare close of a closed stream (§5.3).

    highest: the producer's current fence, for the answer's headers; ``None`` without a claim.
    """

    tail: int
    closed: bool
    highest: Fence | None


def decide_append(
    draft: Draft, fence: Fence | None, request: Append, *, now_ms: int, permitted: bool = False
) -> Appended | Duplicate:
    """Apply one request to the draft, or say that it was applied before.

    Args:
        draft: the stream.
        fence: what is stored of ``request.claim``'s producer; ``None`` without a claim or for a new one (§5.2.1).
        request: what is asked.
        now_ms: Unix milliseconds, to slide the TTL to.
        permitted: whether ``request.write_token`` is current; not looked at on streams without ``Stream-Write-Fence``.

    Raises:
        GoneError: soft-deleted.
        StreamClosedError: closed, and this is neither a bare close nor the retry of the closing request.
        ContentTypeMismatchError: a body of another type.
        InvalidRequestError: the refusal carried in ``request.payload``, or a new epoch not at seq 0.
        ProducerRequiredError: no producer, where one is required.
        StaleEpochError: fenced.
        ProducerGapError: a seq was skipped.
        WriteFencedError: neither a current write token nor, without any token, the producer's current epoch.
        StreamSeqConflictError: ``Stream-Seq`` not above the last.
    """
    if draft.state and draft.soft_deleted:
        raise GoneError(draft.path)
    if draft.state and draft.closed:
        return _append_to_closed(draft, fence, request)
    payload = _checked_payload(draft, request)
    if draft.record.producer_required and request.claim is None:
        raise ProducerRequiredError("this stream takes appends from producers only (Stream-Producer-Required)")
    if request.claim is not None and is_duplicate(fence, request.claim):
        return Duplicate(draft.tail, closed=False, highest=fence)
    if draft.record.write_fenced and not permitted:
        _check_write_fence(fence, request)
    if request.stream_seq is not None:
        _check_stream_seq(draft.record.stream_seq, request.stream_seq)
        draft.record = draft.record._replace(stream_seq=request.stream_seq)
    draft.tail += len(payload)
    if request.close:
        draft.state |= CLOSED
        if request.claim is not None:
            draft.record = draft.record._replace(closer=Closer(*request.claim))
    draft.touch(now_ms)
    return Appended(draft.tail, request.close, bool(payload), request.claim)


def _append_to_closed(draft: Draft, fence: Fence | None, request: Append) -> Duplicate:
    """§5.2.1 Stream Closure with Idempotent Producers; §5.3 for the bare close."""
    if request.claim is not None and Closer(*request.claim) == draft.record.closer:
        return Duplicate(draft.tail, closed=True, highest=fence)
    if request.claim is None and request.close and request.payload == b"":
        return Duplicate(draft.tail, closed=True, highest=None)
    raise StreamClosedError(draft.tail)


def _checked_payload(draft: Draft, request: Append) -> bytes:
    payload = request.payload
    if payload == b"":
        return b""
    stored, received = draft.record.content_type, request.content_type
    if stored != received and content_types.media_type(stored) != content_types.media_type(received):
        raise ContentTypeMismatchError(stored, received)
    if isinstance(payload, StreamError):
        raise payload
    return payload


def _check_write_fence(fence: Fence | None, request: Append) -> None:
    """Without a current token only a producer that one let in goes on, and only in its current epoch."""
    if request.write_token is not None:
        raise WriteFencedError("the write token is not, or no longer, that of a current claim on this stream")
    if fence is None or request.claim is None or request.claim.epoch != fence.epoch:
        raise WriteFencedError("this stream takes appends with a claim's write token only (Stream-Write-Fence)")


def _check_stream_seq(last: str | None, received: str) -> None:
    """§5.2: byte-wise lexicographic, strictly increasing, scoped per stream."""
    if last is not None and received.encode("utf-8") <= last.encode("utf-8"):
        raise StreamSeqConflictError(last, received)

"""Append and close: may this request add to the stream (§5.2, §5.2.1, §5.3)?

The order of the checks is the documented precedence of errors: gone, closed, content type, body, producer,
write fence, If-Match, Stream-Seq. A condition is looked at where the request would be granted without it (RFC 9110
§13.2.1); before ``Stream-Seq`` all the same, for both ask whether another has written, and ``If-Match`` tells where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable_streams.protocol import content_types
from durable_streams.protocol.conditions import check_tail
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
from durable_streams.protocol.producer import Fence, Part, ProducerTriple, judge

if TYPE_CHECKING:
    from durable_streams.protocol.draft import Draft


class Append(NamedTuple):
    """One request to append, close, or both.

    payload: the bytes to store (JSON already flattened), empty for a close alone; or the refusal its body deserves,
        kept until the checks before it have passed.
    write_token: what a claim was given to write with; not looked at on streams without ``Stream-Write-Fence``.
    if_match: the tags one of which must name the tail (``conditions.parse_if_match``); never together with a triple.
    part: set for a piece of an upload, whose pieces share one triple.
    closing: whether the request closes the stream behind further appends, of which this is one.
    content_type: the request's content type; not looked at when ``payload`` is empty (§5.2).
    """

    payload: bytes | StreamError
    content_type: str
    close: bool = False
    triple: ProducerTriple | None = None
    stream_seq: str | None = None
    write_token: str | None = None
    if_match: frozenset[str] | None = None
    part: Part | None = None
    closing: bool = False


class Appended(NamedTuple):
    """The append became part of the stream.

    tail: the offset just after it. added: the bytes to store, empty for a bare close. triple: the producer triple it
    came with. fence: what to store of that producer.
    """

    tail: int
    closed: bool
    added: bytes
    triple: ProducerTriple | None
    fence: Fence | None


class Duplicate(NamedTuple):
    """Nothing was added: a retry of something accepted before (§5.2.1), or a bare close of a closed stream (§5.3).

    highest: the producer's current fence, for the answer's headers; ``None`` without a triple.
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
        fence: what is stored of ``request.triple``'s producer; ``None`` without a triple or for a new one (§5.2.1).
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
        UploadUnfinishedError, UploadDiffersError: the producer's upload under this seq is another request.
        WriteFencedError: neither a current write token nor, without any token, the producer's current epoch.
        TailMovedError: ``if_match`` does not name the tail.
        StreamSeqConflictError: ``Stream-Seq`` not above the last.
    """
    # §5.4: on a soft-deleted stream "all other direct operations" answer 410 Gone, as its deletion MUST.
    if draft.state and draft.soft_deleted:
        raise GoneError(draft.path)
    # §5.2 Error Precedence: "servers SHOULD check the stream's closed status first".
    if draft.state and draft.closed:
        return _append_to_closed(draft, fence, request)
    payload = _checked_payload(draft, request)
    if draft.record.producer_required and request.triple is None:
        raise ProducerRequiredError("this stream takes appends from producers only (Stream-Producer-Required)")
    reached = None
    if request.triple is not None:
        # §5.2.1: "Servers MUST serialize validation + append operations per (stream, producerId) pair": one draft, one
        # command after the other.
        accepted = judge(fence, request.triple, request.part, len(payload))
        if accepted is None:
            return Duplicate(draft.tail, closed=False, highest=fence)
        reached = accepted.fence
        payload = payload[accepted.skipped_bytes :]
    if draft.record.write_fenced and not permitted:
        _check_write_fence(fence, request)
    check_tail(request.if_match, draft.tail, closed=False)
    if request.stream_seq is not None:
        _check_stream_seq(draft.record.stream_seq, request.stream_seq)
        draft.record = draft.record._replace(stream_seq=request.stream_seq)
    draft.tail += len(payload)
    # §5.2: "the body (if any) is appended as the final data, and the stream transitions to the closed state in the same
    # step".
    if request.close:
        draft.state |= CLOSED
        if request.triple is not None:
            draft.record = draft.record._replace(closer=Closer(*request.triple))
    draft.touch(now_ms)
    return Appended(draft.tail, request.close, payload, request.triple, reached)


def _append_to_closed(draft: Draft, fence: Fence | None, request: Append) -> Duplicate:
    """§5.2.1 Stream Closure with Idempotent Producers; §5.3 for the bare close."""
    # §5.2.1: "If the (producerId, epoch, seq) matches the request that closed the stream, return 204 No Content".
    if request.triple is not None and _came_before(request.triple, draft.record.closer, request):
        size_bytes = len(request.payload) if isinstance(request.payload, bytes) else 0
        if request.part is None or judge(fence, request.triple, request.part, size_bytes) is None:
            return Duplicate(draft.tail, closed=True, highest=fence)
    # §5.2: "if the stream is already closed and the request includes Stream-Closed: true with an empty body, servers
    # SHOULD return 204 No Content".
    if request.triple is None and request.close and request.payload == b"":
        check_tail(request.if_match, draft.tail, closed=True)
        return Duplicate(draft.tail, closed=True, highest=None)
    # §5.2: to any other append "servers MUST return" 409 Conflict, Stream-Closed: true and the final offset.
    raise StreamClosedError(draft.tail)


def _came_before(triple: ProducerTriple, closer: Closer | None, request: Append) -> bool:
    """Whether the triple is the closing one, or of an append that the same request made before it closed."""
    if closer is None or closer[:2] != triple[:2]:
        return False
    return triple.seq == closer.seq or (request.closing and triple.seq < closer.seq)


def _checked_payload(draft: Draft, request: Append) -> bytes:
    payload = request.payload
    # §5.2: "When the request body is empty, servers MUST NOT reject based on Content-Type".
    if payload == b"":
        return b""
    stored, received = draft.record.content_type, request.content_type
    # §5.2: "Servers MUST return 409 Conflict when the content type is valid but does not match".
    if stored != received and content_types.media_type(stored) != content_types.media_type(received):
        raise ContentTypeMismatchError(stored, received)
    if isinstance(payload, StreamError):
        raise payload
    return payload


def _check_write_fence(fence: Fence | None, request: Append) -> None:
    """Without a current token only a producer that one let in goes on, and only in its current epoch."""
    if request.write_token is not None:
        raise WriteFencedError("the write token is not, or no longer, that of a current claim on this stream")
    if fence is None or request.triple is None or request.triple.epoch != fence.epoch:
        raise WriteFencedError("this stream takes appends with a claim's write token only (Stream-Write-Fence)")


def _check_stream_seq(last: str | None, received: str) -> None:
    """§5.2: byte-wise lexicographic, strictly increasing, scoped per stream."""
    # "opaque strings that MUST compare using simple byte-wise lexicographic ordering"; "If provided and less than or
    # equal to the last appended sequence …, the server MUST return 409 Conflict".
    if last is not None and received.encode("utf-8") <= last.encode("utf-8"):
        raise StreamSeqConflictError(last, received)

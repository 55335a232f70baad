from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from durable_streams.protocol.append import Append, Appended, Duplicate, decide_append
from durable_streams.protocol.errors import (
    ContentTypeMismatchError,
    EpochMustStartAtZeroError,
    GoneError,
    InvalidJsonError,
    ProducerGapError,
    ProducerRequiredError,
    StaleEpochError,
    StreamClosedError,
    StreamError,
    StreamSeqConflictError,
    TailMovedError,
    UploadDiffersError,
    WriteFencedError,
)
from durable_streams.protocol.head import CLOSED, SOFT_DELETED, Closer, Record
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.producer import Fence, Part, ProducerTriple
from tests.protocol.drafts import NOW_MS, draft

TAIL = 7
REFUSAL = InvalidJsonError("torn")
PAYLOADS: tuple[bytes | StreamError, ...] = (b"", b"xyz", REFUSAL)
LATER_MS = NOW_MS + 5


class State(NamedTuple):
    """What is stored: a stream, and the fence of the producer that asks."""

    soft_deleted: bool
    closed: bool
    closer: ProducerTriple | None
    stream_seq: str | None
    fence: Fence | None
    producer_required: bool = False
    write_fenced: bool = False


CLAIMS = (
    None,
    *itertools.starmap(ProducerTriple, [("p", 0, 0), ("p", 0, 1), ("p", 1, 0), ("p", 1, 1), ("p", 1, 2)]),
    ProducerTriple("q", 0, 1),
)
FENCES = (None, Fence(0, 0), Fence(1, 0))
STATES = [
    State(*state)
    for state in itertools.product(
        (False, True),
        (False, True),
        (None, ProducerTriple("p", 0, 1), ProducerTriple("p", 1, 0)),
        (None, "a", "b"),
        FENCES,
    )
    if state[1] or state[2] is None
]
RESTRICTED = [
    State(False, closed, closer, "a", fence, required, fenced)  # noqa: FBT003 - not soft-deleted
    for (closed, closer), fence, required, fenced in itertools.product(
        ((False, None), (True, ProducerTriple("p", 0, 1))), FENCES, (False, True), (False, True)
    )
]
REQUESTS = [
    Append(*request)
    for request in itertools.product(
        PAYLOADS,
        ("text/plain", "text/html"),
        (False, True),
        CLAIMS,
        (None, "a", "b", "ba"),
    )
]


def fence_says(fence: Fence | None, triple: ProducerTriple) -> str | type[StreamError]:
    """§5.2.1 Validation Logic."""
    if fence is None:
        return "accept" if triple.seq == 0 else ProducerGapError
    if triple.epoch < fence.epoch:
        return StaleEpochError
    if triple.epoch > fence.epoch:
        return "accept" if triple.seq == 0 else EpochMustStartAtZeroError
    if triple.seq <= fence.seq:
        return "duplicate"
    return "accept" if triple.seq == fence.seq + 1 else ProducerGapError


def passes_fence(state: State, request: Append, *, permitted: bool) -> bool:
    """Ours: a write-fenced stream takes a current token, or a producer that had one, as long as it keeps its epoch."""
    if permitted or not state.write_fenced:
        return True
    known = request.triple is not None and state.fence is not None and request.triple.epoch == state.fence.epoch
    return known and request.write_token is None


def by_the_book(  # noqa: PLR0911 - one for each rule, in their order
    state: State, request: Append, *, permitted: bool = False
) -> str | type[StreamError]:
    """§5.2, §5.2.1, §5.3 in the order of §5.2 Error Precedence; what a stream requires of writers beside it."""
    has_body = request.payload != b""
    if state.soft_deleted:
        return GoneError
    if state.closed:
        bare_close = request.close and not has_body and request.triple is None
        retried_close = request.triple is not None and request.triple == state.closer
        return "duplicate" if bare_close or retried_close else StreamClosedError
    if has_body and request.content_type != "text/plain":
        return ContentTypeMismatchError
    if request.payload is REFUSAL:
        return InvalidJsonError
    if state.producer_required and request.triple is None:
        return ProducerRequiredError
    verdict = "accept" if request.triple is None else fence_says(state.fence, request.triple)
    if verdict == "accept" and not passes_fence(state, request, permitted=permitted):
        return WriteFencedError
    if verdict == "accept" and None not in {state.stream_seq, request.stream_seq}:
        assert state.stream_seq is not None
        assert request.stream_seq is not None
        return "accept" if request.stream_seq > state.stream_seq else StreamSeqConflictError
    return verdict


def after_the_book(state: State, request: Append) -> tuple[int, bool, str | None, tuple[object, ...] | None, int]:
    """What an accepted append leaves: tail, closed, Stream-Seq, closer, touched."""
    size = len(request.payload) if isinstance(request.payload, bytes) else 0
    closer = request.triple if request.close else None
    return TAIL + size, request.close, request.stream_seq or state.stream_seq, closer, LATER_MS


def check(state: State, request: Append, *, permitted: bool = False) -> str | type[StreamError]:
    """Decide, hold the result and what is left against the book, and say what the verdict was."""
    closer = Closer(*state.closer) if state.closer else None
    record = Record("text/plain", 9, None, state.stream_seq, closer)
    required, fenced = state.producer_required, state.write_fenced
    stream = draft(record=record._replace(producer_required=required, write_fenced=fenced), tail=TAIL)
    stream.state = CLOSED * state.closed | SOFT_DELETED * state.soft_deleted
    before = stream.head(1)
    try:
        result = decide_append(stream, state.fence, request, now_ms=LATER_MS, permitted=permitted)
    except StreamError as refusal:
        assert stream.head(1) == before, "a refusal changed the stream"
        return type(refusal)
    if isinstance(result, Duplicate):
        assert stream.head(1) == before, "a duplicate changed the stream"
        assert result == (TAIL, state.closed, state.fence if request.triple else None)
        return "duplicate"
    tail, closed, stream_seq, closed_by, touched_ms = after_the_book(state, request)
    assert isinstance(request.payload, bytes)
    reached = Fence(request.triple.epoch, request.triple.seq) if request.triple else None
    assert result == Appended(tail, closed, request.payload, request.triple, reached)
    record = stream.record
    assert (stream.tail, stream.closed, record.stream_seq) == (tail, closed, stream_seq)
    assert (record.closer, stream.touched_ms) == (closed_by, touched_ms)
    return "accept"


def test_every_request_against_every_state() -> None:
    seen = set()
    for state, request in itertools.product(STATES, REQUESTS):
        verdict = by_the_book(state, request)
        assert check(state, request) == verdict, (state, request)
        seen.add(verdict)
    assert seen == {
        "accept",
        "duplicate",
        GoneError,
        StreamClosedError,
        ContentTypeMismatchError,
        InvalidJsonError,
        ProducerGapError,
        StaleEpochError,
        EpochMustStartAtZeroError,
        StreamSeqConflictError,
    }


def test_every_writer_against_every_restriction() -> None:
    seen = set()
    tokens = ((None, False), ("token", False), ("token", True))
    requests = itertools.product(PAYLOADS, (False, True), CLAIMS, (None, "a", "b"), tokens)
    for state, (payload, close, triple, stream_seq, (token, permitted)) in itertools.product(RESTRICTED, requests):
        request = Append(payload, "text/plain", close, triple, stream_seq, token)
        verdict = by_the_book(state, request, permitted=permitted)
        assert check(state, request, permitted=permitted) == verdict, (state, request, permitted)
        seen.add(verdict)
    assert {ProducerRequiredError, WriteFencedError, "accept", "duplicate"} < seen


def test_a_refused_append_to_a_closed_stream_names_its_end() -> None:
    with pytest.raises(StreamClosedError) as refused:
        decide_append(draft(state=CLOSED, tail=TAIL), None, Append(b"x", "text/plain"), now_ms=NOW_MS)
    assert refused.value.tail == TAIL


def test_the_body_s_own_refusal_is_raised() -> None:
    with pytest.raises(InvalidJsonError) as refused:
        decide_append(draft(), None, Append(REFUSAL, "text/plain"), now_ms=NOW_MS)
    assert refused.value is REFUSAL


@pytest.mark.parametrize("content_type", ["TEXT/Plain", "text/plain; charset=utf-8", " text/plain ;x=y"])
def test_content_types_match_without_case_or_parameters(content_type: str) -> None:
    stream = draft(record=Record("text/plain;charset=ascii"))

    appended = decide_append(stream, None, Append(b"x", content_type), now_ms=NOW_MS)

    assert appended == Appended(tail=1, closed=False, added=b"x", triple=None, fence=None)


@pytest.mark.parametrize(
    ("last", "received", "accepted"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("a", "B", False),
        ("a", "a", False),
        ("a", "aa", True),
        ("\uffff", "\U00010000", True),
        ("\U00010000", "\uffff", False),
    ],
)
def test_stream_seq_compares_bytes(last: str, received: str, *, accepted: bool) -> None:
    """By UTF-8 bytes, in which U+10000 comes after U+FFFF; in UTF-16 it would come before."""
    stream = draft(record=Record("text/plain", stream_seq=last))
    request = Append(b"x", "text/plain", stream_seq=received)

    if accepted:
        decide_append(stream, None, request, now_ms=NOW_MS)
        assert stream.record.stream_seq == received
    else:
        with pytest.raises(StreamSeqConflictError) as refused:
            decide_append(stream, None, request, now_ms=NOW_MS)
        assert (refused.value.last, refused.value.received) == (last, received)


HERE = frozenset({format_offset(TAIL)})
ELSEWHERE = frozenset({format_offset(TAIL - 1)})


def test_a_tail_that_moved_refuses_what_would_be_granted() -> None:
    """RFC 9110 §13.2.1: the stream's own refusals come first, save that of ``Stream-Seq``, which asks the same."""
    granted = 0
    writers = itertools.product((None, "a", "b"), (False, True))
    for state, payload, (stream_seq, permitted) in itertools.product(RESTRICTED, PAYLOADS, writers):
        request = Append(payload, "text/plain", payload == b"", None, stream_seq, "token")
        verdict = check(state, request, permitted=permitted)
        assert check(state, request._replace(if_match=HERE), permitted=permitted) == verdict
        if verdict in {"accept", "duplicate", StreamSeqConflictError}:
            verdict, granted = TailMovedError, granted + 1
        assert check(state, request._replace(if_match=ELSEWHERE), permitted=permitted) == verdict
    assert granted


TRIPLE = ProducerTriple("p", 1, 4)


def piece(payload: bytes, start: int, *, last: bool = False, close: bool = False) -> Append:
    return Append(payload, "text/plain", close, TRIPLE, part=Part(start, last), closing=close)


def test_a_piece_adds_what_is_not_stored_of_its_upload() -> None:
    stream = draft(tail=TAIL)

    first = decide_append(stream, Fence(1, 3), piece(b"abc", 0), now_ms=LATER_MS)
    assert first == Appended(TAIL + 3, False, b"abc", TRIPLE, Fence(1, 4, 3, finished=False))  # noqa: FBT003
    assert isinstance(first, Appended)
    again = decide_append(stream, first.fence, piece(b"ab", 0), now_ms=LATER_MS)
    assert again == Duplicate(TAIL + 3, closed=False, highest=first.fence)
    rest = decide_append(stream, first.fence, piece(b"cdef", 2, last=True), now_ms=LATER_MS)
    assert rest == Appended(TAIL + 6, False, b"def", TRIPLE, Fence(1, 4, 6))  # noqa: FBT003
    with pytest.raises(UploadDiffersError):
        decide_append(stream, Fence(1, 4, 6), piece(b"abcdefg", 0), now_ms=LATER_MS)
    assert stream.tail == TAIL + 6


def test_an_upload_that_closed_can_be_sent_again() -> None:
    stream = draft(tail=TAIL)
    closed = decide_append(stream, Fence(1, 3), piece(b"abc", 0, last=True, close=True), now_ms=LATER_MS)
    assert isinstance(closed, Appended)
    assert (closed.closed, closed.fence) == (True, Fence(1, 4, 3))

    for again in (piece(b"ab", 0), piece(b"c", 2), piece(b"", 3, last=True, close=True)):
        assert decide_append(stream, closed.fence, again, now_ms=LATER_MS) == Duplicate(
            TAIL + 3, closed=True, highest=closed.fence
        )
    with pytest.raises(UploadDiffersError):
        decide_append(stream, closed.fence, piece(b"ab", 0, last=True, close=True), now_ms=LATER_MS)
    with pytest.raises(StreamClosedError):
        decide_append(stream, Fence(1, 4, 2, finished=False), piece(b"abc", 0), now_ms=LATER_MS)


@pytest.mark.parametrize(
    ("triple", "closing", "duplicate"),
    [
        (ProducerTriple("p", 1, 3), True, True),
        (ProducerTriple("p", 1, 3), False, False),
        (ProducerTriple("p", 1, 5), True, False),
        (ProducerTriple("p", 0, 3), True, False),
        (ProducerTriple("q", 1, 3), True, False),
    ],
)
def test_what_a_request_appended_before_it_closed_can_be_sent_again(
    triple: ProducerTriple, *, closing: bool, duplicate: bool
) -> None:
    stream = draft(record=Record("text/plain", closer=Closer("p", 1, 4)), state=CLOSED, tail=TAIL)
    request = Append(b"x", "text/plain", triple=triple, closing=closing)

    if duplicate:
        assert decide_append(stream, Fence(1, 4), request, now_ms=NOW_MS) == Duplicate(TAIL, True, Fence(1, 4))  # noqa: FBT003
    else:
        with pytest.raises(StreamClosedError):
            decide_append(stream, Fence(1, 4), request, now_ms=NOW_MS)

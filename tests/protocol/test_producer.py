from __future__ import annotations

import itertools

import pytest

from durable_streams.protocol.errors import (
    EpochMustStartAtZeroError,
    ProducerGapError,
    StaleEpochError,
    StreamError,
    UploadDiffersError,
    UploadUnfinishedError,
)
from durable_streams.protocol.producer import Accepted, Fence, Part, ProducerTriple, as_fence, judge

WHOLE = [Fence(epoch, seq) for epoch, seq in itertools.product(range(3), range(3))]
UPLOADS = [
    Fence(*place, *far) for place, far in itertools.product(((0, 0), (1, 1)), ((2, False), (2, True), (0, True)))
]
FENCES = [None, *WHOLE, *UPLOADS]
CLAIMS = [ProducerTriple("p", epoch, seq) for epoch, seq in itertools.product(range(4), range(5))]
PIECES = [(Part(start, last), size) for start, last, size in itertools.product(range(4), (False, True), range(4))]


def outcome(fence: Fence | None, triple: ProducerTriple, piece: tuple[Part | None, int] = (None, 3)) -> object:
    try:
        return judge(fence, triple, *piece)
    except StreamError as refusal:
        return (type(refusal), *vars(refusal).values())


def by_the_book(fence: Fence | None, triple: ProducerTriple) -> object:
    """§5.2.1 Validation Logic, line by line. A producer never seen has accepted nothing: its next seq is 0.

    Nor has one whose upload has not ended: the next seq is that upload's, and only the upload may carry it.
    """
    accepted = Accepted(0, Fence(triple.epoch, triple.seq))
    if fence is None:
        return accepted if triple.seq == 0 else (ProducerGapError, 0, triple.seq)
    next_seq = fence.seq + fence.finished
    if triple.epoch < fence.epoch:
        return (StaleEpochError, fence.epoch)
    if triple.epoch > fence.epoch:
        return (EpochMustStartAtZeroError, triple.epoch, triple.seq) if triple.seq != 0 else accepted
    if triple.seq > next_seq:
        return (ProducerGapError, next_seq, triple.seq)
    if triple.seq < next_seq:
        return None
    return accepted if fence.finished else (UploadUnfinishedError, triple.seq)


def refused(outcome: object) -> object:
    return outcome[0] if isinstance(outcome, tuple) and not isinstance(outcome, Accepted) else None


def test_every_triple_against_every_fence() -> None:
    outcomes = {pair: outcome(*pair) for pair in itertools.product(FENCES, CLAIMS)}

    assert outcomes == {pair: by_the_book(*pair) for pair in outcomes}
    assert {refused(one) for one in outcomes.values()} == {
        None,
        StaleEpochError,
        EpochMustStartAtZeroError,
        ProducerGapError,
        UploadUnfinishedError,
    }


def stored_of(fence: Fence | None, triple: ProducerTriple) -> Fence | None:
    """What is stored under this very triple."""
    return fence if fence is not None and (fence.epoch, fence.seq) == (triple.epoch, triple.seq) else None


def pieces_by_the_book(fence: Fence | None, triple: ProducerTriple, part: Part, end: int) -> object:  # noqa: PLR0917 as ``judge``
    """An upload is the bytes under one triple: what is stored of them is left out, and none between is missing."""
    stored = stored_of(fence, triple)
    verdict = by_the_book(fence, triple)
    if stored is None and not isinstance(verdict, Accepted):
        return verdict
    far, finished = (0, False) if stored is None else (stored.upload_bytes, stored.finished)
    if far is None:
        return None
    if part.start > far:
        return (UploadDiffersError, far, part.start)
    if (finished and end > far) or (part.last and end < far):
        return (UploadDiffersError, far, end)
    if finished or (stored is not None and end <= far and not part.last):
        return None
    return Accepted(min(end, far) - part.start, Fence(triple.epoch, triple.seq, max(end, far), part.last))


def test_every_piece_against_every_fence() -> None:
    for fence, triple, (part, size_bytes) in itertools.product(FENCES, CLAIMS, PIECES):
        expected = pieces_by_the_book(fence, triple, part, part.start + size_bytes)
        assert outcome(fence, triple, (part, size_bytes)) == expected, (fence, triple, part, size_bytes)


@pytest.mark.parametrize(
    ("row", "fence"),
    [(None, None), (("p", 3, 4), Fence(3, 4)), (("p", 3, 4, 5, False), Fence(3, 4, 5, finished=False))],
)
def test_a_stored_row_is_a_fence(row: tuple[object, ...] | None, fence: Fence | None) -> None:
    assert as_fence(row) == fence

from __future__ import annotations

import itertools

import pytest

from durable_streams.protocol.errors import EpochMustStartAtZeroError, ProducerGapError, StaleEpochError, StreamError
from durable_streams.protocol.producer import Fence, ProducerClaim, as_fence, is_duplicate

FENCES = [None, *itertools.starmap(Fence, itertools.product(range(3), range(3)))]
CLAIMS = [ProducerClaim("p", epoch, seq) for epoch, seq in itertools.product(range(4), range(5))]


def outcome(fence: Fence | None, claim: ProducerClaim) -> tuple[object, ...]:
    try:
        return (is_duplicate(fence, claim),)
    except StreamError as refusal:
        return (type(refusal), *vars(refusal).values())


def by_the_book(fence: Fence | None, claim: ProducerClaim) -> tuple[object, ...]:
    """§5.2.1 Validation Logic, line by line. A producer never seen has accepted nothing: its next seq is 0."""
    if fence is None:
        return (False,) if claim.seq == 0 else (ProducerGapError, 0, claim.seq)
    epoch, last_seq = fence
    if claim.epoch < epoch:
        return (StaleEpochError, epoch)
    if claim.epoch > epoch:
        return (EpochMustStartAtZeroError, claim.epoch, claim.seq) if claim.seq != 0 else (False,)
    if claim.seq <= last_seq:
        return (True,)
    if claim.seq == last_seq + 1:
        return (False,)
    return (ProducerGapError, last_seq + 1, claim.seq)


def test_every_claim_against_every_fence() -> None:
    outcomes = {pair: outcome(*pair) for pair in itertools.product(FENCES, CLAIMS)}

    assert outcomes == {pair: by_the_book(*pair) for pair in outcomes}
    assert {kind for kind, *_ in outcomes.values()} == {
        True,
        False,
        StaleEpochError,
        EpochMustStartAtZeroError,
        ProducerGapError,
    }


@pytest.mark.parametrize(("row", "fence"), [(None, None), (("p", 3, 4), Fence(3, 4))])
def test_a_stored_row_is_a_fence(row: tuple[str, int, int] | None, fence: Fence | None) -> None:
    assert as_fence(row) == fence

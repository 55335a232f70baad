"""Idempotent producers: the fence over (epoch, seq), as a table (§5.2.1).

| stored row | claim | outcome |
|---|---|---|
| none | seq = 0 | accept |
| none | seq > 0 | gap, expected 0 |
| epoch e | epoch < e | stale: 403 with e |
| epoch e | epoch > e, seq = 0 | accept, new epoch |
| epoch e | epoch > e, seq > 0 | refuse: 400 |
| epoch e, seq s | epoch = e, seq ≤ s | duplicate |
| epoch e, seq s | epoch = e, seq = s + 1 | accept |
| epoch e, seq s | epoch = e, seq > s + 1 | gap, expected s + 1 |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable_streams.protocol.errors import EpochMustStartAtZeroError, ProducerGapError, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ProducerClaim(NamedTuple):
    """The three producer headers of one request: they come together or not at all."""

    producer_id: str
    epoch: int
    seq: int


class Fence(NamedTuple):
    """What is stored of a producer: its current epoch, and the highest accepted seq in it."""

    epoch: int
    seq: int


def is_duplicate(fence: Fence | None, claim: ProducerClaim) -> bool:
    """Judge a claim against the stored fence: True for a retry of something accepted, False to accept it.

    Raises:
        StaleEpochError: the claim's epoch is below the stored one.
        EpochMustStartAtZeroError: a new epoch that does not begin at seq 0.
        ProducerGapError: a seq past the next one.
    """
    if fence is None or claim.epoch > fence.epoch:
        if claim.seq == 0:
            return False
        if fence is None:
            raise ProducerGapError(0, claim.seq)
        raise EpochMustStartAtZeroError(claim.epoch, claim.seq)
    if claim.epoch < fence.epoch:
        raise StaleEpochError(fence.epoch)
    if claim.seq > fence.seq + 1:
        raise ProducerGapError(fence.seq + 1, claim.seq)
    return claim.seq <= fence.seq


def as_fence(row: Sequence[object] | None) -> Fence | None:
    """Return the fence in a stored (producer id, epoch, seq) row."""
    return Fence(row[1], row[2]) if row is not None else None  # type: ignore[arg-type]

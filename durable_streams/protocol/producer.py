"""Idempotent producers: the fence over (epoch, seq), as tables (§5.2.1).

An append that comes whole:

| stored row | triple | outcome |
|---|---|---|
| none | seq = 0 | accept |
| none | seq > 0 | gap, expected 0 |
| epoch e | epoch < e | stale: 403 with e |
| epoch e | epoch > e, seq = 0 | accept, new epoch |
| epoch e | epoch > e, seq > 0 | refuse: 400 |
| epoch e, seq s | epoch = e, seq ≤ s | duplicate |
| epoch e, seq s | epoch = e, seq = s + 1 | accept |
| epoch e, seq s | epoch = e, seq > s + 1 | gap, expected s + 1 |
| epoch e, seq s unfinished | epoch = e, seq < s | duplicate |
| epoch e, seq s unfinished | epoch = e, seq = s | refuse: it is an upload's |
| epoch e, seq s unfinished | epoch = e, seq > s | gap, expected s |

A piece of an upload, bytes [start, end) under one triple; what is not in this table is decided as above:

| stored row | piece of the same epoch and seq | outcome |
|---|---|---|
| none, or accepted as next above | start = 0 | accept |
| none, or accepted as next above | start > 0 | refuse: what came before it is not stored |
| s unfinished, n bytes stored | start ≤ n | accept what lies beyond n |
| s unfinished, n bytes stored | start > n, or the last with end < n | refuse: not the same upload |
| s finished with n bytes | end ≤ n, and not the last with end < n | duplicate |
| s finished with n bytes | any other | refuse: not the same upload |
| s, an append that came whole | any | duplicate |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable_streams.protocol.errors import (
    EpochMustStartAtZeroError,
    ProducerGapError,
    StaleEpochError,
    UploadDiffersError,
    UploadUnfinishedError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class ProducerTriple(NamedTuple):
    """The three producer headers of one request: they come together or not at all."""

    producer_id: str
    epoch: int
    seq: int


class Part(NamedTuple):
    """What makes an append a piece of an upload, whose pieces share one triple.

    start: how many bytes of the upload come before this piece. last: whether the upload ends with it.
    """

    start: int
    last: bool


class Fence(NamedTuple):
    """What is stored of a producer: its current epoch, and the highest seq in it of which there is anything.

    upload_bytes: how many bytes of an upload under this seq are stored; ``None`` for an append that came whole.
    finished: whether that upload has been stored to its end; always so for an append that came whole.
    """

    epoch: int
    seq: int
    upload_bytes: int | None = None
    finished: bool = True


class Accepted(NamedTuple):
    """What a triple is let in with.

    skipped_bytes: how many of the payload's first bytes are stored already. fence: what to store of the producer.
    """

    skipped_bytes: int
    fence: Fence


def judge(fence: Fence | None, triple: ProducerTriple, part: Part | None, size_bytes: int) -> Accepted | None:  # noqa: PLR0917 a triple and what it is for
    """Judge a triple against the stored fence: ``None`` for a retry of what is stored already.

    Args:
        fence: what is stored of the triple's producer; ``None`` for nothing.
        triple: of the append.
        part: set for a piece of an upload.
        size_bytes: size of the append's payload.

    Raises:
        StaleEpochError: the triple's epoch is below the stored one.
        EpochMustStartAtZeroError: a new epoch that does not begin at seq 0.
        ProducerGapError: a seq past the next one.
        UploadUnfinishedError: an append that comes whole, under the seq of an upload that has not ended.
        UploadDiffersError: a piece that cannot be of the upload that is stored.
    """
    if part is not None:
        return _judge_part(fence, triple, part, part.start + size_bytes)
    return None if is_duplicate(fence, triple) else Accepted(0, Fence(triple.epoch, triple.seq))


def is_duplicate(fence: Fence | None, triple: ProducerTriple) -> bool:
    """Judge the triple of an append that comes whole: True for a retry, False to accept it. Raises as ``judge``."""
    if fence is None or triple.epoch > fence.epoch:
        if triple.seq == 0:
            return False
        if fence is None:
            raise ProducerGapError(0, triple.seq)
        raise EpochMustStartAtZeroError(triple.epoch, triple.seq)
    if triple.epoch < fence.epoch:
        raise StaleEpochError(fence.epoch)
    next_seq = fence.seq + 1 if fence.finished else fence.seq
    if triple.seq > next_seq:
        raise ProducerGapError(next_seq, triple.seq)
    if triple.seq == fence.seq and not fence.finished:
        raise UploadUnfinishedError(triple.seq)
    return triple.seq <= fence.seq


def _judge_part(fence: Fence | None, triple: ProducerTriple, part: Part, end: int) -> Accepted | None:  # noqa: PLR0917 as ``judge``
    stored_bytes, finished = 0, False
    if fence is not None and (fence.epoch, fence.seq) == (triple.epoch, triple.seq):
        if fence.upload_bytes is None:
            return None
        stored_bytes, finished = fence.upload_bytes, fence.finished
    elif is_duplicate(fence, triple):
        return None
    if part.start > stored_bytes:
        raise UploadDiffersError(stored_bytes, part.start)
    if (part.last and end < stored_bytes) or (finished and end > stored_bytes):
        raise UploadDiffersError(stored_bytes, end)
    reached = Fence(triple.epoch, triple.seq, max(end, stored_bytes), part.last or finished)
    if reached == fence:
        return None
    return Accepted(min(end, stored_bytes) - part.start, reached)


def as_fence(row: Sequence[object] | None) -> Fence | None:
    """Return the fence in a stored row: the producer id, then the fence's own fields."""
    return Fence(*row[1:]) if row is not None else None  # type: ignore[arg-type]

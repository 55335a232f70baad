"""The sequencer against a server of a few lines whose answers can be held back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from durable_streams.client import (
    DurableStreamError,
    FetchError,
    IdempotentAppendResult,
    SequenceGapError,
    StaleEpochError,
)
from durable_streams.client.outbox import Outbox, OutgoingBatch, Receipt
from durable_streams.client.sequencer import Sequencer


@dataclass
class Fence:
    """A producer's state at a server (§5.2.1), and what was written.

    Attributes:
        held: requests for these seqs, in any epoch, wait at the door until released.
        refusals: what to answer to a seq instead of looking at it.
    """

    epoch: int = 0
    last_seq: int = -1
    written: list[bytes] = field(default_factory=list)
    held: dict[int, asyncio.Event] = field(default_factory=dict)
    refusals: dict[int, Exception] = field(default_factory=dict)
    answered: list[tuple[int, int]] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def post(self, batch: OutgoingBatch, epoch: int) -> IdempotentAppendResult:
        if batch.seq in self.held:
            await self.held[batch.seq].wait()
        try:
            return self._decide(batch, epoch)
        finally:
            async with self.news:
                self.answered.append((epoch, batch.seq))
                self.news.notify_all()

    async def has_answered(self, epoch: int, seq: int) -> None:
        async with self.news:
            await self.news.wait_for(lambda: (epoch, seq) in self.answered)

    def _decide(self, batch: OutgoingBatch, epoch: int) -> IdempotentAppendResult:
        if batch.seq in self.refusals:
            raise self.refusals[batch.seq]
        if epoch < self.epoch:
            raise StaleEpochError(self.epoch)
        if epoch > self.epoch:
            self.epoch, self.last_seq = epoch, -1
        if batch.seq > self.last_seq + 1:
            raise SequenceGapError(self.last_seq + 1, batch.seq)
        if batch.seq == self.last_seq + 1:
            self.last_seq = batch.seq
            self.written += batch.messages
        return IdempotentAppendResult(str(len(self.written)), duplicate=False)


def begun(fence: Fence, *, auto_claim: bool = False, errors: list[Exception] | None = None) -> tuple[Sequencer, Outbox]:
    outbox = Outbox(1)
    on_stop = None if errors is None else errors.append
    sequencer = Sequencer(outbox, fence.post, on_stop, auto_claim=auto_claim, max_in_flight=3)
    sequencer.begin(0)
    return sequencer, outbox


def add(sequencer: Sequencer, outbox: Outbox, *messages: bytes) -> list[Receipt]:
    receipts = [Receipt(outbox.add(message)) for message in messages]
    sequencer.held_bytes += sum(map(len, messages))
    sequencer.pump()
    return receipts


async def errors_of(receipts: list[Receipt]) -> list[object]:
    return await asyncio.gather(*(receipt.durable() for receipt in receipts), return_exceptions=True)


async def test_batches_that_arrive_in_reverse_are_written_in_order() -> None:
    fence = Fence(held={0: asyncio.Event(), 1: asyncio.Event()})
    sequencer, outbox = begun(fence)
    receipts = add(sequencer, outbox, b"a", b"b", b"c", b"d")
    await fence.has_answered(0, 2)
    fence.held[1].set()
    await fence.has_answered(0, 1)
    assert fence.written == []
    fence.held[0].set()
    for receipt in receipts:
        await receipt.durable()
    assert fence.written == [b"a", b"b", b"c", b"d"]
    assert sequencer.held_bytes == 0


async def test_a_refusal_for_good_stops_what_is_behind_and_not_what_is_before() -> None:
    refusal = DurableStreamError("no", status=413)
    errors: list[Exception] = []
    fence = Fence(held={0: asyncio.Event(), 1: asyncio.Event()}, refusals={1: refusal})
    sequencer, outbox = begun(fence, errors=errors)
    receipts = add(sequencer, outbox, b"a", b"b", b"c", b"d")
    await fence.has_answered(0, 2)
    fence.held[1].set()
    await fence.has_answered(0, 1)
    fence.held[0].set()
    outcomes = await errors_of(receipts)
    assert isinstance(outcomes[0], IdempotentAppendResult)
    assert outcomes[1:] == [refusal] * 3
    assert fence.written == [b"a"]
    assert errors == [refusal]
    assert sequencer.failure is refusal


async def test_a_claim_keeps_the_order_of_what_was_refused() -> None:
    fence = Fence()
    sequencer, outbox = begun(fence, auto_claim=True)
    await add(sequencer, outbox, b"a")[0].durable()
    # The third is at the door and finds a gap; then another producer begins an epoch; then the others arrive.
    fence.held = {1: asyncio.Event(), 2: asyncio.Event()}
    receipts = add(sequencer, outbox, b"b", b"c", b"d", b"e")
    await fence.has_answered(0, 3)
    fence.epoch, fence.last_seq = 4, 7
    fence.held[2].set()
    await fence.has_answered(0, 2)
    fence.held[1].set()
    for receipt in receipts:
        await receipt.durable()
    assert sequencer.epoch == 5
    assert fence.written == [b"a", b"b", b"c", b"d", b"e"]


async def test_a_failure_beside_a_fence_claims_nothing() -> None:
    fence = Fence()
    sequencer, outbox = begun(fence, auto_claim=True)
    await add(sequencer, outbox, b"a")[0].durable()
    fence.held = {1: asyncio.Event()}
    fence.refusals = {1: FetchError("unreachable")}
    receipts = add(sequencer, outbox, b"b", b"c")
    await fence.has_answered(0, 2)
    fence.epoch, fence.last_seq = 4, 7
    fence.held[1].set()
    outcomes = await errors_of(receipts)
    assert all(isinstance(outcome, FetchError) for outcome in outcomes)
    assert (sequencer.epoch, fence.written) == (0, [b"a"])


async def test_a_fence_with_a_failure_behind_it_stops() -> None:
    fence = Fence()
    sequencer, outbox = begun(fence, auto_claim=True)
    await add(sequencer, outbox, b"a")[0].durable()
    fence.held = {2: asyncio.Event()}
    fence.refusals = {2: FetchError("unreachable")}
    fence.epoch = 4
    receipts = add(sequencer, outbox, b"b", b"c")
    await fence.has_answered(0, 1)
    fence.held[2].set()
    outcomes = await errors_of(receipts)
    assert [type(outcome) for outcome in outcomes] == [StaleEpochError, FetchError]
    assert (sequencer.epoch, fence.written) == (0, [b"a"])


async def test_what_is_in_doubt_is_not_claimed() -> None:
    fence = Fence(epoch=4)
    sequencer, outbox = begun(fence, auto_claim=True)
    batch = outbox.add(b"a")
    batch.in_doubt = True
    outbox.seal()
    sequencer.pump()
    with pytest.raises(StaleEpochError):
        await Receipt(batch).durable()
    assert fence.written == []


async def test_a_gap_settles_the_doubt() -> None:
    fence = Fence(held={0: asyncio.Event()})
    sequencer, outbox = begun(fence)
    first, second = outbox.add(b"a"), outbox.add(b"b")
    second.in_doubt = True
    outbox.seal()
    sequencer.pump()
    await fence.has_answered(0, 1)
    fence.held[0].set()
    await Receipt(second).durable()
    assert not second.in_doubt
    assert first.settled.done()


async def test_only_one_leaves_until_an_epoch_is_established() -> None:
    fence = Fence(held={n: asyncio.Event() for n in range(3)})
    sequencer, outbox = begun(fence, auto_claim=True)
    receipts = add(sequencer, outbox, b"a", b"b", b"c")
    assert sequencer.in_flight_count == 1
    fence.held[0].set()
    await receipts[0].durable()
    assert sequencer.in_flight_count == 2
    fence.held[1].set()
    fence.held[2].set()
    for receipt in receipts:
        await receipt.durable()


async def test_aborting_settles_everything() -> None:
    fence = Fence(held={n: asyncio.Event() for n in range(9)})
    sequencer, outbox = begun(fence)
    receipts = add(sequencer, outbox, b"a", b"b", b"c", b"d")
    lost = DurableStreamError("aborted")
    await sequencer.abort(lost)
    assert await errors_of(receipts) == [lost] * 4
    assert (sequencer.in_flight_count, sequencer.held_bytes, sequencer.unsettled()) == (0, 0, [])


async def test_a_bug_in_posting_fails_the_batch_and_says_so() -> None:
    errors: list[Exception] = []
    fence = Fence(refusals={0: ZeroDivisionError()})
    sequencer, outbox = begun(fence, errors=errors)
    (outcome,) = await errors_of(add(sequencer, outbox, b"a"))
    assert isinstance(outcome, ZeroDivisionError)
    await asyncio.sleep(0)
    assert errors == [outcome]

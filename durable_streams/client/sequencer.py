"""The order of a producer's batches: epochs, seqs, and what happens when one is refused (§5.2.1).

Theory. Batch n of an epoch carries ``Producer-Seq`` n. Several are on their way at once, on as many connections, so
they may arrive out of order; the server turns the early ones away with a gap, and they are sent again once their
predecessor is acknowledged. Must not know: requests, how messages are gathered.
Invariants: the server accepts batch n only after n-1, so an acknowledgement covers all before it; a batch refused for
good stops all behind it, as anything else would reorder them or leave a hole; the epoch changes only with nothing in
flight.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from durable_streams.client.errors import DurableStreamError, SequenceGapError, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.client.outbox import Outbox, OutgoingBatch
    from durable_streams.client.values import IdempotentAppendResult

EPOCHS_MAX: Final = 8
"""Epochs begun in a row without an acknowledgement: two producers must not overtake each other for ever."""


class _OvertakenError(Exception):
    """A batch waited for its predecessor, which will not be acknowledged under this epoch."""


class Sequencer:
    """Sends an outbox's batches in order, several at once.

    Args:
        outbox: where batches come from.
        post: sends one batch under (epoch, seq) until it is answered.
        on_stop: called once with the error that stops it.
        auto_claim: when refused as stale, go on one epoch above the current one, if no batch is in doubt.
        max_in_flight: batches on their way at once.

    Attributes:
        epoch: the epoch of the batches now sent.
        next_seq: the seq of the next one.
        failure: what stopped it; nothing leaves any more.
        held_bytes: bytes of messages accepted and not settled.
    """

    def __init__(
        self,
        outbox: Outbox,
        post: Callable[[OutgoingBatch, int], Awaitable[IdempotentAppendResult]],
        on_stop: Callable[[Exception], object] | None,
        *,
        auto_claim: bool,
        max_in_flight: int,
    ) -> None:
        self.epoch = self.next_seq = self.held_bytes = 0
        self.failure: Exception | None = None
        self._outbox, self._post, self._on_stop = outbox, post, on_stop
        self._auto_claim, self._max_in_flight = auto_claim, max_in_flight
        self._in_flight: dict[int, OutgoingBatch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()  # set and cleared at once: wakes whoever waits for any change
        self._fence: StaleEpochError | None = None
        self._fenced: list[OutgoingBatch] = []
        self._epochs_begun = 0

    @property
    def in_flight_count(self) -> int:
        """Batches on their way."""
        return len(self._in_flight)

    def unsettled(self) -> list[OutgoingBatch]:
        """Return all batches whose fate is open."""
        return [*self._in_flight.values(), *self._fenced, *self._outbox.waiting()]

    def begin(self, epoch: int) -> None:
        """Start an epoch at seq 0 and forget what stopped the last one; nothing may be in flight."""
        self.epoch, self.next_seq, self._acked_seq = epoch, 0, -1
        self.failure = None
        # Who may be refused as stale sends one batch alone first, so that a refusal finds nothing else in flight.
        self._established = not self._auto_claim

    def pump(self) -> None:
        """Let batches leave while there is room for them in flight."""
        window = self._max_in_flight if self._established else 1
        while self.failure is None and self._fence is None and len(self._in_flight) < window:
            batch = self._outbox.take()
            if batch is None:
                return
            batch.seq, self.next_seq = self.next_seq, self.next_seq + 1
            self._in_flight[batch.seq] = batch
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def change(self) -> None:
        """Wait until a batch has been settled or has left the flight."""
        await self._news.wait()

    async def abort(self, error: DurableStreamError) -> None:
        """Stop all tasks and settle everything with ``error``."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for batch in self.unsettled():
            self._settle(batch, error)
        self._outbox.clear()
        self._in_flight.clear()
        self._fenced.clear()

    async def _run(self, batch: OutgoingBatch) -> None:
        try:
            outcome: IdempotentAppendResult | Exception = await self._deliver(batch)
        except Exception as error:  # noqa: BLE001 whatever it is, callers are told and nothing overtakes it
            outcome = error
        del self._in_flight[batch.seq]
        if isinstance(outcome, Exception):
            self._refused(batch, outcome)
        else:
            self._acked_seq = max(self._acked_seq, batch.seq)
            self._established, self._epochs_begun = True, 0
            self._settle(batch, outcome)
        if self._fence is not None and not self._in_flight:
            self._resolve_fence(self._fence)
        self.pump()
        self._tell()

    async def _deliver(self, batch: OutgoingBatch) -> IdempotentAppendResult:
        while True:
            known = self._acked_seq
            try:
                return await self._post(batch, self.epoch)
            except SequenceGapError:
                batch.in_doubt = False
                if known >= batch.seq - 1:
                    raise  # the server has acknowledged the predecessor and does not know it any more
            while self._acked_seq < batch.seq - 1:
                if batch.seq - 1 not in self._in_flight:
                    raise _OvertakenError
                await self._news.wait()

    def _refused(self, batch: OutgoingBatch, error: Exception) -> None:
        if self.failure is not None:
            self._settle(batch, self.failure if isinstance(error, _OvertakenError) else error)
        elif isinstance(error, StaleEpochError) and self._auto_claim:
            self._fence = error
            self._fenced.append(batch)
        elif isinstance(error, _OvertakenError) and self._fence is not None:
            self._fenced.append(batch)
        else:
            self._stop(error, [batch])

    def _resolve_fence(self, fence: StaleEpochError) -> None:
        """Begin the next epoch and send the refused batches again, unless one of them may have been written before."""
        refused = sorted(self._fenced, key=lambda batch: batch.seq)
        self._fence, self._fenced = None, []
        self._epochs_begun += 1
        if self.failure is not None or self._epochs_begun > EPOCHS_MAX or any(batch.in_doubt for batch in refused):
            self._stop(fence, refused)
        else:
            self.begin(fence.current_epoch + 1)
            self._outbox.put_back(refused)

    def _stop(self, error: Exception, refused: list[OutgoingBatch]) -> None:
        """Fail batches and everything that has not left yet, and take no more."""
        if self.failure is None:
            self.failure = error
            if self._on_stop is not None:
                # From the loop, so that an exception in it is reported there and leaves this state alone.
                asyncio.get_running_loop().call_soon(self._on_stop, error)
        for batch in [*refused, *self._outbox.clear()]:
            self._settle(batch, error)

    def _settle(self, batch: OutgoingBatch, outcome: IdempotentAppendResult | Exception) -> None:
        if batch.settled.done():
            return
        if isinstance(outcome, Exception):
            batch.settled.set_exception(outcome)
        else:
            batch.settled.set_result(outcome)
        self.held_bytes -= sum(map(len, batch.messages))
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

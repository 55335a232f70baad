"""``IdempotentProducer``: appends that arrive once, in order, whatever is lost in between (§5.2.1).

Theory. Messages gather in batches; batch n of an epoch carries ``Producer-Seq`` n. Up to ``max_in_flight`` are on
their way at once, on as many connections, so they may arrive out of order; the server turns the early ones away with a
gap and they are sent again once their predecessor is acknowledged. An attempt without an answer is repeated with the
same triple and bytes until there is one: 200 means written, 204 that it was written already.
Invariants: the server accepts batch n only after n-1, so an acknowledgement covers all before it; a batch that is
refused for good stops all behind it, as anything else would reorder or leave a hole; the epoch changes only with
nothing in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import (
    DurableStreamError,
    FetchError,
    ProducerBufferFullError,
    SequenceGapError,
    StaleEpochError,
    StreamClosedError,
)
from durable_streams.client.framing import checked, encoded
from durable_streams.client.outbox import Outbox, OutgoingBatch, Receipt
from durable_streams.client.retry import PATIENT, Interrupted, RetryPolicy, retrying
from durable_streams.client.values import IdempotentAppendResult
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import aiohttp

    from durable_streams.client.answers import Answer
    from durable_streams.client.values import HeadersLike, ParamsLike

MAX_BATCH_BYTES: Final = 2**20
MAX_BUFFER_BYTES: Final = 64 * 2**20
CLAIMS_MAX: Final = 8
"""Claims in a row without an acknowledgement: two producers must not claim from each other for ever."""


class _OvertakenError(Exception):
    """A batch waited for its predecessor, which will not be acknowledged under this epoch."""


class IdempotentProducer:
    """Appends in the background, each message exactly once and in order.

    After an error that cannot be mended the producer stops: what was not acknowledged fails with that error,
    ``on_error`` is called once, and ``append``, ``drain`` and ``flush`` raise it until ``restart``. Needs a running
    event loop; not thread-safe.

    Args:
        url: the stream's URL.
        producer_id: stable name of this writer; two live producers must not share one.
        client: session to use, left open; ``None`` opens one, which ``close`` closes.
        epoch: where to start; one above the last used, unless ``auto_claim`` finds out.
        auto_claim: when refused as stale, go on one epoch above the current one, if no batch is in doubt.
        max_batch_bytes: bound of a request's body; a larger message travels alone.
        linger_ms: how long a message may wait for others to travel with.
        max_in_flight: batches on their way at once.
        content_type: the stream's.
        on_error: called with the error that stops the producer.
        headers: sent with every request; a callable is asked anew for each attempt.
        params: added to every request, as ``headers``.
        timeout: seconds to wait for an answer before repeating the request; 30 by default.
        retry: how long a batch is repeated; 300 s by default.
        max_buffer_bytes: bound of what is held unacknowledged.
    """

    def __init__(  # noqa: PLR0913 the official client's signature
        self,
        url: str,
        producer_id: str,
        *,
        client: aiohttp.ClientSession | None = None,
        epoch: int = 0,
        auto_claim: bool = False,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        linger_ms: float = 5,
        max_in_flight: int = 5,
        content_type: str = content_types.DEFAULT,
        on_error: Callable[[Exception], object] | None = None,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        max_buffer_bytes: int = MAX_BUFFER_BYTES,
    ) -> None:
        if epoch < 0 or linger_ms < 0 or min(max_batch_bytes, max_in_flight, max_buffer_bytes) < 1:
            raise ValueError("epoch and linger_ms are at least 0, the bounds at least 1")
        self._endpoint = Endpoint(url, headers=headers, params=params, client=client, timeout=timeout)
        self._producer_id = producer_id
        self._content_type = content_type
        self._auto_claim = auto_claim
        self._linger_s = linger_ms / 1000
        self._max_in_flight = max_in_flight
        self._max_buffer_bytes = max_buffer_bytes
        self._on_error = on_error
        self._retry = retry or PATIENT

        self._outbox = Outbox(max_batch_bytes)
        self._linger: asyncio.TimerHandle | None = None
        self._lingered = False
        self._buffered_bytes = 0
        self._in_flight: dict[int, OutgoingBatch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()  # set and cleared at once: wakes whoever waits for any change

        self._failure: Exception | None = None
        self._closed = False
        self._closing: OutgoingBatch | None = None
        self._fence: StaleEpochError | None = None
        self._fenced: list[OutgoingBatch] = []
        self._begin_epoch(epoch)

    @property
    def epoch(self) -> int:
        """The epoch of the batches now sent."""
        return self._epoch

    @property
    def next_seq(self) -> int:
        """The next batch's ``Producer-Seq``."""
        return self._next_seq

    @property
    def pending_count(self) -> int:
        """Messages that have not left yet."""
        return self._outbox.message_count

    @property
    def in_flight_count(self) -> int:
        """Batches on their way."""
        return len(self._in_flight)

    @property
    def buffered_bytes(self) -> int:
        """Bytes appended and not acknowledged."""
        return self._buffered_bytes

    def append(self, body: bytes | str) -> Receipt:
        """Take a message and return at once.

        Args:
            body: the bytes; on a JSON stream one serialised value, appended as one message even if it is an array.

        Returns:
            A receipt to await, or to ignore: ``flush`` covers it.

        Raises:
            ProducerBufferFullError: ``max_buffer_bytes`` are waiting already; ``drain`` waits for room.
            StreamClosedError: ``close_stream`` was called.
            DurableStreamError: the body is not one message, the producer is closed, or the error that stopped it.
            FetchError: the error that stopped it.
        """
        self._refuse_if_over()
        message = checked(encoded(body), self._content_type)
        if self._buffered_bytes and self._buffered_bytes + len(message) > self._max_buffer_bytes:
            raise ProducerBufferFullError(self._max_buffer_bytes)
        batch = self._outbox.add(message)
        self._buffered_bytes += len(message)
        if self._outbox.open_since_first:
            self._start_linger()
        self._pump()
        return Receipt(batch)

    async def drain(self) -> None:
        """Wait until at most half of ``max_buffer_bytes`` is held: await it between appends that outrun the network.

        Raises:
            DurableStreamError, FetchError: the error that stopped the producer.
        """
        while self._failure is None and self._buffered_bytes > self._max_buffer_bytes // 2:
            await self._news.wait()
        self._raise_failure()

    async def flush(self) -> None:
        """Send what waits, and return when everything appended so far is acknowledged.

        Raises:
            DurableStreamError, FetchError: the error that stopped the producer.
        """
        self._raise_failure()
        self._outbox.seal()
        self._pump()
        for batch in self._unsettled():
            await Receipt(batch)

    async def close(self) -> None:
        """Flush, and release the connections. The stream stays open. A second call does nothing.

        Raises:
            DurableStreamError, FetchError: as ``flush``.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self.flush()
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Stop at once: give up what is not acknowledged, and release the connections."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        lost = DurableStreamError("the producer was aborted; this may or may not be written", code="ABORTED")
        for batch in [*self._in_flight.values(), *self._fenced, *self._outbox.clear()]:
            self._settle(batch, lost)
        self._in_flight.clear()
        self._fenced.clear()
        self._stop_linger()
        await self._endpoint.aclose()

    async def close_stream(self, data: bytes | str | None = None) -> IdempotentAppendResult:
        """Close the stream behind everything appended, with a last message in the same transaction if there is one.

        Safe to repeat after a lost answer, by this producer itself and by the caller.

        Raises:
            StreamClosedError: somebody else has closed it.
            DurableStreamError, FetchError: as ``append`` and ``flush``.
        """
        if self._closing is not None:
            result = await Receipt(self._closing)
            return IdempotentAppendResult(result.offset, duplicate=True)
        self._refuse_if_over()
        message = None if data is None else checked(encoded(data), self._content_type)
        self._closing = self._outbox.add_closing(message)
        self._buffered_bytes += len(message or b"")
        self._pump()
        return await Receipt(self._closing)

    async def restart(self) -> None:
        """Begin a new session: one epoch above the highest known, seq 0.

        Flushes first, or, on a stopped producer, forgets the error. What failed with it and was in doubt stays in
        doubt: the server cannot recognise it under a new epoch.

        Raises:
            DurableStreamError, FetchError: as ``flush``.
        """
        if self._failure is None:
            await self.flush()
        while self._in_flight:
            await self._news.wait()
        current = self._failure.current_epoch if isinstance(self._failure, StaleEpochError) else 0
        self._failure = None
        if self._closing is not None and self._closing.settled.exception() is not None:
            self._closing = None
        self._begin_epoch(max(self._epoch, current) + 1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        if kind is None:
            await self.close()
        elif issubclass(kind, Exception):
            # The body's own exception is the one to show.
            with contextlib.suppress(DurableStreamError, FetchError):
                await self.close()
        else:
            await self.abort()

    # Sending.

    def _begin_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._next_seq = 0
        self._acked_seq = -1
        self._claims = 0
        # Who may be refused as stale sends one batch alone first: a refusal then finds nothing else in flight.
        self._established = not self._auto_claim

    def _pump(self) -> None:
        """Let batches leave while there is room for them in flight."""
        window = self._max_in_flight if self._established else 1
        while self._failure is None and self._fence is None and len(self._in_flight) < window:
            batch = self._outbox.take(unfilled=self._lingered)
            if batch is None:
                return
            if not self._outbox:
                self._stop_linger()
            batch.seq = self._next_seq
            self._next_seq += 1
            self._in_flight[batch.seq] = batch
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: OutgoingBatch) -> None:
        try:
            result = await self._deliver(batch)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, callers are told and nothing overtakes it
            self._leave(batch)
            self._refused(batch, error)
        else:
            self._leave(batch)
            self._acked_seq = max(self._acked_seq, batch.seq)
            self._established, self._claims = True, 0
            self._settle(batch, result)
        if self._fence is not None and not self._in_flight:
            self._resolve_fence(self._fence)
        self._pump()
        self._tell()

    async def _deliver(self, batch: OutgoingBatch) -> IdempotentAppendResult:
        while True:
            known = self._acked_seq
            try:
                return await self._post(batch)
            except SequenceGapError:
                batch.in_doubt = False
                if known >= batch.seq - 1:
                    raise  # the server has acknowledged the predecessor and does not know it any more
            while self._acked_seq < batch.seq - 1:
                if batch.seq - 1 not in self._in_flight:
                    raise _OvertakenError
                await self._news.wait()

    async def _post(self, batch: OutgoingBatch) -> IdempotentAppendResult:
        sent = {
            names.PRODUCER_ID: self._producer_id,
            names.PRODUCER_EPOCH: str(self._epoch),
            names.PRODUCER_SEQ: str(batch.seq),
        }
        if batch.messages:
            sent["Content-Type"] = self._content_type
        if batch.closes:
            sent[names.STREAM_CLOSED] = "true"
        body = batch.body(self._content_type)

        def repeat_if(interruption: Interrupted) -> bool:
            batch.in_doubt = batch.in_doubt or interruption.may_be_applied
            return True

        answer = await retrying(
            self._retry, lambda: self._endpoint.send("POST", headers=sent, body=body), repeat_if=repeat_if
        )
        return _acknowledgement(answer, batch)

    # Endings of batches.

    def _refused(self, batch: OutgoingBatch, error: Exception) -> None:
        if isinstance(error, StaleEpochError) and self._auto_claim and self._failure is None:
            self._fence = error
            self._fenced.append(batch)
        elif isinstance(error, _OvertakenError) and self._fence is not None:
            self._fenced.append(batch)
        elif isinstance(error, _OvertakenError) and self._failure is not None:
            self._settle(batch, self._failure)
        else:
            self._stop(batch, error)

    def _resolve_fence(self, fence: StaleEpochError) -> None:
        """Claim the next epoch and send the refused batches again, unless one of them may have been written before."""
        batches = sorted(self._fenced, key=lambda batch: batch.seq)
        self._fence = None
        self._fenced = []
        claims = self._claims + 1
        if claims > CLAIMS_MAX or any(batch.in_doubt for batch in batches) or self._failure is not None:
            for batch in batches:
                self._stop(batch, self._failure or fence)
            return
        self._begin_epoch(fence.current_epoch + 1)
        self._claims = claims
        self._outbox.put_back(batches)

    def _stop(self, batch: OutgoingBatch, error: Exception) -> None:
        """Fail a batch and everything that has not left yet, and take no more."""
        first = self._failure is None
        self._failure = self._failure or error
        self._settle(batch, error)
        for waiting in self._outbox.clear():
            self._settle(waiting, error)
        self._stop_linger()
        if first and self._on_error is not None:
            # From the loop, so that an exception in it is reported there and leaves the producer's state alone.
            asyncio.get_running_loop().call_soon(self._on_error, error)

    def _settle(self, batch: OutgoingBatch, outcome: IdempotentAppendResult | Exception) -> None:
        if batch.settled.done():
            return
        if isinstance(outcome, Exception):
            batch.settled.set_exception(outcome)
        else:
            batch.settled.set_result(outcome)
        self._buffered_bytes -= sum(map(len, batch.messages))
        self._tell()

    def _leave(self, batch: OutgoingBatch) -> None:
        del self._in_flight[batch.seq]

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    # Small things.

    def _unsettled(self) -> list[OutgoingBatch]:
        return [*self._in_flight.values(), *self._fenced, *self._outbox.waiting()]

    def _refuse_if_over(self) -> None:
        self._raise_failure()
        if self._closing is not None:
            raise StreamClosedError(self._endpoint.url)
        if self._closed:
            raise DurableStreamError("the producer is closed", code="ALREADY_CLOSED")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def _start_linger(self) -> None:
        self._stop_linger()
        self._linger = asyncio.get_running_loop().call_later(self._linger_s, self._on_lingered)

    def _on_lingered(self) -> None:
        self._lingered = True
        self._pump()

    def _stop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._linger, self._lingered = None, False


def _acknowledgement(answer: Answer, batch: OutgoingBatch) -> IdempotentAppendResult:
    offset = answer.headers.get(names.STREAM_NEXT_OFFSET)
    if offset is None and names.PRODUCER_EPOCH not in answer.headers and not answer.closed:
        raise DurableStreamError("a 2xx that acknowledges nothing; is this a stream?", status=answer.status)
    # 204 is the only answer to a close without a body, new or not.
    duplicate = answer.status == 204 and bool(batch.messages)  # noqa: PLR2004 No Content
    return IdempotentAppendResult(offset or "", duplicate=duplicate)

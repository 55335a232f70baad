"""``IdempotentProducer``: appends that arrive once, in order, whatever is lost in between (§5.2.1).

Messages gather in batches (``outbox.py``), which leave in order under (epoch, seq) (``sequencer.py``), each as one
append (``appending.py``). Owns: the life of the producer, and whether a batch was another session's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from durable_streams.client.appending import IdempotentAppend, acknowledgement, post
from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import (
    DurableStreamError,
    FetchError,
    ProducerBufferFullError,
    StaleEpochError,
    StreamClosedError,
)
from durable_streams.client.framing import checked, encoded
from durable_streams.client.outbox import Outbox, OutgoingBatch, Receipt
from durable_streams.client.retry import PATIENT
from durable_streams.client.sequencer import Sequencer
from durable_streams.client.values import IdempotentAppendResult
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names
from durable_streams.protocol.producer import ProducerTriple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import aiohttp

    from durable_streams.client.answers import Answer
    from durable_streams.client.retry import RetryPolicy
    from durable_streams.client.values import HeadersLike, ParamsLike

MAX_BATCH_BYTES: Final = 2**20
MAX_BUFFER_BYTES: Final = 64 * 2**20


class IdempotentProducer:
    """Appends in the background, each message exactly once and in order.

    After an error that cannot be mended the producer stops: what was not acknowledged fails with that error,
    ``on_error`` is called once, and ``append``, ``drain`` and ``flush`` raise it until ``restart``.

    Needs a running event loop; not thread-safe. ``async with`` closes it at the end; if the body was cancelled it is
    aborted.

    Args:
        url: the stream's URL.
        producer_id: stable name of this writer; two live producers must not share one.
        client: session to use, left open; ``None`` opens one, which ``close`` closes.
        epoch: where to start; one above the last used, unless ``auto_claim`` finds out.
        auto_claim: when refused as stale, or when an earlier session has used this epoch, go on one epoch above the
            current one, if no batch is in doubt. Without it, batches that an earlier session sent under the same epoch
            and seq count as duplicates of these and are not written, as the protocol has it.
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
        self._linger: asyncio.TimerHandle | None = None
        self._max_buffer_bytes = max_buffer_bytes
        self._retry = retry or PATIENT
        self._outbox = Outbox(max_batch_bytes)
        self._sequencer = Sequencer(
            self._outbox, self._post, on_error, auto_claim=auto_claim, max_in_flight=max_in_flight
        )
        self._sequencer.begin(epoch)
        self._closed = False
        self._closing: OutgoingBatch | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the batches now sent."""
        return self._sequencer.epoch

    @property
    def next_seq(self) -> int:
        """The next batch's ``Producer-Seq``."""
        return self._sequencer.next_seq

    @property
    def pending_count(self) -> int:
        """Messages that have not left yet."""
        return self._outbox.message_count

    @property
    def in_flight_count(self) -> int:
        """Batches on their way."""
        return self._sequencer.in_flight_count

    @property
    def buffered_bytes(self) -> int:
        """Bytes appended and not acknowledged."""
        return self._sequencer.held_bytes

    def append(self, body: bytes | str) -> Receipt:
        """Take a message and return at once.

        Args:
            body: the bytes; on a JSON stream one serialised value, appended as one message even if it is an array.

        Returns:
            A receipt to ask, or to ignore: ``flush`` covers it.

        Raises:
            ProducerBufferFullError: ``max_buffer_bytes`` are waiting already; ``drain`` waits for room.
            StreamClosedError: ``close_stream`` was called.
            DurableStreamError: the body is not one message, the producer is closed, or the error that stopped it.
            FetchError: the error that stopped it.
        """
        self._refuse_if_over()
        message = checked(encoded(body), self._content_type)
        if self.buffered_bytes and self.buffered_bytes + len(message) > self._max_buffer_bytes:
            raise ProducerBufferFullError(self._max_buffer_bytes)
        batch = self._outbox.add(message)
        self._sequencer.held_bytes += len(message)
        if self._outbox.open_since_first:
            self._start_linger()
        self._sequencer.pump()
        return Receipt(batch)

    async def drain(self) -> None:
        """Wait until at most half of ``max_buffer_bytes`` is held: await it between appends that outrun the network.

        Raises:
            DurableStreamError, FetchError: the error that stopped the producer.
        """
        while self._sequencer.failure is None and self.buffered_bytes > self._max_buffer_bytes // 2:
            await self._sequencer.change()
        self._raise_failure()

    async def flush(self) -> None:
        """Send what waits, and return when everything appended so far is acknowledged.

        Raises:
            DurableStreamError, FetchError: the error that stopped the producer.
        """
        self._raise_failure()
        self._outbox.seal()
        self._sequencer.pump()
        for batch in self._sequencer.unsettled():
            await Receipt(batch).durable()

    async def close(self) -> None:
        """Flush, and release the connections; the stream stays open. A second call does nothing.

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
        if self._linger is not None:
            self._linger.cancel()
        lost = DurableStreamError("the producer was aborted; this may or may not be written", code="ABORTED")
        await self._sequencer.abort(lost)
        await self._endpoint.aclose()

    async def close_stream(self, data: bytes | str | None = None) -> IdempotentAppendResult:
        """Close the stream behind everything appended, with a last message in the same transaction if there is one.

        Repeated after a lost answer like any batch. A second call returns the first one's result.

        Raises:
            StreamClosedError: somebody else has closed it.
            DurableStreamError, FetchError: as ``append`` and ``flush``.
        """
        if self._closing is not None:
            result = await Receipt(self._closing).durable()
            return IdempotentAppendResult(result.offset, duplicate=True)
        self._refuse_if_over()
        message = None if data is None else checked(encoded(data), self._content_type)
        self._closing = self._outbox.add_closing(message)
        self._sequencer.held_bytes += len(message or b"")
        self._sequencer.pump()
        return await Receipt(self._closing).durable()

    async def restart(self) -> None:
        """Begin a new session: one epoch above the highest known, seq 0.

        Flushes first or, on a stopped producer, forgets the error. What failed with it may have been written: the
        server cannot recognise it under a new epoch.

        Raises:
            DurableStreamError, FetchError: as ``flush``.
        """
        if self._sequencer.failure is None:
            await self.flush()
        while self._sequencer.in_flight_count:
            await self._sequencer.change()
        failure = self._sequencer.failure
        current = failure.current_epoch if isinstance(failure, StaleEpochError) else 0
        if failure is not None:
            self._closing = None
        self._sequencer.begin(max(self.epoch, current) + 1)

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

    async def _post(self, batch: OutgoingBatch, epoch: int) -> IdempotentAppendResult:
        triple = ProducerTriple(self._producer_id, epoch, batch.seq)
        append = IdempotentAppend(batch.body(self._content_type), self._content_type, triple, batch.closes)
        answer = await post(self._endpoint, append, retry=self._retry, doubted=batch)
        result = acknowledgement(answer, append, in_doubt=batch.in_doubt)
        if self._auto_claim and result.duplicate and batch.seq == 0 and _is_foreign(answer, batch):
            batch.in_doubt = False
            raise StaleEpochError(epoch)
        return result

    def _refuse_if_over(self) -> None:
        self._raise_failure()
        if self._closing is not None:
            raise StreamClosedError(self._endpoint.url)
        if self._closed:
            raise DurableStreamError("the producer is closed", code="ALREADY_CLOSED")

    def _raise_failure(self) -> None:
        if self._sequencer.failure is not None:
            raise self._sequencer.failure.with_traceback(None)

    def _start_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._linger = asyncio.get_running_loop().call_later(self._linger_s, self._on_lingered)

    def _on_lingered(self) -> None:
        self._outbox.ripen()
        self._sequencer.pump()


def _is_foreign(answer: Answer, batch: OutgoingBatch) -> bool:
    """Whether the first batch of an epoch is a duplicate of something that this session never sent."""
    highest_seq = answer.headers.get(names.PRODUCER_SEQ, "0")
    return not batch.in_doubt or highest_seq != "0"

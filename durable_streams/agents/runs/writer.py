"""Writes one attempt to its stream: every delta once, in order, whatever is lost on the way.

Theory. Appends carry ``Producer-Id: gen``, an epoch and seq 0, 1, 2 …; one is on its way at a time, and a lost answer
is repeated with the same bytes until there is one. The first delta leaves at once; from then on one append leaves every
``linger_ms``, or sooner when ``max_batch_bytes`` wait. While one is on its way the next collects, so a slow server
makes appends larger, not later.
Invariant: a refusal because somebody else closed the stream, or took over with a later epoch, ends writing for good.
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from durable_streams.agents.errors import AlreadyWrittenError, RunEndedError
from durable_streams.agents.runs.coalescer import Coalescer
from durable_streams.agents.runs.intake import Intake
from durable_streams.agents.usage import COUNTED, Meter
from durable_streams.client import ProducerTriple, StaleEpochError, StreamClosedError, StreamNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.codecs.base import Codec, Identity
    from durable_streams.agents.events import Ending, Event
    from durable_streams.client import AsyncDurableStream, IdempotentAppendResult

GENERATOR: Final = "gen"
"""Producer id of whoever owns the run."""
_ENDED: Final = (StreamClosedError, StaleEpochError, StreamNotFoundError)
"""Refusals that say that somebody else has ended the run."""
APPEND_MAX_BYTES: Final = 4 * 2**20
"""What waits beyond this leaves with the next append; well below what servers take at once."""
BUFFER_BYTES: Final = 256 * 1024
"""A source that outruns the server by more than this is made to wait."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How deltas are gathered.

    Attributes:
        linger_ms: shortest time between two appends that are not full.
        max_batch_bytes: an append leaves at this size without waiting; joined deltas stay below it.
    """

    linger_ms: int = 50
    max_batch_bytes: int = 4096


class StreamWriter:
    """The owner's end of a run's stream.

    Args:
        stream: an existing, empty stream of the codec's content type.
        codec: makes chunks of events.
        pace: how deltas are gathered.
        epoch: of the producer; above 0 only for an owner that takes over, whose seq 0 has fenced the one before.
        on_failure: called once, from the loop, when an error has ended writing.

    Attributes:
        failure: that error.
        meter: the tokens of what was put.
    """

    def __init__(
        self,
        stream: AsyncDurableStream,
        codec: Codec,
        *,
        pace: Pace | None = None,
        epoch: int = 0,
        on_failure: Callable[[], object] | None = None,
    ) -> None:
        pace = pace or Pace()
        self._stream, self._codec, self._epoch = stream, codec, epoch
        self._linger_s, self._max_batch_bytes = pace.linger_ms / 1000, pace.max_batch_bytes
        self._buffer = Coalescer(codec, pace.max_batch_bytes)
        self._loop = asyncio.get_running_loop()
        # Appends are this writer's own doing, not part of the run in whose context events come in.
        self._context = contextvars.copy_context()
        self._intake = Intake()
        # An earlier owner's tokens count too, as far as the codec stands behind them.
        self.meter = Meter(getattr(codec, "usage", None))
        self._seq = 0 if epoch == 0 else 1
        self._next_s = 0.0
        self._put_count = self._durable_count = 0
        self._under_way: asyncio.Future[IdempotentAppendResult] | None = None
        self._departure: asyncio.Handle | None = None
        self._soon = False
        # In their order: calls start in that in which the model made them.
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._ending = False
        self._last: list[bytes] | None = None
        self.failure: Exception | None = None
        self._on_failure = on_failure

    def begin(self, identity: Identity) -> None:
        """Write what comes first; it leaves at once."""
        self._add(self._codec.begin(identity))

    def put(self, event: Event) -> None:
        """Take an event and return at once. After a failure or the end nothing is taken.

        Raises:
            UnstorableError: it is no event, or has no form in which it could be stored.
        """
        if self.failure is None and not self._ending:
            if type(event) in COUNTED:
                self.meter.observe(event)
            for checked in self._intake.take(event):
                self._add(self._codec.feed(checked))

    def has_result(self, call_id: str) -> bool:
        """Return whether a call of that id has ended."""
        return self._intake.has_result(call_id)

    async def room(self) -> None:
        """Wait while the buffer is full.

        Raises:
            Exception: why writing has ended.
        """
        while self.failure is None and self._buffer.size_bytes > BUFFER_BYTES:
            await self._change()
        self._raise_failure()

    async def flush(self) -> None:
        """Return when everything put so far is durable.

        Raises:
            RunEndedError: somebody else has ended the run.
            AlreadyWrittenError: the stream holds another attempt.
            DurableStreamError, FetchError: any other refusal, or no answer.
        """
        mark = self._put_count
        while self.failure is None and self._durable_count < mark:
            if self._under_way is None:
                self._send_soon()
            await self._change()
        self._raise_failure()

    async def settle(self) -> None:
        """Take nothing more, and wait until no append is on its way. What is buffered goes with the ending."""
        self._ending = True
        self._cancel_departure()
        if self._under_way is not None:
            await asyncio.wait([self._under_way])

    async def end(self, ending: Ending, triple: ProducerTriple | None = None) -> IdempotentAppendResult:
        """Write what is buffered and the ending, and close the stream with the last append of it.

        Repeating the call after a ``FetchError`` goes on with the same ending, whichever is given.

        Args:
            ending: how the run ended.
            triple: ``None`` closes as the generator; another triple if the ending is somebody else's decision.

        Raises:
            RunEndedError: somebody else has ended the run otherwise.
            DurableStreamError, FetchError: any other refusal, or no answer; the stream may still be open.
        """
        await self.settle()
        self._raise_failure()
        if self._last is None:
            for rest in self._intake.finish():
                self._buffer.add(self._codec.feed(rest))
            self._buffer.add(self._codec.end(ending))
            self._last = self._buffer.take(APPEND_MAX_BYTES)
        while len(self._buffer):
            await self._append(self._own_triple(), self._last, close=False)
            self._seq += 1
            self._last = self._buffer.take(APPEND_MAX_BYTES)
        return await self._append(triple or self._own_triple(), self._last, close=True)

    async def _append(self, triple: ProducerTriple, messages: list[bytes], *, close: bool) -> IdempotentAppendResult:
        try:
            result = await self._stream.append_as(triple, messages, close=close)
        except _ENDED as refusal:
            raise RunEndedError(self._stream.url) from refusal
        self._refuse_foreign(result, triple)
        return result

    def _own_triple(self) -> ProducerTriple:
        return ProducerTriple(GENERATOR, self._epoch, self._seq)

    def abandon(self) -> None:
        """Write nothing more; an append on its way is left to its fate."""
        self._ending = True
        self._cancel_departure()

    def _add(self, chunks: list[dict[str, object]]) -> None:
        if not chunks:
            return
        self._buffer.add(chunks)
        self._put_count += 1
        if self._under_way is None:
            self._schedule()

    def _schedule(self) -> None:
        if self._soon:
            return
        wait_s = self._next_s - self._loop.time()
        if wait_s <= 0 or self._buffer.size_bytes >= self._max_batch_bytes:
            self._send_soon()
        elif self._departure is None:
            self._departure = self._loop.call_later(wait_s, self._send, context=self._context)

    def _send_soon(self) -> None:
        """Send when this turn of the loop is over: what a source says in one go belongs together."""
        if not self._soon:
            self._cancel_departure()
            self._departure, self._soon = self._loop.call_soon(self._send, context=self._context), True

    def _send(self) -> None:
        # No task each: hundreds of runs at once do this thousands of times a second.
        self._departure, self._soon = None, False
        if self._under_way is not None or not len(self._buffer) or self.failure is not None or self._ending:
            return
        self._next_s = self._loop.time() + self._linger_s
        triple = self._own_triple()
        try:
            messages = self._buffer.take(APPEND_MAX_BYTES)
            mark = self._durable_count if len(self._buffer) else self._put_count
            self._under_way = self._stream.append_soon(triple, messages)
        except Exception as error:  # noqa: BLE001 whatever it is, writing has ended and the run is told
            self._fail(error)
            self._tell()
        else:
            self._under_way.add_done_callback(partial(self._settled, triple, mark), context=self._context)

    def _settled(self, triple: ProducerTriple, mark: int, done: asyncio.Future[IdempotentAppendResult]) -> None:
        self._under_way = None
        if done.cancelled():  # nobody does, but a loop that is shut down
            self.abandon()
            return
        try:
            self._refuse_foreign(done.result(), triple)
        except _ENDED as refusal:
            ended = RunEndedError(self._stream.url)
            ended.__cause__ = refusal
            self._fail(ended)
        except Exception as error:  # noqa: BLE001 as above
            self._fail(error)
        else:
            self._seq += 1
            self._durable_count = mark
        self._tell()
        if len(self._buffer) and self.failure is None and not self._ending:
            self._schedule()

    def _refuse_foreign(self, result: IdempotentAppendResult, triple: ProducerTriple) -> None:
        if triple.producer_id == GENERATOR and result.duplicate and not result.in_doubt:
            raise AlreadyWrittenError(self._stream.url)

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self._cancel_departure()
        if self._on_failure is not None:
            self._loop.call_soon(self._on_failure)

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def _cancel_departure(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
            self._departure, self._soon = None, False

    async def _change(self) -> None:
        waiter = self._loop.create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            del self._waiters[waiter]

    def _tell(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

"""Messages waiting to be sent, gathered into batches.

Owns: what travels together. Must not know: requests, producers' epochs and seqs.
Invariant: batches leave in the order in which their messages came, and a batch that has left never changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durable_streams.client.framing import joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable_streams.client.values import IdempotentAppendResult


@dataclass(eq=False, slots=True)
class OutgoingBatch:
    """One request's worth of messages.

    Attributes:
        messages: the bodies as the caller gave them.
        closes: whether the stream is closed with it.
        settled: its acknowledgement, or why there will be none.
        seq: its ``Producer-Seq`` once it has left.
        in_doubt: an attempt's answer was lost, so the server may have it.
    """

    messages: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    closes: bool = False
    seq: int = -1
    in_doubt: bool = False
    settled: asyncio.Future[IdempotentAppendResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def __post_init__(self) -> None:
        # Whoever does not await a receipt learns of the failure by on_error and flush; asyncio need not complain too.
        self.settled.add_done_callback(lambda settled: settled.cancelled() or settled.exception())

    def body(self, content_type: str) -> bytes:
        """Return the request's body: the same bytes at every attempt, as the messages no longer change."""
        return joined(self.messages, content_type) if self.messages else b""


class Receipt:
    """What ``append`` gives: ask it whether the message is durable, or ignore it."""

    def __init__(self, batch: OutgoingBatch) -> None:
        self._settled = batch.settled

    @property
    def done(self) -> bool:
        """Whether it is decided."""
        return self._settled.done()

    async def durable(self) -> IdempotentAppendResult:
        """Return when the message is durable. Cancelling the wait cancels nothing else.

        Raises:
            DurableStreamError, FetchError: why it was not acknowledged.
        """
        return await asyncio.shield(self._settled)


class Outbox:
    """Collects messages into an open batch and keeps sealed ones in order.

    Args:
        max_batch_bytes: bound of a request's body; a single larger message travels alone.
    """

    def __init__(self, max_batch_bytes: int) -> None:
        self._max_batch_bytes = max_batch_bytes
        self._sealed: deque[OutgoingBatch] = deque()
        self._open: OutgoingBatch | None = None
        self._ripe = False

    @property
    def message_count(self) -> int:
        """Messages that have not left yet."""
        return sum(len(batch.messages) for batch in self.waiting())

    @property
    def open_since_first(self) -> bool:
        """Whether the open batch holds exactly one message, that is, has just been opened."""
        return self._open is not None and len(self._open.messages) == 1

    def waiting(self) -> list[OutgoingBatch]:
        """Return all batches that have not left, in order."""
        return [*self._sealed, *([] if self._open is None else [self._open])]

    def add(self, message: bytes) -> OutgoingBatch:
        """Put a message into the open batch, or into a new one if it does not fit, and return that batch."""
        size = len(message) + 1  # the comma or a bracket, in JSON mode
        if self._open is not None and self._open.size_bytes + size >= self._max_batch_bytes:
            self.seal()
        if self._open is None:
            self._open = OutgoingBatch()
        self._open.messages.append(message)
        self._open.size_bytes += size
        return self._open

    def add_closing(self, message: bytes | None) -> OutgoingBatch:
        """Put the batch that closes the stream behind everything else, and return it."""
        self.seal()
        batch = OutgoingBatch(closes=True)
        if message is not None:
            batch.messages.append(message)
            batch.size_bytes = len(message) + 1
        self._sealed.append(batch)
        return batch

    def seal(self) -> None:
        """Let the open batch leave as it is."""
        if self._open is not None:
            self._sealed.append(self._open)
            self._open, self._ripe = None, False

    def ripen(self) -> None:
        """Let the open batch leave when its turn comes, and grow until then."""
        self._ripe = self._open is not None

    def take(self) -> OutgoingBatch | None:
        """Remove and return the next batch; the open one only if it is ripe or full."""
        if not self._sealed and self._open is not None and (self._ripe or self._is_full(self._open)):
            self.seal()
        return self._sealed.popleft() if self._sealed else None

    def put_back(self, batches: Iterable[OutgoingBatch]) -> None:
        """Put batches that have left to the front again, in their order."""
        self._sealed.extendleft(reversed(list(batches)))

    def clear(self) -> list[OutgoingBatch]:
        """Remove and return all batches."""
        waiting = self.waiting()
        self._sealed.clear()
        self._open, self._ripe = None, False
        return waiting

    def _is_full(self, batch: OutgoingBatch) -> bool:
        return batch.size_bytes >= self._max_batch_bytes

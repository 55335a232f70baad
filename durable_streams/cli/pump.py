"""From messages to acknowledgements: gives a producer its input at the pace of its server and counts what comes back.

Owns: how much may be under way, and the tally. Must not know: where messages come from, how they travel.
Invariant: receipts are taken in order, so the tally says how far the input is stored without a hole.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durable_streams.cli.remote import failure_of
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from durable_streams.cli.endings import Failure
    from durable_streams.cli.splitting import Piece
    from durable_streams.client import IdempotentProducer, Receipt


@dataclass(slots=True)
class Tally:
    """What is stored.

    Attributes:
        message_count: messages acknowledged.
        duplicate_count: those among them that the server had from an earlier attempt.
        byte_count: bytes of input acknowledged.
        next_offset: the stream's tail behind the last of them; empty if none has come or the server did not say.
    """

    message_count: int = 0
    duplicate_count: int = 0
    byte_count: int = 0
    next_offset: str = ""


@dataclass(slots=True)
class Pump:
    """Gives one producer its input.

    Attributes:
        producer: takes the messages.
        pace_bytes: no more than this is under way before the next messages are taken.
        tally: what has come back so far.
    """

    producer: IdempotentProducer
    pace_bytes: int
    tally: Tally = field(default_factory=Tally)
    _receipts: deque[Receipt] = field(default_factory=deque)
    _taken_bytes: int = 0

    async def take(self, name: str, piece: Piece) -> None:
        """Hand over the messages of a piece of the input called ``name``; returns when more may be taken.

        Raises:
            Failure: a message that cannot be appended, everything before it being stored; or the producer has stopped.
        """
        append, keep = self.producer.append, self._receipts.append
        for place, message in enumerate(piece.messages):
            if not message:
                continue
            try:
                keep(append(message))
            except (DurableStreamError, FetchError) as error:
                await self._refuse(error, f"{name} line {piece.first_line + place}")
        self._taken_bytes += piece.size_bytes
        await self._settle(self.pace_bytes)

    async def finish(self) -> None:
        """Return when everything taken is stored. Raises as ``take``."""
        with suppress(DurableStreamError, FetchError):  # the receipts carry it
            await self.producer.flush()
        await self._settle(0)

    async def _settle(self, held_bytes: int) -> None:
        """Take the receipts that are there, and wait for more while more than ``held_bytes`` are under way."""
        receipts, tally = self._receipts, self.tally
        while receipts and (receipts[0].done or self.producer.buffered_bytes > held_bytes):
            try:
                result = await receipts[0].durable()
            except (DurableStreamError, FetchError) as error:
                raise self._stopped(error) from error
            del receipts[0]
            tally.message_count += 1
            tally.duplicate_count += result.duplicate
            tally.next_offset = result.offset or tally.next_offset
        tally.byte_count = max(0, self._taken_bytes - self.producer.buffered_bytes)

    async def _refuse(self, error: DurableStreamError | FetchError, where: str) -> None:
        """End because of one message, or because of what had stopped the producer before it."""
        await self.finish()
        if isinstance(error, DurableStreamError) and error.status is None:
            error.message = f"{where}: {error.message}"
        raise self._stopped(error) from error

    def _stopped(self, error: DurableStreamError | FetchError) -> Failure:
        return failure_of(error, what_is_kept=f"; messages stored before: {self.tally.message_count}")

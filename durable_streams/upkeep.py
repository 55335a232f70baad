"""Upkeep: what the server does on its own, in bounded slices.

Owns: ending expired streams, taking subscriptions on when their time has come, removing the rows of dropped ones,
merging small chunks, writing down read touches, taking back times that were noted while the clock was ahead.
Must not know: when a stream expires; it submits a look, and the batch decides.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from durable_streams.engine.base import EngineFailedError, StorageFullError
from durable_streams.protocol.errors import DamagedError
from durable_streams.protocol.subscription_config import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.commit.heads import HeadCache
    from durable_streams.commit.writer import Writer
    from durable_streams.engine.base import Due, Engine
    from durable_streams.runtime import Runtime
    from durable_streams.runtime.alarm import Alarm
    from durable_streams.streams.packer import Packer
    from durable_streams.streams.service import Streams
    from durable_streams.subscriptions.service import Subscriptions

STUCK_MS: Final = 100
_LAST_MS: Final = (1 << 63) - 1
"""Later than every deadline."""
R = TypeVar("R")
_log = structlog.get_logger(__name__)


class Rebasing:
    """Looks through all deadlines, once after the start and once after each jump of the clock. The loop's thread only.

    What was noted while the clock was ahead lies in the future when it is right again: a lease would be held, and a
    stream kept, until that time has come a second time.
    """

    def __init__(
        self, engine: Engine, cache: HeadCache, streams: Streams, *, subscriptions: Subscriptions, runtime: Runtime
    ) -> None:
        self._engine, self._cache, self._streams, self._subscriptions = engine, cache, streams, subscriptions
        self._clock, self._bounds = runtime.clock, runtime.bounds
        self._seen_jumps = -1
        self._after: tuple[int, int] | None = None

    async def go_on(self) -> bool:
        """Look at the next slice; True if there may be more."""
        now_ms = self._clock.now_ms()
        if self._clock.jumps != self._seen_jumps:
            self._seen_jumps, self._after = self._clock.jumps, (now_ms, 0)
            self._cache.rebase(now_ms)
        if self._after is None:
            return False
        rows = self._engine.due(_LAST_MS, self._bounds.sweep_count, self._after)
        self._after = (rows[-1].due_ms, rows[-1].sid) if len(rows) == self._bounds.sweep_count else None
        looks = [look for row in rows if (look := self._look(row, now_ms)) is not None]
        if looks:
            await asyncio.wait(looks)
        return self._after is not None

    def _rebased(self, path: str, look: asyncio.Future[Any], outcome: object) -> None:
        self._cache.forget(path)  # it keeps the latest touch that it has seen, which was none
        _resolve(look, outcome)

    def _look(self, row: Due, now_ms: int) -> asyncio.Future[Any] | None:
        look: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if row.path.startswith(PREFIX):
            self._subscriptions.submit_rebase(row.path, partial(_resolve, look))
            return look
        with suppress(DamagedError):
            (head,) = self._engine.load([row.path])
            if head is not None and head.touched_ms > now_ms:
                self._streams.submit_rebase(row.path, partial(self._rebased, row.path, look))
                return look
        return None


class Deadlines:
    """What is due now: expired streams, and subscriptions whose time has come. The loop's thread only."""

    def __init__(
        self,
        engine: Engine,
        streams: Streams,
        subscriptions: Subscriptions,
        *,
        rebasing: Rebasing,
        alarm: Alarm,
        runtime: Runtime,
    ) -> None:
        self._engine, self._streams, self._subscriptions, self._rebasing = engine, streams, subscriptions, rebasing
        self._alarm, self._clock, self._bounds = alarm, runtime.clock, runtime.bounds

    async def meet(self) -> int:
        """Submit a look at one slice of what is due and wait for the answers; return how many there were."""
        due = self._engine.due(self._clock.now_ms(), self._bounds.sweep_count)
        looks = [asyncio.get_running_loop().create_future() for _ in due]
        for row, look in zip(due, looks, strict=True):
            submit = self._subscriptions.submit_timer if row.path.startswith(PREFIX) else self._streams.submit_expiry
            submit(row.path, partial(_resolve, look))
        if looks:
            await asyncio.wait(looks)
        return len(due)

    async def rebase(self) -> bool:
        """Take back a slice of what was noted while the clock was ahead; True if there may be more."""
        return await self._rebasing.go_on()

    async def rung(self) -> None:
        """Wait until something is due before the next round."""
        await self._alarm.rung()

    def set_alarm(self) -> None:
        """Ring for the next row that is due before the next round."""
        now_ms = self._clock.now_ms()
        rows = self._engine.due(now_ms + self._bounds.sweep_interval_ms, 1)
        if rows:
            # One that stayed due is not looked at again at once: whatever kept it may take a while.
            self._alarm.set(rows[0].due_ms if rows[0].due_ms > now_ms else now_ms + STUCK_MS)


def _resolve(look: asyncio.Future[Any], result: object) -> None:
    if not look.done():  # shutting down: nobody looks any more
        look.set_result(result)


class Upkeep:
    """Runs until cancelled; ``flush`` once more at a clean shutdown."""

    def __init__(
        self,
        engine: Engine,
        cache: HeadCache,
        writer: Writer,
        *,
        deadlines: Deadlines,
        packer: Packer,
        runtime: Runtime,
    ) -> None:
        self._engine, self._cache, self._writer = engine, cache, writer
        self._deadlines, self._packer = deadlines, packer
        self._clock, self._bounds = runtime.clock, runtime.bounds

    async def run(self) -> None:
        """Do one round after another, with a pause between them; a full slice is followed by the next at once."""
        while True:
            try:
                busy = await self.round()
            except StorageFullError:
                busy = False  # it can wait; those who write are told
            except EngineFailedError as failure:
                _log.critical("upkeep stops: the store failed", error=str(failure))
                return
            await self._pause(0 if busy else self._bounds.sweep_interval_ms / 1000)

    async def _pause(self, pause_s: float) -> None:
        """Sleep, and end what becomes due meanwhile."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + pause_s
        while True:
            try:
                async with asyncio.timeout_at(until_s):
                    await self._deadlines.rung()
            except TimeoutError:
                return
            try:
                await self._deadlines.meet()
                self._deadlines.set_alarm()
            except EngineFailedError:
                return  # the next round says so

    async def round(self) -> bool:
        """Write touches, end what is over, collect and pack a slice each; True if there may be more to do at once.

        Raises:
            EngineFailedError: the store has failed, or its directory is no longer there: writes would be lost.
        """
        with suppress(StorageFullError):  # that is /readyz's to tell; a directory that has gone is fatal
            await self._in_writer(self._engine.probe)
        await self._touch()
        rebasing = await self._deadlines.rebase()
        ended = await self._deadlines.meet()
        limit = self._bounds.sweep_count
        removed = await self._in_writer(lambda: self._engine.collect(limit))
        packed = await self._pack(limit)
        self._deadlines.set_alarm()
        return rebasing or packed or ended >= limit or removed >= limit

    async def _touch(self) -> None:
        """Write touches down; what finds no room waits, and does not keep room from being made."""
        touches = self._cache.take_touches()
        if touches:
            try:
                await self._in_writer(lambda: self._engine.touch(touches))
            except StorageFullError:
                self._cache.put_back(touches)

    async def _pack(self, limit: int) -> bool:
        """Pack one slice of one stream; True if there was one."""
        found = self._packer.take(self._clock.now_ms())
        if found is None:
            return False
        sid, start, end = found
        try:
            position = await self._in_writer(lambda: self._engine.pack(sid, start, end, limit))
        except DamagedError:  # the engine has said so; the rows stay as they are
            return True
        if position < end:
            self._packer.put_back(sid, position, end)
        return True

    async def flush(self) -> None:
        """Write down every touch known only here."""
        touches = self._cache.take_all_touches()
        if touches:
            await self._in_writer(lambda: self._engine.touch(touches))

    async def _in_writer(self, job: Callable[[], R]) -> R:
        done: asyncio.Future[R | BaseException] = asyncio.get_running_loop().create_future()
        self._writer.submit(job, lambda outcome: None if done.cancelled() else done.set_result(outcome))
        outcome = await done
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

"""Ends what dead processes left behind. Every process has one; two that find the same come to the same.

A run is looked at when its lease should have been renewed, as far as was known: one read per run and lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from durable_streams.agents.sessions.beacon import Beacon
    from durable_streams.agents.sessions.rows import Generation
    from durable_streams.agents.sessions.session import Session
    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.runtime.clock import Clock

LOOKS_AT_ONCE: Final = 16

log = structlog.get_logger(__name__)


class Owning(Protocol):
    """What a reaper needs of its process."""

    settings: Settings

    def owns(self, gid: str) -> bool:
        """Whether this process runs it."""

    def session(self, session_id: str) -> Session:
        """Return a session's object."""

    async def end_lost(self, session: Session, generation: Generation) -> None:
        """End a lost run."""


class Reaper:
    """Watches every run that the beacon names."""

    def __init__(self, process: Owning, beacon: Beacon, clock: Clock) -> None:
        self._process, self._beacon, self._clock = process, beacon, clock
        self._watched: set[str] = set()
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:

            def found(session_id: str, gid: str) -> None:
                if gid not in self._watched:
                    self._watched.add(gid)
                    group.create_task(self._watch(session_id, gid))

            await self._beacon.watch(found)

    async def _watch(self, session_id: str, gid: str) -> None:
        try:
            wait_ms = 0
            while True:
                await asyncio.sleep(wait_ms / 1000)
                wait_ms = self._process.settings.lease_ms
                if self._process.owns(gid):
                    continue
                try:
                    async with self._looking:
                        left_ms = await self._look(session_id, gid)
                except (DurableStreamError, FetchError):
                    continue
                except Exception:
                    log.exception("look_failed", session=session_id, generation=gid)
                    continue
                if left_ms is None:
                    return
                wait_ms = left_ms
        finally:
            self._watched.discard(gid)

    async def _look(self, session_id: str, gid: str) -> int | None:
        """Return how many milliseconds the run's lease has left, or ``None`` if it has ended, perhaps by this look."""
        session = self._process.session(session_id)
        state = await session.refresh()
        generation = state.generations.get(gid)
        if generation is None or not generation.active:
            return None
        left_ms = generation.lease_until + self._process.settings.skew_ms - self._clock.now_ms()
        if left_ms >= 0:
            return left_ms + 50
        await self._process.end_lost(session, generation)
        await session.refresh()
        return 0

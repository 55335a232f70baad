"""Ends what dead processes left behind, or goes on with it.

Every process has one; of two that find the same run one gets it. A run is looked at when the process that runs it is
found lost or leaves it to others, and never before.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.sessions.beacon import Beacon, Sign
    from durable_streams.agents.sessions.leases import Leases
    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.agents.sessions.session import Session

LOOKS_AT_ONCE: Final = 16
LOOK_AGAIN_S: Final = 1.0

log = structlog.get_logger(__name__)


class Burying(Protocol):
    """What a reaper needs of its process."""

    def session(self, session_id: str) -> Session:
        """Return a session's object."""

    def is_lost(self, attempt: Attempt) -> bool:
        """Return whether nobody runs it."""

    async def end_lost(self, session: Session, attempt: Attempt) -> None:
        """End a run that nobody runs, or go on with it."""


class Reaper:
    """Hears what the beacon tells, and ends the runs of processes that are lost.

    Args:
        process: whose reaper this is.
        beacon: tells.
        leases: judges.
        now_s: a clock that never goes back.
    """

    def __init__(
        self, process: Burying, beacon: Beacon, leases: Leases, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._process, self._beacon, self._leases, self._now_s = process, beacon, leases, now_s
        self._runs: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._looks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Listen for ever."""
        try:
            await self._beacon.watch(self)
        finally:
            looks = list(self._looks.values())
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    def named(self, owner: str, session_id: str, gid: str) -> None:
        """Remember whose run it is, and end it if that process is lost; see ``Listener``."""
        if owner == self._leases.own:
            return
        if self._leases.is_lost(owner):
            self._end(session_id, gid)
        else:
            self._runs[owner][gid] = session_id

    def beat(self, sign: Sign) -> None:
        """Judge by it; see ``Listener``."""
        if sign.owner == self._leases.own:
            self._judge(sign)
        elif not sign.elsewhere:
            self._leases.heard(sign.owner, sign.lease_ms, sign.hour)
            for gid in sign.ended if sign.owner in self._runs else ():
                self._runs[sign.owner].pop(gid, None)

    def _judge(self, own: Sign) -> None:
        if not own.elsewhere:
            self._leases.own_hour(own.hour)
        for lost in self._leases.own_beat(own.number, self._now_s(), own.hour):
            log.info("process_lost", owner=lost)
            self._bury(lost)

    def handed_on(self, owner: str, session_id: str, gid: str) -> None:
        """Take a run on; see ``Listener``."""
        if owner != self._leases.own:
            self._runs[owner].pop(gid, None)
            self._end(session_id, gid, left_by=owner)

    def left(self, owner: str) -> None:
        """End what it has left; see ``Listener``."""
        if owner != self._leases.own:
            self._leases.left(owner)
            self._bury(owner)

    def _bury(self, owner: str) -> None:
        for gid, session_id in self._runs.pop(owner, {}).items():
            self._end(session_id, gid)

    def _end(self, session_id: str, gid: str, left_by: str | None = None) -> None:
        if gid not in self._looks:
            looking = self._look_until_done(session_id, gid, left_by)
            self._looks[gid] = look = asyncio.create_task(looking)
            look.add_done_callback(lambda _: self._looks.pop(gid, None))

    async def _look_until_done(self, session_id: str, gid: str, left_by: str | None) -> None:
        while True:
            try:
                async with self._looking:
                    await self._look(session_id, gid, left_by)
            except (DurableStreamError, FetchError):
                pass
            except Exception:  # one bad session must not keep the others' runs from being ended
                log.exception("look_failed", session=session_id, attempt=gid)
            else:
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _look(self, session_id: str, gid: str, left_by: str | None) -> None:
        session = self._process.session(session_id)
        attempt = (await session.refresh()).attempts.get(gid)
        if attempt is None or not attempt.active:
            return
        if attempt.owner == left_by or self._process.is_lost(attempt):
            await self._process.end_lost(session, attempt)
            await session.refresh()

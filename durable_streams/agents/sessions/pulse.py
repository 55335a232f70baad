"""A process's signs of life, from a thread of its own: no tool that holds the loop can delay them.

The thread has its own loop and its own connection. It also looks whether the process's loop still turns, says which
tool holds it, and gives no more signs once it has been held for ``HELD_MAX_S``: such a process does nothing any more.
Must not know: runs. Invariant: a beat is appended only after the one before was answered or given up, and no sooner
than ``renew_ms`` after an answer. It is given up soon: one lost connection must not silence a process for its lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.agents.runs.run import tool_in_thread
from durable_streams.agents.sessions.beacon import Beacon
from durable_streams.agents.sessions.places import Places
from durable_streams.client import DurableStreamError, FetchError, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.runtime.clock import Clock

AGAIN_S: Final = 1.0
"""Longest wait after a beat that was not taken."""
LOOK_S: Final = 0.25
"""How often the loop is asked to turn."""
HELD_LOOKS: Final = 3
"""A loop that has not turned for so many looks is held: about a second."""
HELD_MAX_S: Final = 600.0
"""A loop held for so long is taken for dead."""
LEAVE_S: Final = 1.0
"""How long the last word is tried."""

log = structlog.get_logger(__name__)


class Pulse:
    """The thread.

    Args:
        settings: where to, how often, and what to promise.
        owner: the process's name.
        clock: wall clock.
        elsewhere: tells, to any thread, in which other hours' streams the process watches others.
    """

    def __init__(
        self, settings: Settings, owner: str, clock: Clock, *, elsewhere: Callable[[], Collection[int]] = tuple
    ) -> None:
        self._settings, self._owner, self._clock = settings, owner, clock
        self._elsewhere = elsewhere
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looped_in = 0
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._own: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._ended: deque[str] = deque()
        self._asked = self._turned = self._looks = 0
        self._held_since_s: float | None = None

    def start(self) -> None:
        """Begin; needs the process's running loop.

        Raises:
            RuntimeError: it has begun before. The first thread would beat for ever.
        """
        if self._thread is not None:
            raise RuntimeError("an adapter is entered once")
        self._loop, self._looped_in = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(),), name="pulse", daemon=True)
        self._thread.start()

    def run_ended(self, gid: str) -> None:
        """Have the others told, with the next beat, that a run needs nobody's attention any more."""
        self._ended.append(gid)

    async def stop(self) -> None:
        """Say that the process is gone, and return when the thread has ended."""
        if self._thread is None:
            return
        self._stopping = True
        if self._own is not None:
            loop, stop = self._own
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(self._thread.join)

    async def _live(self) -> None:
        stop = asyncio.Event()
        self._own = asyncio.get_running_loop(), stop
        # Once each: what comes late says that the process lived then, not that it lives.
        places = Places(self._settings.streams_url, RetryPolicy(give_up_after_s=0))
        beacon = Beacon(places, self._clock)
        beating = asyncio.create_task(self._beat(beacon))
        try:
            while not self._stopping:  # set before the event is, for a thread that has just begun
                self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await stop.wait()
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            with contextlib.suppress(DurableStreamError, FetchError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await beacon.leave(self._owner)
            await places.aclose()

    async def _beat(self, beacon: Beacon) -> None:
        number = 0
        renew_s, lease_ms = self._settings.renew_ms / 1000, self._settings.lease_ms
        while True:
            number += 1
            ended = list(self._ended)
            taken = False
            if not self._is_dead():
                with contextlib.suppress(DurableStreamError, FetchError, TimeoutError):
                    async with asyncio.timeout(max(renew_s, AGAIN_S)):
                        await beacon.beat(
                            self._owner, number, lease_ms=lease_ms, ended=ended, elsewhere=self._elsewhere()
                        )
                    taken = True
            if taken:
                for _ in ended:
                    self._ended.popleft()
            await asyncio.sleep(renew_s if taken else min(renew_s, AGAIN_S))

    def _look(self) -> None:
        """See whether the loop has turned since it was asked to, and ask again."""
        if self._turned == self._asked:
            self._held_since_s, self._looks = None, 0
            self._asked += 1
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._turn, self._asked)
            return
        self._looks += 1
        if self._looks == HELD_LOOKS:
            self._held_since_s = time.monotonic()
            log.warning("loop_held", tool=tool_in_thread(self._looped_in))

    def _turn(self, asked: int) -> None:
        self._turned = asked

    def _is_dead(self) -> bool:
        return self._held_since_s is not None and time.monotonic() - self._held_since_s > HELD_MAX_S

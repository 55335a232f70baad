"""An event loop whose time stands still until the test moves it: timers fire when they are told to, and no sooner.

For what the protocol says about time on a connection: heartbeats, lifetimes, timeouts. Sockets and threads are real,
and know no time but their own: a commit under way is waited for before time passes. A test gets the loop by
``@pytest.mark.still_time``, where its directory's ``conftest.py`` knows the mark.
"""

from __future__ import annotations

import asyncio

TURNS_COUNT = 20
"""Turns in which whatever is due, and what it sends over the loopback, comes about."""


class StillLoop(asyncio.SelectorEventLoop):
    """Its time is moved by ``time_passes`` alone. ``asyncio.sleep`` of more than nothing waits for that."""

    _now_s = 1_000.0

    def time(self) -> float:
        """Return the seconds last set."""
        return self._now_s

    def advance_s(self, by_s: float) -> None:
        """Move forward; what is due is called in the next turn."""
        self._now_s += by_s


async def time_passes(by_s: float) -> None:
    """Move the loop's time second by second, and let everything due by then happen."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StillLoop), "mark the test with still_time"
    until_s = loop.time() + by_s
    while loop.time() < until_s:
        loop.advance_s(min(1, until_s - loop.time()))
        await turns()


async def turns() -> None:
    """Give the loop's other work some turns."""
    for _ in range(TURNS_COUNT):
        await asyncio.sleep(0)

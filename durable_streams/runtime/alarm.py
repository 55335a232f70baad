"""One timer for many deadlines: it rings at the earliest that it was told.

Owns: the timer. Must not know: what is due. Not a source of truth: whoever waits also looks by itself at what is due.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable_streams.runtime.clock import Clock


class Alarm:
    """The loop's thread only.

    Args:
        clock: tells the time that deadlines are in.
        horizon_ms: how far ahead deadlines are taken; whoever waits looks by itself at least so often.
    """

    def __init__(self, clock: Clock, horizon_ms: int) -> None:
        self._clock, self._horizon_ms = clock, horizon_ms
        self._rung = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0

    def set(self, due_ms: int) -> None:
        """Ring at this time, Unix milliseconds, unless the alarm rings before anyway or it is beyond the horizon."""
        now_ms = self._clock.now_ms()
        if self._timer is not None and self._timer_ms <= due_ms:
            return
        if due_ms > now_ms + self._horizon_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        # A millisecond late rather than early: what rings early finds nothing due.
        self._timer = asyncio.get_running_loop().call_later(max(1, due_ms - now_ms + 1) / 1000, self._ring)

    async def rung(self) -> None:
        """Wait until it has rung since the last call."""
        await self._rung.wait()
        self._rung.clear()

    def _ring(self) -> None:
        self._timer = None
        self._rung.set()

"""A watchdog of the event loop: a turn that takes too long is logged, with what it was doing.

Owns: noticing, from a thread of its own, that the loop has not come round. Must not know: what the loop is for.
Cost: a timer of the loop and a look of the thread, each ``LOOK_S``; nothing for each turn.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

LOOK_S: Final = 0.025
STALL_S: Final = 0.1
"""A turn that is longer is logged."""
FRAMES_MAX: Final = 8
"""Calls that the log shows of it, innermost first."""
_log = structlog.get_logger(__name__)


class Watchdog:
    """Watches the loop from ``start`` to ``stop``, both called in the loop's thread.

    Args:
        loop: watched.
        clock_s: seconds, the same for both threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._loop, self._clock_s = loop, clock_s
        self._thread_id = threading.get_ident()
        self._since_s = clock_s()
        self._doing = ""
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="durable-streams-watchdog", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self.come_round()
        self._timer = self._loop.call_later(LOOK_S, self._tick)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.join()

    def come_round(self) -> None:
        """The loop has come round: if that took too long, say how long, and what it was doing meanwhile."""
        now_s = self._clock_s()
        if self._doing:
            _log.warning("the loop stood still", ms=round((now_s - self._since_s) * 1000), doing=self._doing)
            self._doing = ""
        self._since_s = now_s

    def look(self) -> None:
        """Note what the loop's thread is doing, once it is late; called in another thread."""
        if not self._doing and self._clock_s() - self._since_s > STALL_S + LOOK_S:
            self._doing = _calls(sys._current_frames().get(self._thread_id)) or "nothing in Python"  # noqa: SLF001 the one way to see another thread

    def _tick(self) -> None:
        self.come_round()
        self._timer = self._loop.call_later(LOOK_S, self._tick)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self.look()


def _calls(frame: FrameType | None) -> str:
    """Return the innermost calls of a stack, each as file:line function."""
    calls: list[str] = []
    while frame is not None and len(calls) < FRAMES_MAX:
        code = frame.f_code
        calls.append(f"{'/'.join(code.co_filename.split('/')[-2:])}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(calls)

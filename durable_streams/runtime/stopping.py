"""SIGTERM and SIGINT, from before anything is opened until the process has ended.

Owns: what a signal to stop does at each moment. Must not know: what is being started or stopped.
Invariant: once ``install`` has returned no such signal is lost, not even by process 1 of a container, for which the
    kernel drops every signal that has no handler.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import FrameType

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StoppedEarlyError(BaseException):
    """A signal to stop has come while something was being opened. As ``KeyboardInterrupt``, no error to be handled."""


class StopSignals:
    """The signals to stop, of which the first one counts.

    Thread: the main thread's alone, as Python has it for signals.
    """

    def __init__(self) -> None:
        self._told = False
        self._interrupting = False
        self._wake: Callable[[], object] | None = None

    def install(self) -> None:
        """Take the signals from now on."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._take)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal end what is done inside, wherever it is: for work that blocks and that a crash may cut as well.

        Raises:
            StoppedEarlyError: a signal comes, or has come before. Once: what cleans up is left alone.
        """
        self._interrupting = True
        try:
            if self._told:
                raise StoppedEarlyError
            yield
        finally:
            self._interrupting = False

    def wake(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        """Let a signal, or one that has come before, set the event of a running loop."""
        self._wake = lambda: loop.call_soon_threadsafe(event.set)
        if self._told:
            event.set()

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._told:
            return
        self._told = True
        if self._wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending already
                self._wake()
        if self._interrupting:
            raise StoppedEarlyError

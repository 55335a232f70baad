"""The writer thread: the one place from which the engine is written to.

Owns: one thread and its queue. Must not know: what a job does.
Invariant: jobs run one at a time in the order given, and each one's outcome reaches the loop exactly once.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")


class Writer:
    """Runs blocking engine calls off the event loop.

    Thread: ``submit`` from the loop's thread; ``job`` runs in the writer's, ``done`` in the loop's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="durable-streams-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run ``job`` after those before it, then call ``done`` with its result or the exception it raised."""

        def run() -> None:
            outcome: T | BaseException
            try:
                outcome = job()
            except BaseException as failure:  # noqa: BLE001 handed over to the loop, which decides
                outcome = failure
            self._loop.call_soon_threadsafe(done, outcome)

        self._jobs.put(run)

    def stop(self) -> None:
        """Let queued jobs finish, then end the thread; blocks until it has ended."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """A call of its own, so that nothing holds the bytes of the last job while the next is waited for."""
        run = self._jobs.get()
        if run is None:
            return False
        run()
        return True

"""The writer thread: the one place from which the engine is written to.

Owns: one thread and its queue, and the wait of the loop for the part of a job that needs the interpreter.
Must not know: what a job does.
Invariant: jobs run one at a time in the order given, and each one's outcome reaches the loop exactly once.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")
HOLD_S: Final = 0.005
"""Longest wait of the loop for a job: one that waits for the disk before it lets go."""


class LetGo:
    """Called by a job once it needs the interpreter no more; from then on the loop runs beside it. Idempotent."""

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def __call__(self) -> None:
        """Let the loop go on."""
        if self._gate.locked():
            self._gate.release()

    def wait(self) -> None:
        """Wait for the call, for ``HOLD_S`` at most."""
        self._gate.acquire(timeout=HOLD_S)


class Writer:
    """Runs blocking engine calls off the event loop.

    Thread: ``submit`` from the loop's thread; ``job`` runs in the writer's, ``done`` in the loop's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unfinished_count = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="durable-streams-writer", daemon=True)
        self._thread.start()

    def submit(
        self, job: Callable[[], T], done: Callable[[T | BaseException], None], *, let_go: LetGo | None = None
    ) -> None:
        """Run ``job`` after those before it, then call ``done`` with its result or the exception it raised.

        With ``let_go``, and if the job can start at once, stand still until the job has called it. Every call of LMDB
        drops the interpreter lock and takes it back: beside a busy loop each waits for a switch interval, so a commit
        of 128 rows for 128 of them, beside one that stands still for none. The loop loses nothing by it: only one of
        both can run Python at a time.
        """

        def finish(outcome: T | BaseException) -> None:
            self._unfinished_count -= 1
            done(outcome)

        def run() -> None:
            outcome: T | BaseException
            try:
                outcome = job()
            except BaseException as failure:  # noqa: BLE001 handed over to the loop, which decides
                outcome = failure
            if let_go is not None:
                let_go()
            self._loop.call_soon_threadsafe(finish, outcome)

        self._unfinished_count += 1
        self._jobs.put(run)
        if let_go is not None and self._unfinished_count == 1:
            let_go.wait()

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

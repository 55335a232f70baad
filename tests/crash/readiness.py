"""How long a start takes, on a machine that has other things to do as well."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.serving import ServerProcess

READY_MAX_S = 1.0
"""The bound on every start, however the process before it ended and whatever it left behind."""


class Start(NamedTuple):
    """One start in seconds: on the clock, on processors, and wanting a processor that others had."""

    elapsed_s: float
    cpu_s: float
    starved_s: float

    @property
    def own_s(self) -> float:
        """How long it would have taken on a machine with nothing else to do: work, locks, disks, sleep.

        Threads may have starved side by side, so no less than the time on processors.
        """
        return max(self.elapsed_s - self.starved_s, self.cpu_s)


def timed_start(server: ServerProcess) -> Start:
    """Start the server; return what it took until it was ready, the caller's own wait for processors included."""
    before_s = _starved_s("self")
    began_s = time.perf_counter()
    server.start()
    elapsed_s = time.perf_counter() - began_s
    return Start(elapsed_s, server.cpu_s(), _starved_s("self") - before_s + _starved_s(str(server.pid)))


def _starved_s(process: str) -> float:
    """Return how long the threads of a process have waited for a processor; 0 where the system does not say."""
    waits = [task.read_text(encoding="ascii").split()[1] for task in Path(f"/proc/{process}/task").glob("*/schedstat")]
    return sum(map(int, waits)) / 1e9

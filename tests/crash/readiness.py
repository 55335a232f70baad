"""How long a start takes, on a machine that has other things to do as well."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serving import ServerProcess

READY_MAX_S = 1.0
"""The bound on every start, however the process before it ended and whatever it left behind."""


def timed_start(server: ServerProcess) -> float:
    """Start the server; return the seconds until it was ready.

    Not counted is the time in which the server's main thread, or the caller's, could have run and had no processor:
    that tells of the machine. Everything else counts: work, locks, disks, sleep.
    """
    starved_s = _starved_s("thread-self")
    began_s = time.perf_counter()
    server.start()
    elapsed_s = time.perf_counter() - began_s
    return elapsed_s - (_starved_s("thread-self") - starved_s) - _starved_s(str(server.pid))


def _starved_s(process: str) -> float:
    """Return how long a process's main thread has waited for a processor; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0

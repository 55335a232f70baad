"""Ports for the servers that tests start: no two test processes of one machine ever choose the same.

Two runs side by side (workers of one run, or runs in two checkouts) would now and then pick the same free port before
either listens on it; and the port of a server that is down for a moment, to be started again, is free as well. So each
test process has a block of ports to itself, by a lock that ends with the process.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "127.0.0.1"
FIRST: Final = 15_000
"""Below the range the kernel takes outgoing ports from: one of those could be taken between a kill and the restart by
any outgoing connection, even by a client that retries this very port and connects to itself."""
BLOCK_COUNT: Final = 60
BLOCK_PORTS: Final = 250


def free_port() -> int:
    """Return a port that nobody listens on, of this process's own; the same again only after all others."""
    return next(port for port in _ports() if _is_free(port))


@functools.cache
def _ports() -> Iterator[int]:
    first = FIRST + _own_block() * BLOCK_PORTS
    return itertools.cycle(range(first, first + BLOCK_PORTS))


def _own_block() -> int:
    directory = Path(tempfile.gettempdir()) / f"durable-streams-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    for block in random.SystemRandom().sample(range(BLOCK_COUNT), BLOCK_COUNT):
        lock = os.open(directory / str(block), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return block  # the lock is left open until the process ends
    message = f"{BLOCK_COUNT} test processes are running already"
    raise AssertionError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

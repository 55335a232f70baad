"""A crash on purpose: how a test tells the real server process to die inside a commit.

Owns: the variable ``DS_FAULT`` and what it means.
Must not know: what a commit does.
Invariant: without the variable there is no hook at all, and a value that does not name this very data directory is
    refused: a setting left behind in a shell can stop a server from starting, but never kill one that serves.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.engine.base import RefusedToStartError
from durable_streams.engine.lmdb.engine import FAULT_POINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VARIABLE: Final = "DS_FAULT"
"""``POINT:HIT:DATA_DIR``, as ``after-commit:137:/srv/proof/data``: SIGKILL this process as it passes POINT for
the HIT-th time since its start, counting from 1, if it serves exactly this data directory."""
_log = structlog.get_logger(__name__)


def crash_hook(environment: Mapping[str, str], data_dir: Path) -> Callable[[str], None] | None:
    """Return the ``fault`` hook that the environment asks for, ``None`` if it asks for none.

    Raises:
        RefusedToStartError: the variable is set and malformed, or names another data directory.
    """
    value = environment.get(VARIABLE)
    if value is None:
        return None
    point, _, rest = value.partition(":")
    hit, _, named_dir = rest.partition(":")
    if point not in FAULT_POINTS or not hit.isdecimal() or int(hit) < 1 or named_dir != str(data_dir.absolute()):
        message = f"{VARIABLE}={value} is for tests that kill the server, and not for {data_dir.absolute()}: unset it"
        raise RefusedToStartError(message)
    _log.warning("this process will kill itself", point=point, hit=int(hit))
    return _Countdown(point, int(hit)).passed


class _Countdown:
    """Kills the process at the last of ``hits`` passes of one point. Thread: the writer's alone."""

    def __init__(self, point: str, hits: int) -> None:
        self._point, self._left = point, hits

    def passed(self, point: str) -> None:
        """Count, and die at zero."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

"""How long tests wait for what must come. Nothing else in the tests may say how fast anything is.

A test holds on a machine that is several times slower and busy with something else: it counts operations
(``tests.operations``), compares the order of events, or moves the clock itself (``tests.loops``). What remains are
safety nets: a wait that would never end fails its test instead of standing still. ``tests/test_patience.py`` holds
every test to this.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HANG_S: Final = 300.0
"""For one thing that must come: an answer, a start-up line, the end of a process. Only a hang takes so long."""
WHOLE_HANG_S: Final = 1_000.0
"""For a program that is a test run of its own. pytest's bound on one test (``timeout`` in pyproject.toml) is larger."""
LOOK_S: Final = 0.02


def let_pass(at_least_s: float) -> None:
    """Let time pass that the protocol speaks of, where a real process keeps it. Never to wait for work to be done."""
    until_s = time.monotonic() + at_least_s
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(left_s)


async def pause(at_least_s: float) -> None:
    """Do nothing for a while: a random moment, the pace of a slow peer, a lease. Never to wait for work to be done."""
    await asyncio.sleep(at_least_s)


async def comes_true(look: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again at what tells nobody when it comes about; ``TimeoutError`` if it does not."""
    async with asyncio.timeout(HANG_S):
        while not await look():  # noqa: ASYNC110 there is nothing to be told by
            await asyncio.sleep(LOOK_S)

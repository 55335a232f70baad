"""Work that many clients cause at once, shared out over turns of the loop.

Owns: the order of the steps that wait, and how much of them goes into one turn. Must not know: what a step does.
Invariants: steps are taken first come, first served; a turn ends once its steps have cost ``TURN_BYTES``, so that
whoever else is ready comes in between, however many steps wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_BYTES: Final = 1024 * 1024
"""What the steps of one turn cost before the next turn: bytes read, looked at or made; a page by default."""
STEP_BYTES: Final = 8 * 1024
"""What a step costs beside the bytes that it says: so 128 steps of nothing are a turn."""
_log = structlog.get_logger(__name__)


class Turns:
    """The loop's thread only."""

    def __init__(self) -> None:
        self._steps: deque[Callable[[], int]] = deque()
        self._handle: asyncio.Handle | None = None

    def add(self, step: Callable[[], int]) -> None:
        """Call ``step`` once, in a later turn and behind all that wait; it returns what it cost, in bytes.

        A step with more to do adds itself again. One that is no longer wanted returns 0.
        """
        self._steps.append(step)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    async def mine(self, cost_bytes: int) -> None:
        """Wait for a turn in which something of this cost may be done, at once after this returns."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin() -> int:
            if mine.cancelled():
                return 0
            mine.set_result(None)
            return cost_bytes

        self.add(begin)
        await mine

    def _turn(self) -> None:
        spent_bytes = 0
        while self._steps and spent_bytes < TURN_BYTES:
            spent_bytes += STEP_BYTES + self._take()
        self._handle = asyncio.get_running_loop().call_soon(self._turn) if self._steps else None

    def _take(self) -> int:
        try:
            return self._steps.popleft()()
        except Exception as fault:  # noqa: BLE001 our fault, told loudly; the others must have their turns
            _log.error("a step of shared work failed", exc_info=fault)
            return 0

"""Time and chance, as values that can be handed in.

Owns: the only calls to the system's clock and random source below the composition root; what a jump of the clock is.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from durable_streams.protocol.cursor import JITTER_MAX_S

if TYPE_CHECKING:
    from collections.abc import Callable

JUMP_MIN_MS: Final = 10_000
"""By so much against time that only passes, the wall clock has jumped; by less it was corrected."""
SECOND_LOOK_MS: Final = 60_000
"""How long a clock that has jumped must stand by it to be believed."""
_NS_IN_MS: Final = 1_000_000
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Time that nobody sets; it goes on while the machine sleeps, where the system can tell."""
_log = structlog.get_logger(__name__)
_RANDOM = random.SystemRandom().randrange
_SID_RANDOM_BITS = 20


class Clock(Protocol):
    """Wall clock in Unix milliseconds."""

    jumps: int
    """How often it was set, as far as was noticed: what was noted before may lie in the future now."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""


class SystemClock:
    """The machine's wall clock."""

    jumps = 0

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // _NS_IN_MS


class SteadyClock:
    """The machine's wall clock, which is believed that it has jumped only if it still says so a while later.

    Until then time goes on as if nothing had happened: nothing expires because a clock was wrong for a moment, and
    nothing is noted under a time that was never real. Small corrections are followed at once.

    Args:
        wall_ns, steady_ns: the two clocks that are compared, in nanoseconds; the machine's, but in tests.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = lambda: time.clock_gettime_ns(_STEADY),
    ) -> None:
        self._wall_ns, self._steady_ns = wall_ns, steady_ns
        self._offset_ms = (wall_ns() - steady_ns()) // _NS_IN_MS
        self._doubted_ms: int | None = None
        self._jump_ms = 0
        self.jumps = 0

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        steady_ms, wall_ms = self._steady_ns() // _NS_IN_MS, self._wall_ns() // _NS_IN_MS
        off_ms = wall_ms - steady_ms - self._offset_ms
        if -JUMP_MIN_MS < off_ms < JUMP_MIN_MS:
            self._offset_ms += off_ms
            self._doubted_ms = None
            return wall_ms
        return self._doubt(steady_ms, off_ms)

    def _doubt(self, steady_ms: int, off_ms: int) -> int:
        """Return the time without the jump, or with it once it has lasted."""
        if self._doubted_ms is None or abs(off_ms - self._jump_ms) >= JUMP_MIN_MS:
            self._doubted_ms, self._jump_ms = steady_ms, off_ms
            _log.warning("the clock has jumped; it is looked at again before it is believed", by_s=off_ms // 1000)
        elif steady_ms - self._doubted_ms >= SECOND_LOOK_MS:
            _log.warning("the clock has jumped, and is believed", by_s=off_ms // 1000)
            self._offset_ms += off_ms
            self._doubted_ms = None
            self.jumps += 1
        return steady_ms + self._offset_ms


class ManualClock:
    """A clock for tests: it stands still until told to move."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self.jumps = 0

    def now_ms(self) -> int:
        """Return the time last set."""
        return self._now_ms

    def advance_ms(self, by_ms: int) -> None:
        """Move forward."""
        self._now_ms += by_ms

    def jump_ms(self, by_ms: int) -> None:
        """Be set anew, forward or back."""
        self._now_ms += by_ms
        self.jumps += 1


class Chance:
    """Incarnation ids, compare-and-swap versions, and jitter. ``seed`` makes it repeatable for tests."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(_RANDOM(1 << 62) if seed is None else seed)  # noqa: S311 tokens, not secrets

    def sid(self, now_ms: int) -> int:
        """Return a new 63-bit incarnation id: time first, so that new chunks land at the end of the key space."""
        return (now_ms << _SID_RANDOM_BITS | self._random.getrandbits(_SID_RANDOM_BITS)) & (1 << 63) - 1

    def version(self) -> int:
        """Return a fresh 63-bit version."""
        return self._random.getrandbits(63)

    def wake_id(self) -> str:
        """Return a name for one wake of a subscription that no other wake has."""
        return f"w_{self._random.getrandbits(96):024x}"

    def jitter(self) -> float:
        """Return a number from -1 to 1."""
        return self._random.uniform(-1.0, 1.0)

    def jitter_s(self) -> int:
        """Return 1 to ``JITTER_MAX_S`` seconds (§10.1)."""
        return self._random.randint(1, JITTER_MAX_S)

"""Time and chance, as values that can be handed in.

Owns: the only calls to the system's clock and random source below the composition root.
"""

from __future__ import annotations

import random
import time
from typing import Protocol

from durable_streams.protocol.cursor import JITTER_MAX_S

_RANDOM = random.SystemRandom().randrange
_SID_RANDOM_BITS = 20


class Clock(Protocol):
    """Wall clock in Unix milliseconds."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock for tests: it stands still until told to move."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time last set."""
        return self._now_ms

    def advance_ms(self, by_ms: int) -> None:
        """Move forward."""
        self._now_ms += by_ms


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

"""What a process runs with: time and chance, bounds and options, sockets, signals, logs.

Handed down from the composition root. Must not know: streams.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from durable_streams.runtime.clock import Chance, Clock, SystemClock
from durable_streams.runtime.config import Bounds


@dataclass(frozen=True, slots=True)
class Runtime:
    """One clock, one source of chance, one set of bounds."""

    bounds: Bounds = field(default_factory=Bounds)
    clock: Clock = field(default_factory=SystemClock)
    chance: Chance = field(default_factory=Chance)

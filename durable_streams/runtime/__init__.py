"""What a process runs with: time, chance, and the bounds of its work. Handed down from the composition root."""

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

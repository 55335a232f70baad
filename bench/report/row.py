"""What was measured of one server under one workload."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.peers import Peer
    from bench.workloads import Workload
    from bench.workloads.base import Measurement


@dataclass
class Row:
    """One server under one workload. ``failures``: runs that gave no figure, and why."""

    workload: Workload
    peer: Peer
    runs: list[Measurement] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        return statistics.median(run.value for run in self.runs) if self.runs else None

    def middle(self, name: str) -> float | None:
        """Return the median of one more figure, ``None`` where no run has it."""
        found = [run.more[name] for run in self.runs if name in run.more]
        return statistics.median(found) if found else None

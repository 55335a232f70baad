"""A store whose commits wait for the test: the memory engine with a gate before its commit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from durable_streams.engine.memory import MemoryEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.engine.base import Mutation, Outcome


class GatedEngine(MemoryEngine):
    """While ``gate`` is closed, commits stand before it; ``arrived`` counts those that have come."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = 0

    def commit(
        self, groups: Sequence[Sequence[Mutation]], *, on_written: Callable[[], None] | None = None
    ) -> list[Outcome]:
        """Wait for the gate, then commit."""
        self.arrived += 1
        self.gate.wait()
        return super().commit(groups, on_written=on_written)

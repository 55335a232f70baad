"""What a generator process runs: a load, prepared, then started by a word from the bench, then measured.

The bench talks to a generator over its pipes, one JSON line each way: the task in, ``{"ready": …}`` out, ``go`` in, the
result out. A load that runs until it is told gets ``{"stop": …}`` in between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLES_MAX = 5_000
Task = dict[str, Any]
"""Parameters of a load, and what it measured: plain JSON."""


class Load(Protocol):
    """One kind of load."""

    def __init__(self, task: Mapping[str, Any]) -> None: ...

    async def prepare(self) -> Task:
        """Connect and set up what is not measured."""

    async def run(self) -> Task:
        """Do what is measured; return counts and samples."""

    def stop(self, order: Mapping[str, Any]) -> None:
        """Hear that the others are done."""


class UntilStopped:
    """A load that listens until it is told what to wait for."""

    def __init__(self) -> None:
        self._order: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()

    def stop(self, order: Mapping[str, Any]) -> None:
        if not self._order.done():
            self._order.set_result(order)


def thin(samples: list[float]) -> list[float]:
    """Return samples sorted, and so few that they fit a line: every nth of them, and the largest."""
    ordered = sorted(samples)
    step = max(1, len(ordered) // SAMPLES_MAX)
    return [round(sample, 4) for sample in [*ordered[::step], *ordered[-1:]]]

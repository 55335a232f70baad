"""Adapter processes in places that are filled anew when one is killed, each with a clock of its own that may be wrong.

Owns: which process was ever harmed so that its runs need not finish with it.
"""

from __future__ import annotations

import asyncio
import signal
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.agents.serving import AdapterProcess
from tests.patience import pause

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

LEASE_S = 4.0
RENEW_S = 0.4
HARMLESS_S = LEASE_S / 2
"""A freeze that took no longer leaves a busy machine half of the lease to let the process say that it lives."""
CLOCK = Path(__file__).resolve().parent / "clock"
TIMES = ["--lease-ms", str(int(LEASE_S * 1000)), "--renew-ms", str(int(RENEW_S * 1000)), "--linger-ms", "20"]


@dataclass(eq=False)
class Incarnation:
    """One process in a place.

    Attributes:
        process: it.
        harmed: why its runs may end otherwise than by themselves; empty: they may not.
        free: held by whoever does something to it, or needs it to stay as it is.
    """

    process: AdapterProcess
    harmed: str = ""
    free: asyncio.Lock = field(default_factory=asyncio.Lock)


class Fleet:
    """The processes; ``close`` ends them.

    Args:
        root: the streams server's root.
        directory: for the clocks.
        environment: of all processes.
    """

    def __init__(self, root: str, directory: Path, environment: dict[str, str]) -> None:
        self._root, self._directory, self._environment = root, directory, environment
        self.places: list[Incarnation] = []
        self.all: list[Incarnation] = []

    async def start(self, shifts_s: list[float]) -> None:
        """Fill as many places; each process's clock is wrong by so much."""
        for place, shift_s in enumerate(shifts_s):
            self.set_clock(place, shift_s)
        self.places = list(await asyncio.gather(*(self._begin(place) for place in range(len(shifts_s)))))

    def set_clock(self, place: int, shift_s: float) -> None:
        """Make a place's clock wrong by so much from now on."""
        with self._clock(place).open("r+b" if self._clock(place).exists() else "wb") as clock:
            clock.write(struct.pack("d", shift_s))

    async def kill(self, place: int, away_s: float) -> None:
        """Kill a process, and fill its place after a while."""
        async with self.places[place].free:
            self.places[place].harmed = "killed"
            await asyncio.to_thread(self.places[place].process.kill)
            await pause(away_s)
            self.places[place] = await self._begin(place)

    async def freeze(self, places: list[int], for_s: float) -> None:
        """Stop processes for a while, all of them at once."""
        loop = asyncio.get_running_loop()
        for place in places:
            await self.places[place].free.acquire()
        frozen = [self.places[place] for place in places]
        began_s = loop.time()
        for one in frozen:
            one.process.send_signal(signal.SIGSTOP)
        await pause(for_s)
        for one in frozen:
            one.process.send_signal(signal.SIGCONT)
        if loop.time() - began_s > HARMLESS_S:
            for one in frozen:
                one.harmed = one.harmed or "frozen"
        for one in frozen:
            one.free.release()

    @asynccontextmanager
    async def kept(self, one: Incarnation) -> AsyncIterator[bool]:
        """Keep a process as it is during the block, if it runs."""
        async with one.free:
            yield one in self.places

    def any(self, chance: random.Random) -> Incarnation:
        """Return one, in whatever state."""
        return chance.choice(self.places)

    def log(self) -> str:
        """Return what all have printed."""
        return "\n".join(f"--- {one.harmed or 'healthy'} {one.process.url}\n{one.process.log}" for one in self.all)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(asyncio.to_thread(one.process.close) for one in self.all))

    async def _begin(self, place: int) -> Incarnation:
        paths = f"{CLOCK}:{self._environment['PYTHONPATH']}" if "PYTHONPATH" in self._environment else str(CLOCK)
        process = AdapterProcess(
            self._root,
            ["--source", "tests.agents.chaos.source:make", "--on-busy", "enqueue", *TIMES],
            environment=self._environment | {"PYTHONPATH": paths, "WRONG_CLOCK": str(self._clock(place))},
        )
        await asyncio.to_thread(process.__enter__)
        self.all.append(Incarnation(process))
        return self.all[-1]

    def _clock(self, place: int) -> Path:
        return self._directory / f"clock-{place}"

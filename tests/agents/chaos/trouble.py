"""What happens to the processes of a round: in an order that the seed says, at moments that the machine says."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.agents.chaos.fleet import LEASE_S
from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    import random

    from tests.agents.chaos.crowd import Crowd
    from tests.agents.chaos.fleet import Fleet, Incarnation
    from tests.agents.chaos.prompts import Asked
    from tests.serving import ServerProcess

CLOCK_STEP_MAX_S = 1_200.0
STOPS_MAX = 3
"""While the streams server is away once."""


@dataclass
class Trouble:
    """Makes it.

    Attributes:
        happened: what did, in order.
        still_open: the answers that had not ended when it was last looked.
    """

    server: ServerProcess
    fleet: Fleet
    crowd: Crowd
    happened: list[str] = field(default_factory=list)
    still_open: list[str] = field(default_factory=list)

    async def of_the_server(self, chance: random.Random, times: int) -> None:
        """Have it away, now and then, killed or frozen; meanwhile people stop runs."""
        for _ in range(times):
            await pause(chance.uniform(0.3, 3))
            how, away_s = chance.choice(["killed", "frozen"]), chance.choice([0.1, 1, LEASE_S * 1.5])
            self.happened.append(f"server {how} for {away_s:g} s")
            if how == "killed":
                await asyncio.to_thread(self.server.kill)
            else:
                self.server.send_signal(signal.SIGSTOP)
            await pause(away_s)
            await self._stops(chance, chance.randrange(STOPS_MAX + 1))
            if how == "killed":
                await asyncio.to_thread(self.server.start)
            else:
                self.server.send_signal(signal.SIGCONT)

    async def of_the_adapters(self, chance: random.Random, times: int) -> None:
        """Kill one, freeze one or all, set a clock."""
        for _ in range(times):
            await pause(chance.uniform(0.2, 2))
            place, what = chance.randrange(len(self.fleet.places)), chance.choices(*zip(*_KINDS, strict=True))[0]
            self.happened.append(f"{what} {place}")
            if what == "kill":
                await self.fleet.kill(place, chance.uniform(0, LEASE_S * 1.5))
            elif what == "blink":
                await self.fleet.freeze([place], chance.uniform(0.1, LEASE_S / 4))
            elif what == "freeze":
                await self.fleet.freeze([place], LEASE_S * 2)
            elif what == "freeze all":
                await self.fleet.freeze(list(range(len(self.fleet.places))), chance.choice([0.5, LEASE_S * 1.5]))
            else:
                self.fleet.set_clock(place, chance.uniform(-CLOCK_STEP_MAX_S, CLOCK_STEP_MAX_S))

    async def _stops(self, chance: random.Random, count: int) -> None:
        """Have people stop runs where they run, while there is no streams server."""
        known = sorted(self.crowd.told.taken.items(), key=lambda item: item[1][0].text)
        chance.shuffle(known)
        able = [(gid, asked, one) for gid, (asked, one) in known if self.crowd.under_way(asked) and _is_well(one)]
        await asyncio.gather(*(self._stop(*each) for each in able[:count]))

    async def _stop(self, gid: str, asked: Asked, one: Incarnation) -> None:
        """Stop a run; the model's server sees it while the streams server is away."""
        async with self.fleet.kept(one) as is_there:
            request = self.crowd.under_way(asked)
            if not is_there or request is None:
                return
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            stopping = asyncio.create_task(self.crowd.stop(one, asked, gid, by=f"somebody at {asked.text}"))
            await asyncio.wait_for(request.ended.wait(), HANG_S)
            if request.end == "disconnected":
                self.crowd.told.cancel_ms.append((loop.time() - began_s) * 1000)
            await stopping


_KINDS = [("kill", 3), ("blink", 4), ("freeze", 2), ("freeze all", 1), ("clock", 4)]
"""What happens to adapters, and how often each."""


def _is_well(one: Incarnation) -> bool:
    return not one.harmed and not one.free.locked()

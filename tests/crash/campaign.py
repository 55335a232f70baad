"""One campaign: many writers and readers, one server process that is killed again and again, one model that decides.

A round: everybody works; the process dies, at a random moment or at a point inside a commit; its data directory is
checked offline; it is started again; every stream is compared with its model; whoever got no answer learns what became
of the request.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from durable_streams.engine.lmdb.check import check_data_dir
from tests.crash.actor import Actor, Stage
from tests.crash.ephemeral import Ephemeral
from tests.crash.family import Family, HotForker
from tests.crash.followers import Follower
from tests.crash.inspection import check_listing, look_at_all
from tests.crash.ledger import Ledger
from tests.crash.model import Stream
from tests.crash.payloads import BYTES, JSON, TEXT
from tests.crash.pipes import Piper
from tests.crash.wire import ProofError, Turnstile, UnansweredError, Wire
from tests.crash.writers import Closer, CloseRace, Creator, Pipeliner, Plain, Producer, Sequencer
from tests.patience import HANG_S, pause
from tests.serving import ServerExited, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.crash.ledger import Tally

WORK_S = (0.05, 1.2)
"""How long a round's work goes on before the kill, at least."""
ANSWERS_PER_ROUND = 100
"""No kill before this many requests a round were answered: on a slow machine a round takes longer, not less."""
EARLY_KILL_SHARE = 0.2
"""How often a server is killed once more while it starts."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. ``fault``: the point inside a commit at which the server kills itself; ``None``: from outside."""

    seed: int
    rounds: int
    fault: str | None = None


async def run_campaign(directory: Path, plan: Plan) -> Tally:
    """Carry out one campaign; return what it went through.

    Raises:
        ProofError: the server broke its word; in a group, as several may notice.
    """
    server = ServerProcess(directory, arguments=["--long-poll-timeout-ms", "500"])
    turnstile = Turnstile()
    ledger = Ledger()
    try:
        async with Wire(server.url, turnstile) as wire:
            return await _Campaign(server, Stage(wire, ledger, plan.seed), plan).run()
    except BaseException as failure:
        failure.add_note(f"{plan}, after {ledger.tally}")
        _log.error("server log:\n%s", server.stderr[-4_000:])
        raise
    finally:
        server.close()


class _Campaign:
    def __init__(self, server: ServerProcess, stage: Stage, plan: Plan) -> None:
        self.server, self.stage, self.plan = server, stage, plan
        self.wire, self.ledger, self.turnstile = stage.wire, stage.ledger, stage.wire.turnstile
        self.rng = Random(f"{plan.seed}/kills")
        self.followers: list[Follower] = []

    async def run(self) -> Tally:
        await asyncio.to_thread(self.server.start)
        shared = await self._create_shared()
        self.followers = [Follower(self.stage, f"reader{k}", stream) for k, stream in enumerate(shared * 2)]
        self.turnstile.close()
        await self.turnstile.idle()
        await self._die_and_return(kill=self.server.kill)
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(follower.run()) for follower in self.followers]
            writing = [group.create_task(actor.run()) for actor in self._cast(shared)]
            for _ in range(self.plan.rounds):
                self.ledger.tally.rounds += 1
                await self._round()
            self.stage.over = True
            self.turnstile.open()
            await asyncio.gather(*writing)
            await self._finish()
            for task in reading:
                task.cancel()
        await self._restart_cleanly()
        _log.info("seed %d: %s", self.plan.seed, self.ledger.tally)
        return self.ledger.tally

    async def _create_shared(self) -> list[Stream]:
        streams = [Stream("hot/text", TEXT), Stream("hot/bytes", BYTES), Stream("hot/json", JSON)]
        streams.append(Stream("hot/ttl", JSON, 3_600))
        self.turnstile.open()
        for k, stream in enumerate(streams):
            setter = Actor(self.stage, f"setter{k}")
            await setter.act(setter.creation(stream, with_body=True))
        return streams

    def _cast(self, shared: list[Stream]) -> list[Actor]:
        """Return the writers: 49 of them, half on streams that many share."""
        makers: list[tuple[str, int, Callable[[str, Stream], Actor]]] = [
            ("plain", 8, lambda name, stream: Plain(self.stage, name, stream)),
            ("producer", 8, lambda name, stream: Producer(self.stage, name, stream)),
            ("pipe", 4, lambda name, stream: Piper(self.stage, name, stream)),
            ("pipeliner", 4, lambda name, stream: Pipeliner(self.stage, name, stream)),
            ("hotforker", 2, lambda name, stream: HotForker(self.stage, name, stream)),
            ("family", 8, lambda name, _: Family(self.stage, name)),
            ("creator", 4, lambda name, _: Creator(self.stage, name)),
            ("closer", 4, lambda name, _: Closer(self.stage, name)),
            ("race", 2, lambda name, _: CloseRace(self.stage, name)),
            ("sequencer", 1, lambda name, _: Sequencer(self.stage, name)),
            ("ephemeral", 4, lambda name, _: Ephemeral(self.stage, name)),
        ]
        return [make(f"{kind}{k}", shared[k % len(shared)]) for kind, count, make in makers for k in range(count)]

    # rounds

    async def _round(self) -> None:
        self.turnstile.open()
        if self.plan.fault is None:
            await self._work(self.rng.uniform(*WORK_S))
            kill = self._kill
        else:
            kill = self._await_fault
        await self._die_and_return(kill=kill)

    async def _work(self, work_s: float) -> None:
        """Let everybody work; the server must not break a connection meanwhile."""
        broken: asyncio.Task[Any] = asyncio.create_task(self.turnstile.tripped.wait())
        worked: asyncio.Task[Any] = asyncio.create_task(self._enough(work_s))
        try:
            await asyncio.wait({broken, worked}, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                raise ProofError(f"the server broke a connection; running: {self.server.running}\n{self.server.stderr}")
        finally:
            broken.cancel()
            worked.cancel()

    async def _enough(self, work_s: float) -> None:
        await pause(work_s)
        await self.ledger.answers(ANSWERS_PER_ROUND * self.ledger.tally.rounds)

    def _kill(self) -> None:
        if not self.server.running:
            raise ProofError(f"the server ended by itself: {self.server.returncode}\n{self.server.stderr}")
        self.server.kill()

    def _await_fault(self) -> None:
        returncode = self.server.wait(timeout_s=HANG_S)
        if returncode != -signal.SIGKILL:
            raise ProofError(f"not killed by its fault, but ended with {returncode}")

    async def _die_and_return(self, *, kill: Callable[[], object]) -> None:
        await self._in_thread(kill)
        self.turnstile.close()
        await self.turnstile.idle()
        self._check_directory()
        if self.rng.random() < EARLY_KILL_SHARE:
            await self._kill_while_starting(self.rng.uniform(0.0, 0.5))
            self._check_directory()
        await self._start()
        await self._inspect()

    async def _in_thread(self, kill: Callable[[], object]) -> None:
        """Wait for the process's end without stopping the writers; whoever is cancelled here ends the process first."""
        death = asyncio.create_task(asyncio.to_thread(kill))
        try:
            await asyncio.shield(death)
        except asyncio.CancelledError:
            if self.server.running:
                self.server.send_signal(signal.SIGKILL)
            await death
            raise

    def _check_directory(self) -> None:
        report = check_data_dir(self.server.data_dir)
        if not report.sound:
            raise ProofError(f"{report.problem_count} problems, the first: {report.problems[:5]}")

    async def _kill_while_starting(self, delay_s: float) -> None:
        starting = asyncio.create_task(asyncio.to_thread(self.server.start))
        await pause(delay_s)  # any moment will do
        if self.server.running:
            self.server.send_signal(signal.SIGKILL)
        with suppress(ServerExited):
            await starting
            self.server.kill()

    async def _start(self) -> None:
        """Start, with the next round's fault if there is one: what comes after the last is to be survived."""
        self.server.environment.pop("DS_FAULT", None)
        if self.plan.fault is not None and self.ledger.tally.rounds < self.plan.rounds:
            hit = self.rng.randint(10, 250)
            self.server.environment["DS_FAULT"] = f"{self.plan.fault}:{hit}:{self.server.data_dir.absolute()}"
        await asyncio.to_thread(self.server.start)

    async def _inspect(self) -> None:
        """Compare everything with its model; nobody may be under way who is not to be decided upon."""
        while True:
            try:
                await self._compare_all()
            except UnansweredError:
                if "DS_FAULT" not in self.server.environment:
                    raise
                await self._survive_early_fault()
            else:
                return

    async def _survive_early_fault(self) -> None:
        """What upkeep commits counts as well: a fault may come while everything is looked at. Begin the look anew."""
        await self._in_thread(self._await_fault)
        self.ledger.tally.early_deaths += 1
        self._check_directory()
        await self._start()

    async def _compare_all(self) -> None:
        sights = await look_at_all(self.wire, self.ledger.world)
        self.ledger.observe(sights)
        for follower in self.followers:
            follower.check(sights[follower.path].content)
        await check_listing(self.wire, sights)

    # the end

    async def _finish(self) -> None:
        """All have been answered: everything stands as acknowledged, and live readers come to see all of it."""
        for follower in self.followers:
            stream = self.ledger.streams[follower.path]
            await follower.reach(len(stream.content()))
        await self._inspect()

    async def _restart_cleanly(self) -> None:
        returncode = await asyncio.to_thread(self.server.stop)
        if returncode != 0:
            raise ProofError(f"SIGTERM ended it with {returncode}")
        self._check_directory()
        await self._start()
        await self._inspect()

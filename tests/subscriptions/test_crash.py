"""Kill the server again and again with subscriptions at work: no cursor is ahead of its acks or behind an answered one.

Appenders, two pull workers and a webhook receiver run against one server that is killed at random moments, and in some
campaigns at a point inside a commit. After each kill the store is checked offline, and each cursor is held to what was
asked and what was answered. In the end everybody is left in peace, and all work must get done: a wake that a crash lost
would leave its stream behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from durable_streams.client import (
    AsyncDurableStream,
    AsyncSubscription,
    DurableStreamError,
    FetchError,
    RetryPolicy,
)
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.crash_point import VARIABLE
from tests.patience import HANG_S, comes_true, pause
from tests.serving import ServerExited, ServerProcess
from tests.subscriptions.receiver import DONE, OK, Delivery, Receiver, answer, cut

if TYPE_CHECKING:
    from pathlib import Path

    from durable_streams.client import Claim

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "20")) // 2
STREAMS = [f"jobs/{number}" for number in range(12)]
LEASE_MS = 1_000
WORK_S = (0.1, 0.9)
ONCE = RetryPolicy(give_up_after_s=0)
_REFUSED = (DurableStreamError, FetchError)


class Ledger:
    """What was asked and what was answered, by (subscription, stream)."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], int] = defaultdict(int)
        self.answered: dict[tuple[str, str], int] = defaultdict(int)

    def ask(self, key: tuple[str, str], offset: int) -> None:
        self.asked[key] = max(self.asked[key], offset)

    def answer(self, key: tuple[str, str], offset: int) -> None:
        self.answered[key] = max(self.answered[key], offset)


class Stage:
    """Everybody who works on one server."""

    def __init__(self, server: ServerProcess, receiver: Receiver, seed: int) -> None:
        self.server, self.receiver = server, receiver
        self.root_url = server.stream_url("").rstrip("/")
        self.ledger = Ledger()
        self.chance = random.Random(seed)
        self.quiet = False
        receiver.behave = self.receive

    def subscription(self, name: str) -> AsyncSubscription:
        return AsyncSubscription(self.root_url, name, retry=ONCE)

    async def set_up(self) -> None:
        for path in ("wake", *STREAMS):
            content_type = "application/json" if path == "wake" else "text/plain"
            async with await AsyncDurableStream.create(f"{self.root_url}/{path}", content_type=content_type):
                pass
        common = {"pattern": "jobs/*", "lease_ttl_ms": LEASE_MS}
        async with self.subscription("pull") as pull, self.subscription("push") as push:
            await pull.create({"type": "pull-wake", "wake_stream": "wake", **common})
            await push.create({"type": "webhook", "webhook": {"url": self.receiver.url}, **common})

    async def append(self) -> None:
        """Append to one stream after the other."""
        async with AsyncDurableStream(f"{self.root_url}/x", content_type="text/plain", retry=ONCE) as session:
            while not self.quiet:
                url = f"{self.root_url}/{self.chance.choice(STREAMS)}"
                with contextlib.suppress(*_REFUSED):
                    handle = AsyncDurableStream(
                        url, content_type="text/plain", client=session._endpoint.session, retry=ONCE
                    )
                    await handle.append(b"0123456789"[: self.chance.randint(1, 10)])
                await pause(self.chance.random() * 0.02)

    async def pull(self, worker: str) -> None:
        """Claim, ack bit by bit, and finish, release or just stop."""
        async with self.subscription("pull") as subscription:
            while True:
                try:
                    claim = await subscription.claim(worker)
                    await self._work(subscription, claim)
                except _REFUSED:
                    await pause(0.02)

    async def _work(self, subscription: AsyncSubscription, claim: Claim) -> None:
        for stream in claim.streams:
            start, end = int(stream.acked_offset), int(stream.tail_offset)
            while start < end:
                start = end if self.quiet else min(end, start + self.chance.randint(1, 20))
                await self._ack(subscription, claim, stream.path, offset=start)
        way = 0.0 if self.quiet else self.chance.random()
        if way < 0.6:
            await subscription.ack(claim, {}, done=True)
        elif way < 0.8:
            await subscription.release(claim)

    async def _ack(self, subscription: AsyncSubscription, claim: Claim, path: str, *, offset: int) -> None:
        self.ledger.ask(("pull", path), offset)
        await subscription.ack(claim, {path: f"{offset:016}"})
        self.ledger.answer(("pull", path), offset)

    async def receive(self, delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        """Answer a webhook: done, some time later or never, or badly."""
        behave = DONE if self.quiet else self.chance.choice([DONE, DONE, OK, answer(500), cut])
        if behave is DONE:
            for link in delivery.wake["streams"]:
                self.ledger.ask(("push", link["path"]), int(link["tail_offset"]))
        await behave(delivery, writer)

    async def check(self) -> None:
        """Hold each cursor to what was answered before the look, and to what was asked by its end."""
        for name in ("pull", "push"):
            answered = dict(self.ledger.answered)  # an ack may be answered before the look is
            async with self.subscription(name) as subscription:
                shown = await subscription.show()
            for link in shown["streams"]:
                key, cursor = (name, link["path"]), int(link["acked_offset"])
                assert cursor <= self.ledger.asked[key], f"{key} at {cursor} is ahead of {self.ledger.asked[key]}"
                assert cursor >= answered.get(key, 0), f"{key} at {cursor} is behind {answered[key]}"

    async def until_all_done(self) -> None:
        """With nobody appending, all work gets done."""
        tails = {}
        for path in STREAMS:
            async with AsyncDurableStream(f"{self.root_url}/{path}") as stream:
                tails[path] = int((await stream.head()).offset or 0)
        for name in ("pull", "push"):
            async with self.subscription(name) as subscription:

                async def look(subscription: AsyncSubscription = subscription) -> bool:
                    links = (await subscription.show())["streams"]
                    return {link["path"]: int(link["acked_offset"]) for link in links} == tails

                await comes_true(look)


async def campaign(server: ServerProcess, seed: int, fault: str | None) -> None:
    """Work, kill, check and start again; then let everything get done."""
    async with Receiver() as receiver:
        stage = Stage(server.start(), receiver, seed)
        await stage.set_up()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(stage.append()) for _ in range(3)]
            tasks += [group.create_task(stage.pull(f"w{number}")) for number in range(2)]
            for number in range(ROUNDS):
                if fault is not None:
                    server.environment[VARIABLE] = f"{fault}:{stage.chance.randint(2, 100)}:{server.data_dir}"
                await pause(stage.chance.uniform(*WORK_S))  # any moment will do
                await asyncio.to_thread(kill, server)
                report = check_data_dir(server.data_dir)
                assert report.sound, (number, report.problems)
                await asyncio.to_thread(start, server)
                await check_through_the_fault(stage)
            stage.quiet = True
            await asyncio.to_thread(kill, server)
            server.environment.pop(VARIABLE, None)
            await asyncio.to_thread(server.start)
            await stage.until_all_done()
            await stage.check()
            for task in tasks:
                task.cancel()


def start(server: ServerProcess) -> None:
    """Start; a server that dies of its fault before it is ready is started without."""
    try:
        server.start()
    except ServerExited as exited:
        if exited.returncode != -signal.SIGKILL or VARIABLE not in server.environment:
            raise
        del server.environment[VARIABLE]
        server.start()


def kill(server: ServerProcess) -> None:
    """Kill what runs, or has died of its fault, and of nothing else."""
    if not server.running:
        assert (server.returncode, VARIABLE in server.environment) == (-signal.SIGKILL, True), server.stderr
    server.kill()


async def check_through_the_fault(stage: Stage) -> None:
    """Hold each cursor to the ledger.

    Everybody goes on working, so the commit that an armed server dies of may come while it is asked: then its store is
    looked at as well, and it is started without a fault and asked again.
    """
    server = stage.server
    try:
        await stage.check()
    except FetchError:
        assert VARIABLE in server.environment, server.stderr
        assert await asyncio.to_thread(server.wait, timeout_s=HANG_S) == -signal.SIGKILL
        report = check_data_dir(server.data_dir)
        assert report.sound, report.problems
        del server.environment[VARIABLE]
        await asyncio.to_thread(server.start)
        await stage.check()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "fault"), [(1, None), (2, "before-commit"), (3, "after-commit")])
async def test_cursors_through_kills(tmp_path: Path, seed: int, fault: str | None) -> None:
    server = ServerProcess(tmp_path, arguments=["--allow-local-webhooks"])
    try:
        await campaign(server, seed, fault)
    finally:
        server.close()


@pytest.mark.slow
async def test_a_server_that_dies_of_its_fault_while_it_is_looked_at(tmp_path: Path) -> None:
    """The harness itself: armed for the very next commit, the server is gone before it can be asked."""
    server = ServerProcess(tmp_path, arguments=["--allow-local-webhooks"])
    try:
        async with Receiver() as receiver:
            stage = Stage(server.start(), receiver, seed=1)
            await stage.set_up()
            server.environment[VARIABLE] = f"after-commit:1:{server.data_dir}"
            await asyncio.to_thread(server.restart)
            async with AsyncDurableStream(
                f"{stage.root_url}/wake", content_type="application/json", retry=ONCE
            ) as wake:
                with pytest.raises(FetchError):
                    await wake.append(b"1")
            await check_through_the_fault(stage)
            assert (server.running, VARIABLE in server.environment) == (True, False)
    finally:
        server.close()

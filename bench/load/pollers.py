"""Long-polling readers, in a closed loop: the next message is appended once every reader has the one before."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.load.base import Task, thin
from bench.load.followers import CONNECTING_MAX
from bench.load.http import HOST, Answer, AnswerParser, Client, request
from bench.load.stamps import Arrivals
from bench.load.writers import StepWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Poller(asyncio.Protocol):
    """One reader that asks again as soon as it is answered."""

    def __init__(self, path: str, offset: str, arrived: Callable[[], None], latencies: list[float]) -> None:  # noqa: PLR0917
        self._path, self._offset, self._arrived, self._latencies = path, offset, arrived, latencies
        self._parser = AnswerParser()
        self.arrivals = Arrivals()
        self.fault = ""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._poll()

    def data_received(self, data: bytes) -> None:
        for answer in self._parser.feed(data):
            self._take(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fault = self.fault or f"connection lost: {exc}"

    def _poll(self) -> None:
        self._transport.write(request("GET", f"{self._path}?offset={self._offset}&live=long-poll"))

    def _take(self, answer: Answer) -> None:
        if answer.status not in {200, 204}:
            self.fault = f"{answer.status} {answer.body[:100]!r}"
            return
        self._offset = answer.fields["stream-next-offset"]
        self._poll()
        if self.arrivals.feed(answer.body, self._latencies):
            self._arrived()


class PollLoad:
    """Task: port, paths (one), readers, seconds, body_bytes."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self._latencies: list[float] = []
        self._pollers: list[Poller] = []
        self._missing = 0
        self._all = asyncio.Event()

    def stop(self, order: Mapping[str, Any]) -> None:
        """Stop early."""

    async def prepare(self) -> Task:
        loop, task = asyncio.get_running_loop(), self._task
        self._writer = StepWriter(task)
        await self._writer.connect()
        asker = await Client.connect(task["port"])
        head = await asker.expect(request("GET", f"{task['paths'][0]}?offset=-1"), 200)
        offset = head.fields["stream-next-offset"]
        for number in range(task["readers"]):
            _, poller = await loop.create_connection(
                lambda: Poller(task["paths"][0], offset, self._arrived, self._latencies), HOST, task["port"]
            )
            self._pollers.append(poller)
            if number % CONNECTING_MAX == 0:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        return {}

    async def run(self) -> Task:
        start_s = time.perf_counter()
        try:
            while time.perf_counter() - start_s < self._task["seconds"]:
                self._missing = len(self._pollers)
                self._all.clear()
                await self._writer.step()
                async with asyncio.timeout(15):
                    await self._all.wait()
        except TimeoutError:
            pass  # the count says who is missing
        elapsed_s = time.perf_counter() - start_s
        rounds = self._writer.number
        faults = [
            one.fault or f"a reader has {one.arrivals.count} of {rounds} messages"
            for one in self._pollers
            if one.fault or one.arrivals.count != rounds
        ]
        count = sum(one.arrivals.count for one in self._pollers)
        return {"count": count, "elapsed_s": elapsed_s, "latencies_ms": thin(self._latencies), "faults": faults[:3]}

    def _arrived(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._all.set()

"""Live readers by server-sent events: count what arrives and how long it took."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.load.base import Task, UntilStopped, thin
from bench.load.http import HOST, request
from bench.load.stamps import Arrivals, Expected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GRACE_S = 5.0
"""How long after the last append a message may still arrive."""
CONNECTING_MAX = 64
"""Connections being made at a time: a backlog is no part of what is measured."""


class Follower(asyncio.Protocol):
    """One reader. ``ready`` once the answer has begun."""

    def __init__(self, raw: bytes, note: Callable[[int], None], latencies: list[float]) -> None:
        self._raw, self._note, self._latencies = raw, note, latencies
        self.arrivals = Arrivals()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._raw)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        found = self.arrivals.feed(data, self._latencies)
        if found:
            self._note(found)
        # The first event says that the reader is at the tail: what is appended from now on is pushed to it.
        elif not self.ready.done() and b"upToDate" in data:
            self.ready.set_result(None)
        elif not self.ready.done() and not data.startswith(b"HTTP/1.1 200") and data.startswith(b"HTTP/1.1"):
            self.ready.set_exception(ConnectionError(data[:60].decode("latin-1")))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("closed before it began"))


class FollowLoad(UntilStopped):
    """Readers of one stream each, or of the same.

    Task: port, paths (reader n follows path n modulo their number), readers, needs_event (whether readiness can be
    told from a first event; the floor sends none).
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        super().__init__()
        self._task = task
        self._latencies: list[float] = []
        self._followers: list[Follower] = []
        self._count = 0
        self._first_s = self._last_s = 0.0

    async def prepare(self) -> Task:
        gate = asyncio.Semaphore(CONNECTING_MAX)
        await asyncio.gather(*(self._follow(number, gate) for number in range(self._task["readers"])))
        return {}

    async def run(self) -> Task:
        order = await self._order
        expected = Expected(order["count"])
        wanted = expected.count * len(self._followers)
        until_s = time.perf_counter() + GRACE_S
        # An event would have to be looked at with every delivery that is measured.
        while self._count < wanted and time.perf_counter() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        faults = [
            f"a reader has {one.arrivals.count} of {expected.count} messages{', cut' if one.lost else ''}"
            for one in self._followers
            if one.arrivals.count != expected.count or one.arrivals.total != expected.total
        ]
        return {
            "count": self._count,
            "elapsed_s": max(self._last_s - self._first_s, 1e-9),
            "latencies_ms": thin(self._latencies),
            "faults": faults[:3],
        }

    async def _follow(self, number: int, gate: asyncio.Semaphore) -> None:
        paths = self._task["paths"]
        raw = request(
            "GET", f"{paths[number % len(paths)]}?offset=now&live=sse", fields="Accept: text/event-stream\r\n"
        )
        async with gate:
            _, follower = await asyncio.get_running_loop().create_connection(
                lambda: Follower(raw, self._arrived, self._latencies), HOST, self._task["port"]
            )
            self._followers.append(follower)
            if self._task["needs_event"]:
                async with asyncio.timeout(30):
                    await follower.ready

    def _arrived(self, count: int) -> None:
        self._count += count
        self._last_s = time.perf_counter()
        self._first_s = self._first_s or self._last_s

"""Stamped messages at a pace: one writer's, or many streams' at once, or a step at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.load.base import Task, thin
from bench.load.http import Client, request
from bench.load.stamps import stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def message(number: int, size_bytes: int) -> bytes:
    """Return one JSON message of this size: a string that begins with its stamp."""
    return f'"{stamp(number)}'.ljust(size_bytes - 1, "x").encode() + b'"'


class PacedWriter:
    """Appends at a fixed rate to each path; what is late is sent at once, so that the rate holds where it can.

    Gives up what is not sent after twice the time: a server may be far slower than the rate.

    Task: port, paths, per_s (to each path), seconds, lanes (connections per path), body_bytes.
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self._late_ms = 0.0
        self._latencies: list[float] = []

    def stop(self, order: Mapping[str, Any]) -> None:
        """Stop early."""

    async def prepare(self) -> Task:
        lanes = self._task["lanes"]
        self._clients = [[await Client.connect(self._task["port"]) for _ in range(lanes)] for _ in self._task["paths"]]
        return {}

    async def run(self) -> Task:
        task = self._task
        start_s = time.perf_counter()
        spread_s = 1 / task["per_s"] / len(task["paths"])
        counts = await asyncio.gather(
            *(
                self._write(path, clients, start_s + number * spread_s)
                for number, (path, clients) in enumerate(zip(task["paths"], self._clients, strict=True))
            )
        )
        elapsed_s = time.perf_counter() - start_s
        return {
            "count": sum(counts),
            "elapsed_s": elapsed_s,
            "latencies_ms": thin(self._latencies),
            "late_ms": self._late_ms,
        }

    async def _write(self, path: str, clients: list[Client], start_s: float) -> int:
        """Write one path's messages; return how many: they are numbered from 0."""
        numbers = iter(range(round(self._task["seconds"] * self._task["per_s"])))
        return sum(await asyncio.gather(*(self._lane(path, client, start_s, numbers) for client in clients)))

    async def _lane(self, path: str, client: Client, start_s: float, numbers: Iterator[int]) -> int:  # noqa: PLR0917
        count = 0
        until_s = start_s + 2 * self._task["seconds"]
        while time.perf_counter() < until_s and (number := next(numbers, None)) is not None:
            due_s = start_s + number / self._task["per_s"]
            ahead_s = due_s - time.perf_counter()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            self._late_ms = max(self._late_ms, (time.perf_counter() - due_s) * 1000)
            body = message(number, self._task["body_bytes"])
            sent_s = time.perf_counter()
            await client.expect(request("POST", path, body, "application/json"), 200, 204)
            self._latencies.append((time.perf_counter() - sent_s) * 1000)
            count += 1
        return count


class StepWriter:
    """Appends the next message when told that everybody has the one before; for closed loops over readers.

    Task: port, paths (one), seconds, body_bytes.
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self.number = 0

    async def connect(self) -> None:
        self._client = await Client.connect(self._task["port"])

    async def step(self) -> None:
        body = message(self.number, self._task["body_bytes"])
        self.number += 1
        await self._client.expect(request("POST", self._task["paths"][0], body, "application/json"), 200, 204)

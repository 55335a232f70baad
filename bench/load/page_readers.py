"""Catch-up: readers that read a stream from its start to its tail, page after page, as fast as they can."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.load.http import Client, request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.load.base import Task


class Counter:
    """Counts bytes and marks in what a reader gets."""

    def __init__(self, mark: bytes) -> None:
        self._mark, self._carry = mark, b""
        self.bytes = self.marks = 0

    def take(self, arrived: bytes) -> None:
        self.bytes += len(arrived)
        if self._mark:
            buffer = self._carry + arrived
            self.marks += buffer.count(self._mark)
            self._carry = buffer[len(buffer) - len(self._mark) + 1 :]


async def read_whole(client: Client, path: str) -> int:
    """Read from the start until the server says that this is all; return how many pages it took."""
    offset, pages = "-1", 0
    while True:
        answer = await client.expect(request("GET", f"{path}?offset={offset}"), 200, 204)
        pages += 1
        if answer.fields.get("stream-up-to-date") == "true":
            return pages
        following = answer.fields["stream-next-offset"]
        if following == offset:
            raise AssertionError(f"{path}: no progress at {offset}")
        offset = following


class PageLoad:
    """Task: port, paths, readers, mark (text counted), seconds (0: each reads all paths once; else again and again)."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self._stopped = False

    def stop(self, order: Mapping[str, Any]) -> None:  # noqa: ARG002 as all loads hear it
        self._stopped = True

    async def prepare(self) -> Task:
        self._counters = [Counter(self._task["mark"].encode()) for _ in range(self._task["readers"])]
        self._clients = [await Client.connect(self._task["port"], counter.take) for counter in self._counters]
        return {}

    async def run(self) -> Task:
        start_s = time.perf_counter()
        until_s = start_s + self._task["seconds"]
        pages = await asyncio.gather(*(self._read(client, until_s) for client in self._clients))
        return {
            "elapsed_s": time.perf_counter() - start_s,
            "count": sum(counter.marks for counter in self._counters),
            "bytes": sum(counter.bytes for counter in self._counters),
            "pages": sum(pages),
        }

    async def _read(self, client: Client, until_s: float) -> int:
        pages = 0
        while True:
            for path in self._task["paths"]:
                pages += await read_whole(client, path)
            if time.perf_counter() >= until_s or self._stopped:
                return pages

"""Appends as fast as answers come, or at a pace: each connection sends the next when the one before is answered."""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import TYPE_CHECKING, Any

from bench.load.base import Task, thin
from bench.load.http import HEAD_END, HOST, AnswerParser, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_EMPTY = (b" 204", b" 200")


class Appender(asyncio.Protocol):
    """One connection that sends requests made by ``next_request`` until that returns ``None``."""

    def __init__(self, next_request: Callable[[], bytes | None], done: Callable[[], None]) -> None:
        self._next, self._done = next_request, done
        self._parser: AnswerParser | None = None
        self._sent_s = 0.0
        self.latencies = array("d")
        self.failed = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self) -> None:
        raw = self._next()
        if raw is None:
            self._done()
            return
        self._sent_s = time.perf_counter()
        self.transport.write(raw)

    def data_received(self, data: bytes) -> None:
        # The usual answer is one short piece without a body; anything else goes to the parser.
        if self._parser is None and data[8:12] == b" 204" and data.endswith(HEAD_END):
            self._answered()
            return
        if self._parser is None:
            self._parser = AnswerParser()
        for answer in self._parser.feed(data):
            self._parser = None
            if answer.status not in {200, 201, 204}:
                self._fail(f"{answer.status} {answer.body[:120]!r}")
                return
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc}")

    def _answered(self) -> None:
        self.latencies.append(time.perf_counter() - self._sent_s)
        self.send()

    def _fail(self, why: str) -> None:
        if not self.failed:
            self.failed = why
            self._done()


class AppendLoad:
    """Closed-loop appends.

    Task: port, paths (connection n uses path n modulo their number), connections, seconds or count (requests in all),
    body (text) or body_bytes, content_type, method, producers (prefix of the ids under which each connection is a
    producer of its own; empty for none).
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self._appenders: list[Appender] = []
        self._until_s = 0.0
        self._left = int(task.get("count", 0)) or 1 << 60
        self._unused = iter(task["paths"])
        self._running = 0
        self._idle = asyncio.Event()

    def stop(self, order: Mapping[str, Any]) -> None:
        """Stop early."""

    async def prepare(self) -> Task:
        loop = asyncio.get_running_loop()
        for number in range(self._task["connections"]):
            make = self._maker(number)
            _, appender = await loop.create_connection(
                lambda make=make: Appender(make, self._one_done), HOST, self._task["port"]
            )
            self._appenders.append(appender)
        return {}

    async def run(self) -> Task:
        self._running = len(self._appenders)
        start_s = time.perf_counter()
        self._until_s = start_s + self._task["seconds"]
        for appender in self._appenders:
            appender.send()
        await self._idle.wait()
        elapsed_s = time.perf_counter() - start_s
        latencies = [latency * 1000 for appender in self._appenders for latency in appender.latencies]
        faults = [appender.failed for appender in self._appenders if appender.failed]
        for appender in self._appenders:
            appender.failed = "over"
            appender.transport.abort()
        return {"count": len(latencies), "elapsed_s": elapsed_s, "latencies_ms": thin(latencies), "faults": faults[:3]}

    def _maker(self, number: int) -> Callable[[], bytes | None]:
        requests = self._requests(number)

        def make() -> bytes | None:
            if self._left <= 0 or time.perf_counter() > self._until_s:
                return None
            raw = next(requests, None)
            if raw is not None:
                self._left -= 1
            return raw

        return make

    def _requests(self, number: int) -> Iterator[bytes]:
        task = self._task
        paths, method = task["paths"], task.get("method", "POST")
        if method == "PUT":  # every request another stream, whichever connection is free
            for path in self._unused:
                yield request("PUT", path, b"", task["content_type"])
            return
        body = bytes(task["body_bytes"]) if "body_bytes" in task else task["body"].encode()
        path = paths[number % len(paths)]
        if task.get("producers"):
            for seq in range(1 << 40):
                claim = f"Producer-Id: {task['producers']}{number}\r\nProducer-Epoch: 0\r\nProducer-Seq: {seq}\r\n"
                yield request("POST", path, body, task["content_type"], claim)
        raw = request(method, path, body, task["content_type"])
        while True:
            yield raw

    def _one_done(self) -> None:
        self._running -= 1
        if self._running <= 0:
            self._idle.set()

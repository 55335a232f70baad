"""The longest turn of the loop under each attack: ``make stall``, or ``python -m bench.stall [--scale 0.1] [NAME…]``.

A server in a process of its own, on loopback with fsync on, counts its turns: each begins when the one before has
ended, so nothing that happens in the loop is missed. Printed for each attack: the longest turn by the loop's processor
time, which what else runs on the machine does not lengthen, and by the clock; how many turns took over 50 ms; how long
``/healthz`` took at most meanwhile, from outside; and the most memory. The clients are this process: bounded, loopback
only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from bench.process import free_port
from durable_streams.runtime.config import ServerConfig
from durable_streams.runtime.logs import configure_logs
from durable_streams.server import Server, make_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LONG_S = 0.05
GONE_S = 60.0
MIB = 1 << 20
ROOT = "/v1/stream"


# --- the server's process ---


class Turns:
    """Counts the loop's turns. One always follows another, so the loop never sleeps."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reset()
        self._turn()

    def reset(self) -> None:
        self.longest_cpu_s = self.longest_s = 0.0
        self.long_count = 0
        self._cpu_s, self._s = time.thread_time(), time.perf_counter()

    def _turn(self) -> None:
        cpu_s, now_s = time.thread_time(), time.perf_counter()
        self.longest_cpu_s = max(self.longest_cpu_s, cpu_s - self._cpu_s)
        self.longest_s = max(self.longest_s, now_s - self._s)
        self.long_count += cpu_s - self._cpu_s > LONG_S
        self._cpu_s, self._s = cpu_s, now_s
        self._loop.call_soon(self._turn)


def peak_mib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


async def serve(port: int, directory: Path) -> None:
    """Serve until stdin ends; for each line of it, print what was counted since the one before."""
    config = ServerConfig(port=port, data_dir=directory)
    server = Server(config, make_engine(config))
    await server.start()
    turns = Turns()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("ready", flush=True)
    while await lines.readline():
        counted = {"cpu_ms": turns.longest_cpu_s * 1e3, "ms": turns.longest_s * 1e3, "long": turns.long_count}
        print(json.dumps({**counted, "peak_mib": peak_mib()}), flush=True)
        turns.reset()
    await server.stop()


# --- the clients ---


class Target:
    """The attacked server. ``scale``: of every number."""

    def __init__(self, port: int, scale: float) -> None:
        self.port, self._scale = port, scale

    def many(self, count: int) -> int:
        return max(1, round(count * self._scale))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> int:
        """Send one request, read its answer, return the status; 0 for a connection that was cut."""
        async with self.connected() as (reader, writer):
            writer.write(request(method, path, body, **fields))
            return await answered(reader)

    async def all(self, asked: list[Awaitable[int]], at_once: int = 64) -> list[int]:
        gate = asyncio.Semaphore(at_once)

        async def one(ask: Awaitable[int]) -> int:
            async with gate:
                return await ask

        return await asyncio.gather(*map(one, asked))


def request(method: str, path: str, body: bytes = b"", **fields: str) -> bytes:
    named = {"Host": "x", "Content-Length": str(len(body)), **fields}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def answered(reader: asyncio.StreamReader) -> int:
    try:
        async with asyncio.timeout(GONE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            return int(head[9:12])
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return 0


JSON = "application/json"
TEXT = "text/plain"


async def follow(target: Target) -> None:
    """Connections that follow the same streams, and a batch that touches all of them."""
    streams, connections = target.many(1_000), target.many(400)
    await target.all([target.ask("PUT", f"{ROOT}/f{n}", Content_Type=TEXT) for n in range(streams)])
    body = json.dumps([{"path": f"f{n}"} for n in range(streams)]).encode()
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            reader, writer = await stack.enter_async_context(target.connected())
            writer.write(request("POST", f"{ROOT}/__ds/follow", body))
            stack.callback(asyncio.ensure_future(drained(reader)).cancel)
        await asyncio.sleep(5)
        lines = b"\n".join(
            b'{"path":"f%d","content_type":"text/plain","body":"%s"}' % (n, b"x" * 60) for n in range(streams)
        )
        for _ in range(3):
            await target.ask("POST", f"{ROOT}/__ds/batch", lines)
        await asyncio.sleep(10)


async def drained(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(1 << 18):
            pass


async def follow_history(target: Target) -> None:
    """One connection that follows streams with much in them."""
    streams = target.many(500)
    await target.all([target.ask("PUT", f"{ROOT}/h{n}", b"y" * 200_000, Content_Type=TEXT) for n in range(streams)])
    async with target.connected() as (reader, writer):
        writer.write(
            request("POST", f"{ROOT}/__ds/follow", json.dumps([{"path": f"h{n}"} for n in range(streams)]).encode())
        )
        draining = asyncio.ensure_future(drained(reader))
        await asyncio.sleep(5)
        draining.cancel()


async def forks(target: Target) -> None:
    """Forks whose base is deep behind their offset."""
    await target.ask("PUT", f"{ROOT}/deep", b"[" + b",".join([b"1"] * 2_000_000) + b"]", Content_Type=JSON)
    fields = {"Stream_Forked_From": f"{ROOT}/deep", "Stream_Fork_Offset": "-1", "Stream_Fork_Sub_Offset": "100000"}
    await target.all([target.ask("PUT", f"{ROOT}/k{n}", **fields) for n in range(target.many(300))], 300)


async def tails(target: Target) -> None:
    """Searches for the last messages."""
    body = b"[" + b",".join([b"1"] * 2_000_000) + b"]"
    await target.ask("PUT", f"{ROOT}/long", body, Content_Type=JSON)
    await target.all([target.ask("GET", f"{ROOT}/long?tail=10000") for _ in range(target.many(200))], 200)


async def subscriptions(target: Target) -> None:
    """Patterns that match every stream, and appends to one and to new ones."""
    await target.ask("PUT", f"{ROOT}/wakes", Content_Type=JSON)
    body = json.dumps({"type": "pull-wake", "pattern": "jobs/*", "wake_stream": "wakes"}).encode()
    count = target.many(500)
    await target.all(
        [target.ask("PUT", f"{ROOT}/__ds/subscriptions/s{n}", body, Content_Type=JSON) for n in range(count)]
    )
    streams = target.many(200)
    await target.all([target.ask("PUT", f"{ROOT}/jobs/{n}", Content_Type=TEXT) for n in range(streams)])
    for _ in range(50):
        await target.ask("POST", f"{ROOT}/jobs/0", b"x", Content_Type=TEXT)
    lines = b"\n".join(b'{"path":"jobs/%d","content_type":"text/plain","body":"x"}' % n for n in range(streams))
    await target.ask("POST", f"{ROOT}/__ds/batch", lines)


async def unknown_names(target: Target) -> None:
    """Batches whose streams are not there."""
    lines = b"\n".join(b'{"path":"none/%d","json":1}' % n for n in range(4_096))
    await target.all([target.ask("POST", f"{ROOT}/__ds/batch", lines) for _ in range(target.many(16))], 16)


async def large_json(target: Target) -> None:
    """Large bodies that have to be checked."""
    await target.ask("PUT", f"{ROOT}/json", Content_Type=JSON)
    body = b"[" + b",".join([b'{"a":[1,2.5,"x"]}'] * 880_000) + b"]"
    await target.all([target.ask("POST", f"{ROOT}/json", body, Content_Type=JSON) for _ in range(target.many(16))], 8)


async def tiny_lines(target: Target) -> None:
    """Uploads of very many lines."""
    await target.ask("PUT", f"{ROOT}/lines", Content_Type=JSON)
    body, fields = b"1\n" * 120_000, {"Content_Type": JSON, "Stream_Append_Mode": "stream"}
    await target.all([target.ask("POST", f"{ROOT}/lines", body, **fields) for _ in range(target.many(64))])


async def stuck_readers(target: Target) -> None:
    """Clients that ask for a large message and take nothing."""
    await target.ask("PUT", f"{ROOT}/big", b'"' + b"x" * (15 * MIB) + b'"', Content_Type=JSON)
    async with AsyncExitStack() as stack:
        for number in range(target.many(200)):
            _, writer = await stack.enter_async_context(target.connected())
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            query = ("offset=-1", "offset=-1&max-bytes=16777216", "offset=-1&live=sse")[number % 3]
            writer.write(request("GET", f"{ROOT}/big?{query}"))
        await asyncio.sleep(5)


async def line_ends(target: Target) -> None:
    """Live readers of nothing but line ends, of which each is a line of an event."""
    await target.ask("PUT", f"{ROOT}/ends", b"\n" * (8 * MIB), Content_Type=TEXT)
    async with AsyncExitStack() as stack:
        for _ in range(target.many(50)):
            reader, writer = await stack.enter_async_context(target.connected())
            writer.write(request("GET", f"{ROOT}/ends?offset=-1&live=sse"))
            stack.callback(asyncio.ensure_future(drained(reader)).cancel)
        await asyncio.sleep(8)


ATTACKS: list[Callable[[Target], Awaitable[None]]] = [
    follow,
    follow_history,
    forks,
    tails,
    subscriptions,
    unknown_names,
    large_json,
    tiny_lines,
    stuck_readers,
    line_ends,
]


async def health(target: Target, waits_ms: list[float]) -> None:
    """Ask for the server's health, one request after another."""
    async with target.connected() as (reader, writer):
        while True:
            began_s = time.perf_counter()
            writer.write(request("GET", "/healthz"))
            if await answered(reader) != 200:
                waits_ms.append(float("inf"))
                return
            waits_ms.append((time.perf_counter() - began_s) * 1e3)
            await asyncio.sleep(0.01)


async def attacked(attack: Callable[[Target], Awaitable[None]], scale: float) -> str:
    """Return one line on a new server under one attack."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "bench.stall", "--serve", str(port), directory]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        await process.stdout.readline()
        target, waits_ms = Target(port, scale), [0.0]
        asking = asyncio.ensure_future(health(target, waits_ms))
        process.stdin.write(b"\n")
        await process.stdout.readline()
        await attack(target)
        asking.cancel()
        process.stdin.write(b"\n")
        counted: dict[str, Any] = json.loads(await process.stdout.readline())
        process.kill()
        await process.wait()
    return (
        f"{attack.__name__:16} {counted['cpu_ms']:9.1f} {counted['ms']:9.1f} {counted['long']:6} "
        f"{max(waits_ms):11.1f} {counted['peak_mib']:9}"
    )


async def run(names: list[str], scale: float) -> None:
    print(f"{'attack':16} {'cpu ms':>9} {'clock ms':>9} {'>50 ms':>6} {'healthz ms':>11} {'peak MiB':>9}", flush=True)
    for attack in ATTACKS:
        if not names or attack.__name__ in names:
            print(await attacked(attack, scale), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of every number of the attacks")
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", choices=[attack.__name__ for attack in ATTACKS] + [[]])
    arguments = parser.parse_args()
    configure_logs("logfmt")
    if arguments.serve:
        uvloop.run(serve(int(arguments.serve[0]), Path(arguments.serve[1])))
    else:
        uvloop.run(run(arguments.names, arguments.scale))


if __name__ == "__main__":
    main()

"""What the agent adapter costs, and how late its readers are.

    python -m bench.agents overhead          CPU per token: adapter, with shared requests and without; idempotent
                                             producer by hand; one append per token
    python -m bench.agents runs --runs 500   concurrent runs at 30 tokens/s through real adapter processes, with the
                                             time from a token's making to its reading, of a sample of readers

Server, adapters and readers are processes of their own on this machine. Token texts carry the monotonic clock, which is
one for all processes of a machine. Tokens come at exact intervals from a staggered start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import uvloop

from durable_streams.agents import write
from durable_streams.agents.events import TextDelta
from durable_streams.client import AsyncDurableStream, BatchAppender, IdempotentProducer, astream
from tests.agents.serving import AdapterProcess
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from durable_streams.agents import Run

SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
RATE = float(os.environ.get("BENCH_RATE", "30"))


async def tokens(offset: float = 0.0) -> AsyncIterator[str]:
    """Yield RATE tokens a second for SECONDS, each its own time of making."""
    start = time.monotonic() + offset
    for number in range(int(RATE * SECONDS)):
        await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
        yield f"{time.monotonic_ns()} "


class Ticking:
    """The source the adapter processes run."""

    async def open(self, run: Run) -> AsyncGenerator[TextDelta, None]:
        async for token in tokens(int(run.identity.run_id[:4], 16) / 65536):
            yield TextDelta("t", token)


async def by_adapter(url: str, offset: float) -> None:
    await write(tokens(offset), to=url)


async def by_adapter_sharing(url: str, offset: float) -> None:
    """As the service does it: what all runs of a process append travels together."""
    async with AsyncDurableStream(url, appender=_shared[0]) as stream:
        await write(tokens(offset), to=stream)


_shared: list[BatchAppender] = []


async def by_producer(url: str, offset: float) -> None:
    async with (
        await AsyncDurableStream.create(url, content_type="application/json"),
        IdempotentProducer(url, "gen", content_type="application/json", linger_ms=50) as producer,
    ):
        async for token in tokens(offset):
            producer.append(json.dumps({"type": "text-delta", "id": "t", "delta": token}))
        await producer.close_stream()


async def by_appends(url: str, offset: float) -> None:
    async with await AsyncDurableStream.create(url, content_type="application/json") as stream:
        async for token in tokens(offset):
            await stream.append(json.dumps({"type": "text-delta", "id": "t", "delta": token}))
        await stream.close_stream()


async def idle(_url: str, offset: float) -> None:
    async for _ in tokens(offset):
        pass


async def overhead(streams: int) -> None:
    """Print CPU per token of this process, for each way of writing the same tokens."""
    ways: dict[str, Callable[[str, float], Awaitable[None]]] = {
        "adapter, sharing": by_adapter_sharing,
        "adapter": by_adapter,
        "producer by hand": by_producer,
        "one append per token": by_appends,
    }

    with tempfile.TemporaryDirectory() as directory, ServerProcess(Path(directory)) as server:
        _shared.append(BatchAppender(server.stream_url("")))
        floor = await _cpu_us_per_token(server, idle, streams=streams, name="idle")
        print(f"{streams} streams at {RATE:g} tokens/s for {SECONDS:g} s; making the tokens alone: {floor:.0f} µs each")
        for name, way in ways.items():
            before_s = server.cpu_s()
            spent = await _cpu_us_per_token(server, way, streams=streams, name=name.replace(" ", "-"))
            server_us = (server.cpu_s() - before_s) / (streams * RATE * SECONDS) * 1e6
            print(f"  {name:22} {spent - floor:6.0f} µs of CPU per token, and {server_us:5.0f} µs in the server")
        await _shared.pop().aclose()


async def _cpu_us_per_token(
    server: ServerProcess, way: Callable[[str, float], Awaitable[None]], *, streams: int, name: str
) -> float:
    before = _cpu_s()
    await asyncio.gather(*(way(server.stream_url(f"{name}/{n}"), n / streams / RATE) for n in range(streams)))
    return (_cpu_s() - before) / (streams * RATE * SECONDS) * 1e6


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def runs(count: int, processes: int, readers: int) -> None:
    """Print latencies and CPU of many concurrent runs."""
    with tempfile.TemporaryDirectory() as directory, ServerProcess(Path(directory)) as server:
        floor = await _cpu_us_per_token(server, idle, streams=count // processes, name="idle")
        root = server.stream_url("").rstrip("/")
        source = ["--source", "bench.agents:Ticking"]
        environment = {"BENCH_SECONDS": str(SECONDS), "BENCH_RATE": str(RATE)}
        adapters = [AdapterProcess(root, source, environment=environment) for _ in range(processes)]
        for adapter in adapters:
            adapter.__enter__()
        try:
            urls = await _start(adapters, count)
            result = await _followed(urls[:: max(1, count // readers)])
            server_s = server.cpu_s()
            adapter_s = [_process_cpu_s(adapter.pid) for adapter in adapters]
        finally:
            for adapter in adapters:
                adapter.close()
    latencies = sorted(result["latencies_ms"])
    total = count * RATE * SECONDS
    print(f"{count} runs at {RATE:g} tokens/s for {SECONDS:g} s, {processes} adapter processes")
    print(f"  whole answers read: {result['whole']} of {result['read']}; tokens seen: {len(latencies)}")
    quantiles = {q: latencies[min(len(latencies) - 1, int(len(latencies) * q))] for q in (0.5, 0.9, 0.99, 0.999)}
    said = ", ".join(f"p{q * 100:g} {ms:.0f} ms" for q, ms in quantiles.items())
    print(f"  made to read: {said}, mean {statistics.fmean(latencies):.0f} ms")
    print(f"  tokens per stored delta: {result['per_delta']:.1f}")
    adapters_us = sum(adapter_s) / total * 1e6
    print(f"  CPU: adapters {adapters_us:.0f} µs per token, server {server_s / total * 1e6:.0f} µs")
    print(f"  of that, making the tokens alone takes {floor:.0f} µs: a model would do that elsewhere")


async def _followed(urls: list[str]) -> dict[str, Any]:
    """Return what a process of readers has seen."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.agents", "follow", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS * 6 + 120):
        out, _ = await process.communicate("\n".join(urls).encode())
    result: dict[str, Any] = json.loads(out)
    return result


async def _start(adapters: list[AdapterProcess], count: int) -> list[str]:
    """Start runs, a few at a time, and return their streams' addresses."""
    gate = asyncio.Semaphore(16)

    async def start(session: aiohttp.ClientSession, number: int) -> str:
        message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "go"}]}
        body = {"id": f"bench-{number}", "messages": [message]}
        adapter = adapters[number % len(adapters)]
        async with gate, session.post(f"{adapter.url}/api/chat", json=body) as answer:
            url: str = (await answer.json())["streamUrl"]
            return url

    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(start(session, number) for number in range(count)))


def _process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def follow(urls: list[str]) -> None:
    """Read streams live and print, as JSON, how late every token was."""
    latencies_ms: list[float] = []
    deltas = whole = 0

    async def read(url: str) -> None:
        nonlocal deltas, whole
        seen = 0
        live = False
        async with astream(url, live="sse") as response:
            async for event in response.iter_events("json"):
                now_ns = time.monotonic_ns()
                # What was there before this reader came is history, not late.
                for chunk in event.data or ():
                    if chunk["type"] == "text-delta":
                        made = [int(token) for token in chunk["delta"].split()]
                        deltas += 1
                        seen += len(made)
                        latencies_ms.extend((now_ns - at) / 1e6 for at in made if live)
                    whole += chunk["type"] == "finish" and seen == int(RATE * SECONDS)
                live = live or event.up_to_date

    await asyncio.gather(*(read(url) for url in urls))
    per_delta = whole * RATE * SECONDS / max(1, deltas)
    print(json.dumps({"latencies_ms": latencies_ms, "whole": whole, "read": len(urls), "per_delta": per_delta}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "runs", "follow"])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--readers", type=int, default=50)
    asked = parser.parse_args()
    if asked.what == "overhead":
        uvloop.run(overhead(asked.streams))
    elif asked.what == "runs":
        uvloop.run(runs(asked.runs, asked.processes, asked.readers))
    else:
        uvloop.run(follow(sys.stdin.read().split()))


if __name__ == "__main__":
    main()

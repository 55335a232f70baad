"""How a server bears many streams: created, restarted, present."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.fleet import percentile, run_load
from bench.load.http import Client, request
from bench.workloads.base import BYTES, Measurement, Meter, Usual, fresh_name, measured

if TYPE_CHECKING:
    from pathlib import Path

    from bench.peers import Peer
    from bench.process import RunningServer

FIRST_READS = 200


class Creates(Usual):
    """20k streams created over 16 connections; then a restart, where streams are kept, and first reads."""

    name, title, unit, family = "creates", "20k streams created, 16 connections", "creates/s", "create"
    once = True

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        prefix = fresh_name("n")
        paths = [server.path(f"{prefix}/{number}") for number in range(4_000 if quick else 20_000)]
        meter = Meter(server)
        task = {"port": server.port, "paths": paths, "connections": 16, "method": "PUT", "content_type": BYTES}
        result = run_load("append", {**task, "count": len(paths), "seconds": 25})
        measurement = measured(result, meter, result["count"] / result["elapsed_s"])
        if result["count"] < len(paths):
            measurement.note = f"stopped after {result['count']:,}"
        if server.peer.keeps:
            server.restart()
            measurement.more["restart_s"] = server.start_s
            measurement.more["first_read_p50_ms"] = first_reads(server, paths[: max(1, result["count"] - 16)])
        return measurement


class MillionStreams(Usual):
    """A store that holds a million streams: how long until it answers, what it costs to have them."""

    name, title, unit, family = "million", "1M streams present: start to first answer", "s", "ours"
    more_is_better = False
    once = True

    def suits(self, peer: Peer) -> bool:
        return peer.is_ours

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        empty_s, empty_mib = server.start_s, server.anon_kib() / 1024
        server.stop()
        count = 100_000 if quick else 1_000_000
        fill(server.data_dir, count)
        server.start()
        meter = Meter(server)
        time.sleep(5.0)
        idle_percent = meter.used_s() / 5.0 * 100
        paths = [server.path(f"m/{number:07}") for number in range(0, count, count // FIRST_READS)]
        first_ms = first_reads(server, paths)
        more = {
            "empty_start_s": empty_s,
            "empty_mib": empty_mib,
            "present_mib": server.anon_kib() / 1024,
            "idle_core_percent": idle_percent,
            "first_read_p50_ms": first_ms,
        }
        return Measurement(server.start_s, count=count, more=more)


def fill(data_dir: Path, count: int) -> None:
    """Put streams into a stopped server's store, through its engine: a million requests would be the whole run."""
    from durable_streams.engine.base import Mutation  # noqa: PLC0415 no other workload looks inside
    from durable_streams.engine.lmdb.engine import LmdbEngine  # noqa: PLC0415
    from durable_streams.protocol.head import Head, Record, encode_record  # noqa: PLC0415

    record = encode_record(Record(BYTES))
    now_ms = int(time.time() * 1000)
    engine = LmdbEngine(data_dir)
    engine.open()
    for start in range(0, count, 20_000):
        heads = [
            Head(f"m/{number:07}", (now_ms << 20) + number, 1, 0, 0, now_ms, 0, 0, record)
            for number in range(start, min(start + 20_000, count))
        ]
        engine.commit([[Mutation(head.path, None, head)] for head in heads])
    engine.close()


def first_reads(server: RunningServer, paths: list[str]) -> float:
    """Return the median milliseconds of reading streams for the first time since the start."""

    async def read() -> list[float]:
        client = await Client.connect(server.port)
        taken_ms = []
        for path in paths[:: max(1, len(paths) // FIRST_READS)]:
            start_s = time.perf_counter()
            await client.expect(request("GET", f"{path}?offset=-1"), 200)
            taken_ms.append((time.perf_counter() - start_s) * 1000)
        client.close()
        return sorted(taken_ms)

    return percentile(asyncio.run(read()), 0.5)

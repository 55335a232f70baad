"""Appends: small ones over more and more connections, JSON batches, large ones. Every one is read back and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fleet import percentile, run_load
from bench.workloads.base import BYTES, JSON, Measurement, Meter, Usual, create, fresh_name, measured, read_back

if TYPE_CHECKING:
    from bench.load.base import Task
    from bench.process import RunningServer

SMALL_BYTES = 100
WARM_S = 0.3


class Appends(Usual):
    """Small appends, each connection sending the next when the one before is answered.

    Args:
        connections, streams: how many; connection n appends to stream n modulo ``streams``.
        quick: part of the quick run.
        producers: each connection is a producer with its own id and sequence.
    """

    unit, family = "appends/s", "append"

    def __init__(self, connections: int, streams: int = 1, *, quick: bool = False, producers: bool = False) -> None:
        self._connections, self._streams, self._producers = connections, streams, producers
        self.quick = quick
        over = f" over {streams} streams" if streams > 1 else ""
        as_producers = ", idempotent producers" if producers else ""
        plural = "s" if connections > 1 else ""
        self.title = f"100 B appends, {connections} connection{plural}{over}{as_producers}"
        self.name = f"append-{connections}" + (f"x{streams}" if streams > 1 else "") + "-producers" * producers

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        paths = create(server, *(fresh_name("a") for _ in range(self._streams)))
        warm = run_load("append", self._task(server, paths, WARM_S, first_epoch=True))
        meter = Meter(server)
        result = run_load("append", self._task(server, paths, 1.0 if quick else 2.0))
        measurement = measured(result, meter, result["count"] / result["elapsed_s"])
        if not server.peer.can:
            self._check(server, paths, count=warm["count"] + result["count"], measurement=measurement)
        return measurement

    def _task(self, server: RunningServer, paths: list[str], seconds: float, *, first_epoch: bool = False) -> Task:
        return {
            "port": server.port,
            "paths": paths,
            "connections": self._connections,
            "seconds": seconds,
            "body_bytes": SMALL_BYTES,
            "content_type": BYTES,
            "producers": ("w" if first_epoch else "p") if self._producers else "",
        }

    @staticmethod
    def _check(server: RunningServer, paths: list[str], *, count: int, measurement: Measurement) -> None:
        stored = read_back(server, paths)["bytes"]
        if stored != count * SMALL_BYTES:
            measurement.faults.append(f"{count * SMALL_BYTES} bytes acknowledged, {stored} stored")


class LoneAppend(Usual):
    """One connection: what one append takes, from sending to its answer."""

    name, title, unit, family = "lone", "Lone append, p50", "ms", "lone"
    more_is_better = False
    quick = True

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        paths = create(server, fresh_name("lone"))
        task = {"port": server.port, "paths": paths, "connections": 1, "body_bytes": 100, "content_type": BYTES}
        run_load("append", {**task, "seconds": WARM_S})
        meter = Meter(server)
        result = run_load("append", {**task, "seconds": 1.0 if quick else 2.0})
        measurement = measured(result, meter, percentile(result["latencies_ms"], 0.5))
        measurement.more["per_s"] = result["count"] / result["elapsed_s"]
        return measurement


class JsonBatches(Usual):
    """JSON arrays of 100 messages of 100 B: what buffering clients send."""

    name, title, unit, family = "json-batches", "JSON batches of 100, 16 connections", "messages/s", "json"
    quick = True

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("j"), content_type=JSON)
        body = "[" + ",".join('"@t' + "x" * 96 + '"' for _ in range(100)) + "]"
        meter = Meter(server)
        task = {"port": server.port, "paths": [path], "connections": 16, "body": body, "content_type": JSON}
        result = run_load("append", {**task, "seconds": 1.0 if quick else 2.0})
        used_s = meter.used_s()
        count = result["count"] * 100
        measurement = measured(result, meter, count / result["elapsed_s"])
        measurement.count, measurement.cpu_us = count, used_s / max(count, 1) * 1e6
        stored = read_back(server, [path], "@t")["count"]
        if stored != count:
            measurement.faults.append(f"{count} messages acknowledged, {stored} stored")
        return measurement


class LargeAppends(Usual):
    """1 MiB each, four connections on one stream."""

    name, title, unit, family = "append-1mib", "1 MiB appends, 4 connections", "MB/s", "large"
    quick = True

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("l"))
        meter = Meter(server)
        task = {"port": server.port, "paths": [path], "connections": 4, "body_bytes": 1 << 20, "content_type": BYTES}
        result = run_load("append", {**task, "seconds": 1.0 if quick else 2.0})
        measurement = measured(result, meter, result["count"] * (1 << 20) / 1e6 / result["elapsed_s"])
        stored = read_back(server, [path])["bytes"]
        if stored != result["count"] << 20:
            measurement.faults.append(f"{result['count'] << 20} bytes acknowledged, {stored} stored")
        return measurement

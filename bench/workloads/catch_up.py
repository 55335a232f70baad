"""Catch-up: how fast a stream is read that is already there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.fleet import run_load
from bench.workloads.base import BYTES, JSON, Measurement, Meter, Usual, create, fresh_name, measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load.base import Task
    from bench.peers import Peer
    from bench.process import RunningServer

FILL_S = 8.0
"""Filling a stream takes at most this; a slower server is read with what it has by then, and the row says so."""
PACKED_WITHIN_S = 12.0
NEVER_MS = 3_600_000


class SmallMessages(Usual):
    """100k JSON messages of 100 B, appended singly by few connections, then read whole.

    Args:
        readers: at once. packed: whether our server gets the time to merge small chunks first.
    """

    unit, family = "messages/s", "catch-up"
    once = True

    def __init__(self, readers: int, *, packed: bool, quick: bool = False) -> None:
        self._readers, self._packed, self.quick = readers, packed, quick
        state = "" if packed else ", before packing"
        self.name = f"catch-up-small-{readers}" + ("" if packed else "-unpacked")
        self.title = f"Catch-up of 100k small messages, {readers} reader{'s' * (readers > 1)}{state}"

    def arguments(self, peer: Peer) -> Sequence[str]:
        return () if self._packed or not peer.is_ours else ("--sweep-interval-ms", str(NEVER_MS))

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("c"), content_type=JSON)
        fill = {"port": server.port, "paths": [path], "connections": 4, "count": 20_000 if quick else 100_000}
        body = '"@t' + "x" * 95 + '"'
        filled = run_load("append", {**fill, "seconds": FILL_S, "body": body, "content_type": JSON})
        if server.peer.is_ours and self._packed:
            wait_until_idle(server)
        meter = Meter(server)
        result = run_load("pages", *read_tasks(server, path, readers=self._readers, mark="@t"))
        measurement = measured(result, meter, result["count"] / result["elapsed_s"])
        measurement.more["seconds_per_100k"] = result["elapsed_s"] / filled["count"] * 1e5
        if result["count"] != filled["count"] * self._readers:
            measurement.faults.append(f"{filled['count']} messages appended, {result['count']} read")
        if filled["count"] < fill["count"]:
            measurement.note = f"of {filled['count']:,} messages"
        return measurement


class LargeBinary(Usual):
    """100 MB of bytes, appended in pieces of 1 MiB."""

    unit, family = "MB/s", "catch-up"

    def __init__(self, readers: int, *, quick: bool = False) -> None:
        self._readers, self.quick = readers, quick
        self.once = readers > 1
        self.name = f"catch-up-100mb-{readers}"
        self.title = f"Catch-up of 100 MB binary, {readers} reader{'s' * (readers > 1)}"

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("b"))
        fill = {"port": server.port, "paths": [path], "connections": 2, "count": 25 if quick else 100}
        filled = run_load("append", {**fill, "seconds": FILL_S, "body_bytes": 1 << 20, "content_type": BYTES})
        meter = Meter(server)
        result = run_load("pages", *read_tasks(server, path, readers=self._readers, mark=""))
        megabytes = result["bytes"] / 1e6
        measurement = measured(result, meter, megabytes / result["elapsed_s"])
        measurement.count, measurement.cpu_us = result["pages"], meter.used_s() / megabytes * 1e6
        measurement.note = "CPU for each MB"
        if result["bytes"] != (filled["count"] << 20) * self._readers:
            measurement.faults.append(f"{filled['count'] << 20} bytes appended, {result['bytes']} read")
        return measurement


def read_tasks(server: RunningServer, path: str, *, readers: int, mark: str) -> list[Task]:
    """Return the tasks of two generators, or one for one reader."""
    shares = [readers // 2, readers - readers // 2] if readers > 1 else [1]
    return [{"port": server.port, "paths": [path], "readers": share, "mark": mark, "seconds": 0} for share in shares]


def wait_until_idle(server: RunningServer) -> None:
    """Return once the server has nothing left to do on its own, packing above all."""
    until_s = time.monotonic() + PACKED_WITHIN_S
    time.sleep(6.5)  # a run counts as cold after five seconds
    while time.monotonic() < until_s:
        meter = Meter(server)
        time.sleep(1.2)
        if meter.used_s() < 0.03:
            return

"""What a workload is, what it returns, and what most of them need."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bench.fleet import percentile, run_load
from bench.load.http import Client, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.load.base import Task
    from bench.peers import Peer
    from bench.process import RunningServer

BUSY_SHARE = 0.9
"""A generator that uses more of its core than this may have been the limit: the row says so."""
BYTES, JSON = "application/octet-stream", "application/json"
_numbers = itertools.count()


@dataclass
class Measurement:
    """One run of one workload on one server.

    value: what the table shows, in the workload's unit. more: other figures by name, with their unit in it.
    count: operations done. cpu_us: server processor time for each. anon_mib, rss_mib: the most memory it had.
    share: the busiest generator's share of a core. faults: what was lost or refused; such a row does not count.
    """

    value: float
    count: int = 0
    cpu_us: float = 0.0
    share: float = 0.0
    more: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    note: str = ""
    anon_mib: float = 0.0
    rss_mib: float = 0.0


class Workload(Protocol):
    """One workload.

    name: on the command line, and of its chart. title: in the table. unit: of ``value``; more_is_better: its sense.
    family: what a floor must be able to do to take part. quick: part of the quick run. once: too long for rounds.
    """

    name: str
    title: str
    unit: str
    more_is_better: bool
    family: str
    quick: bool
    once: bool

    def suits(self, peer: Peer) -> bool:
        """Whether it makes sense on this peer."""

    def arguments(self, peer: Peer) -> Sequence[str]:
        """Return more of the server's command line."""

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        """Run it on a server that has just started."""


class Usual:
    """Defaults of a workload."""

    name = title = unit = family = ""
    more_is_better = True
    quick = once = False

    def suits(self, peer: Peer) -> bool:
        return not peer.can or self.family in peer.can

    def arguments(self, peer: Peer) -> Sequence[str]:  # noqa: ARG002 most take none
        return ()


class Meter:
    """Processor time of a server between two moments."""

    def __init__(self, server: RunningServer) -> None:
        self._server, self._before_s = server, server.cpu_s()

    def used_s(self) -> float:
        return self._server.cpu_s() - self._before_s

    def each_us(self, count: int) -> float:
        return self.used_s() / count * 1e6 if count else 0.0


def fresh_name(prefix: str) -> str:
    """Return a stream name not used before."""
    return f"{prefix}-{next(_numbers)}"


def ask(server: RunningServer, raws: Iterable[bytes], *statuses: int) -> None:
    """Send requests one after the other over one connection; raise at an unexpected answer."""

    async def send() -> None:
        client = await Client.connect(server.port)
        for raw in raws:
            await client.expect(raw, *statuses)
        client.close()

    asyncio.run(send())


def create(server: RunningServer, *names: str, content_type: str = BYTES) -> list[str]:
    """Create streams; return their URL paths."""
    paths = [server.path(name) for name in names]
    ask(server, (request("PUT", path, b"", content_type) for path in paths), 200, 201)
    return paths


def read_back(server: RunningServer, paths: Sequence[str], mark: str = "") -> Task:
    """Read streams whole; return how many bytes and marks they have."""
    return run_load("pages", {"port": server.port, "paths": list(paths), "readers": 1, "mark": mark, "seconds": 0})


def latencies(result: Task) -> dict[str, float]:
    """Return the usual percentiles of a result's samples."""
    samples: list[float] = result["latencies_ms"]
    return {"p50_ms": percentile(samples, 0.5), "p99_ms": percentile(samples, 0.99)}


def measured(result: Task, meter: Meter, per_s: float, **more: float) -> Measurement:
    """Return a measurement of a finished load whose value is a rate."""
    return Measurement(
        per_s,
        count=result["count"],
        cpu_us=meter.each_us(result["count"]),
        share=result["share"],
        more=(latencies(result) if result["latencies_ms"] else {}) | more,
        faults=list(result["faults"]),
    )

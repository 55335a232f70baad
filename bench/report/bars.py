"""What the server has set out to reach, and whether this run shows it.

Owns: one line for each bar, from the medians of one run. Must not know: how anything was measured.
A bar whose rows are missing in the run is left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.row import Row

FILES, MEMORY, JSONL = "Node, files", "Node, memory", "Rakaia, JSONL"
BARE, NOOP = "floor: asyncio", "floor: aiohttp"
OFFERED = 0.99
"""Of what is offered at a pace, this much is all: the last tick may fall outside the time measured."""


class MissingError(Exception):
    """The run lacks a row, or a row a figure."""


class Figures:
    """Medians by workload and server. ``sync_ms``: one write in place and fdatasync, on the disk measured."""

    def __init__(self, rows: Sequence[Row], sync_ms: float) -> None:
        self._rows = {(row.workload.name, row.peer.name): row for row in rows if row.runs}
        self.sync_ms = sync_ms

    def value(self, workload: str, server: str = "ours") -> float:
        """Return the median of the row's value, zero if something was lost. Raises ``MissingError``."""
        row = self._row(workload, server)
        lost = server == "ours" and any(run.faults for run in row.runs)
        return 0.0 if lost else statistics.median(run.value for run in row.runs)

    def more(self, workload: str, name: str, server: str = "ours") -> float:
        """Return the median of one more figure. Raises ``MissingError``."""
        found = self._row(workload, server).middle(name)
        if found is None:
            raise MissingError(workload, name)
        return found

    def cpu_us(self, workload: str, server: str = "ours") -> float:
        """Return the median of CPU per operation. Raises ``MissingError``."""
        return statistics.median(run.cpu_us for run in self._row(workload, server).runs)

    def times(self, workload: str, server: str) -> float:
        """Return how many times the other server's rate ours is. Raises ``MissingError``."""
        return self.value(workload) / self.value(workload, server)

    def _row(self, workload: str, server: str) -> Row:
        try:
            return self._rows[workload, server]
        except KeyError:
            raise MissingError(workload, server) from None


Measure: TypeAlias = Callable[[Figures], float]


@dataclass(frozen=True)
class Bar:
    """``measure`` must be at least, or with ``most`` at most, ``bound``; ``unit`` as shown behind both."""

    what: str
    measure: Measure
    bound: float
    unit: str = "times"
    most: bool = False

    def met(self, measured: float) -> bool:
        """Whether a measured figure is good enough."""
        return measured <= self.bound if self.most else measured >= self.bound


def _times(workload: str, server: str) -> Measure:
    return lambda figures: figures.times(workload, server)


def _appends(workload: str, title: str, in_memory: float) -> list[Bar]:
    return [
        Bar(f"{title}: file-backed Node", _times(workload, FILES), 25),
        Bar(f"{title}: JSONL Rakaia", _times(workload, JSONL), 25),
        Bar(f"{title}: Node in memory", _times(workload, MEMORY), in_memory),
        Bar(f"{title}: CPU each", lambda figures: figures.cpu_us(workload), 25, "µs", most=True),
    ]


def _lone(figures: Figures) -> float:
    return figures.value("lone") / (figures.sync_ms + figures.value("lone", NOOP))


def _p99(workload: str, server: str) -> Measure:
    return lambda figures: figures.more(workload, "p99_ms", server) / figures.more(workload, "p99_ms")


BARS: tuple[Bar, ...] = (
    *_appends("append-64", "100 B appends, 64 connections", 1),
    *_appends("append-256", "100 B appends, 256 connections", 1.5),
    *_appends("append-64x64", "100 B appends, 64 connections, 64 streams", 1),
    Bar("lone append, p50: one fdatasync and one no-op round trip", _lone, 1.5, most=True),
    Bar("JSON batches of 100: Node in memory", _times("json-batches", MEMORY), 1),
    Bar("1 MiB appends: file-backed Node", _times("append-1mib", FILES), 1.5),
    Bar("SSE to 1,000 readers: deliveries", lambda figures: figures.value("sse-1000"), 50_000 * OFFERED, "/s"),
    Bar("SSE to 1,000 readers: p99 of Node in memory, in ours", _p99("sse-1000", MEMORY), 3),
    Bar(
        "SSE to 1,000 readers: CPU each, in the floor's",
        lambda figures: figures.cpu_us("sse-1000") / figures.cpu_us("sse-1000", BARE),
        1.5,
        most=True,
    ),
    Bar("an idle reader", lambda figures: figures.value("idle-1000"), 6, "KiB", most=True),
    Bar(
        "1,000 idle readers, of a core",
        lambda figures: figures.more("idle-1000", "core_percent"),
        1,
        "%",
        most=True,
    ),
    Bar("SSE to 5,000 readers: Node in memory", _times("sse-5000", MEMORY), 2),
    Bar("long-poll to 500 readers: Node in memory", _times("long-poll-500", MEMORY), 2),
    Bar("200 streams of 50 tokens/s: tokens", lambda figures: figures.value("tokens"), 10_000 * OFFERED, "/s"),
    Bar(
        "200 streams of 50 tokens/s: write to read, p99",
        lambda figures: figures.more("tokens", "p99_ms"),
        15,
        "ms",
        most=True,
    ),
    Bar(
        "100k messages appended one by one, before packing: Node in memory",
        _times("catch-up-small-1-unpacked", MEMORY),
        1,
    ),
    Bar("the same, packed: Node in memory", _times("catch-up-small-1", MEMORY), 3),
    Bar("the same, packed, 16 readers: Node in memory", _times("catch-up-small-16", MEMORY), 5),
    Bar(
        "SSE to 100 readers of a stream of 10k messages: p50, in that of an empty one",
        lambda figures: figures.more("sse-100-after-10000", "p50_ms") / figures.more("sse-100", "p50_ms"),
        1.25,
        most=True,
    ),
    Bar("20k creates: file-backed Node", _times("creates", FILES), 2),
    Bar("1M streams: start to first answer", lambda figures: figures.value("million"), 1, "s", most=True),
    Bar(
        "1M streams: own memory more than empty",
        lambda figures: figures.more("million", "present_mib") - figures.more("million", "empty_mib"),
        2,
        "MiB",
        most=True,
    ),
    Bar(
        "batch append over 1,000 streams, a token a line",
        lambda figures: figures.value("batch-append"),
        100_000,
        "/s",
    ),
    Bar(
        "batch append over 1,000 streams, 8 tokens a line",
        lambda figures: figures.value("batch-append-8"),
        100_000,
        "/s",
    ),
    Bar(
        "streaming append, 64 connections, JSON lines",
        lambda figures: figures.value("streaming-append-json"),
        100_000,
        "/s",
    ),
    Bar(
        "streaming append, 64 connections, text chunks",
        lambda figures: figures.value("streaming-append-text"),
        100_000,
        "/s",
    ),
    Bar(
        "append p99 while 1 GB is read and 1,000 readers tail, in its idle p99",
        lambda figures: figures.more("append-while-read", "times_idle"),
        3,
        most=True,
    ),
)


def render(rows: Sequence[Row], sync_ms: float) -> list[str]:
    """Return the bars as lines of a Markdown table, those that this run has figures for."""
    figures = Figures(rows, sync_ms)
    lines = []
    for bar in BARS:
        try:
            measured = bar.measure(figures)
        except (MissingError, ZeroDivisionError):
            continue
        sign = "≤" if bar.most else "≥"
        verdict = "met" if bar.met(measured) else "**not met**"
        lines.append(f"| {bar.what} | {sign} {shown(bar.bound, bar.unit)} | {shown(measured, bar.unit)} | {verdict} |")
    return ["| bar | at least, at most | measured | |", "|---|---|---|---|", *lines] if lines else []


def shown(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}{unit}" if unit in {"/s", "%"} else f"{text} {unit}"

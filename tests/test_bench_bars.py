"""A bar is met by what the run measured, and left out where it measured nothing."""

from __future__ import annotations

from bench.peers import PEERS
from bench.report.bars import BARS, render
from bench.report.row import Row
from bench.workloads import WORKLOADS
from bench.workloads.base import Measurement


def row(workload: str, server: str, *runs: Measurement) -> Row:
    found = next(each for each in WORKLOADS if each.name == workload)
    return Row(found, next(peer for peer in PEERS if peer.name == server), list(runs))


def verdicts(*rows: Row) -> list[str]:
    return render(rows, 0.2)[2:]


def test_medians_are_compared_with_the_bar() -> None:
    ours = row("append-1mib", "ours", Measurement(100.0), Measurement(160.0), Measurement(400.0))
    assert verdicts(ours, row("append-1mib", "Node, files", Measurement(100.0))) == [
        "| 1 MiB appends: file-backed Node | ≥ 1.5 times | 1.6 times | met |"
    ]
    assert verdicts(ours, row("append-1mib", "Node, files", Measurement(120.0))) == [
        "| 1 MiB appends: file-backed Node | ≥ 1.5 times | 1.33 times | **not met** |"
    ]


def test_what_lost_something_meets_nothing() -> None:
    lossy = Measurement(500_000.0, faults=["1 lost"])
    assert verdicts(row("batch-append", "ours", lossy)) == [
        "| batch append over 1,000 streams, a token a line | ≥ 100,000/s | 0/s | **not met** |"
    ]


def test_at_most_is_the_other_way_round() -> None:
    lone = row("lone", "ours", Measurement(0.5))
    assert verdicts(lone, row("lone", "floor: aiohttp", Measurement(0.15)))[0].endswith(
        "| ≤ 1.5 times | 1.43 times | met |"
    )
    assert verdicts(lone, row("lone", "floor: aiohttp", Measurement(0.1)))[0].endswith("| 1.67 times | **not met** |")


def test_without_figures_there_is_no_table() -> None:
    assert render([], 0.2) == []


def test_every_bar_speaks_of_workloads_and_figures_that_there_are() -> None:
    more = dict.fromkeys(
        ("p50_ms", "p99_ms", "core_percent", "present_mib", "empty_mib", "times_idle", "kib_a_reader"), 2.0
    )
    rows = [Row(workload, peer, [Measurement(2.0, cpu_us=2.0, more=more)]) for workload in WORKLOADS for peer in PEERS]
    assert len(render(rows, 0.2)) == 2 + len(BARS)

"""Measure our server beside its peers: ``python -m bench [--quick] [--only NAMES] [--peers NAMES] [--rounds N]``.

Every workload runs on every server, freshly started on an empty data dir, and the whole of it again in every round; so
what drifts on the machine drifts for all. Results: one JSON line a run and one chart a workload in ``bench/results``,
and a table in ``bench/RESULTS.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import PEERS, Peer
from bench.process import RunningServer
from bench.report import chart, machine, table
from bench.report.row import Row
from bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.workloads import Workload
    from bench.workloads.base import Measurement

HERE = Path(__file__).resolve().parent
ROUNDS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a part of the workloads, short, one round: two minutes")
    parser.add_argument("--only", default="", help="comma-separated names or beginnings of workloads")
    parser.add_argument("--peers", default="", help="comma-separated beginnings of servers' names")
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds (default {ROUNDS}, quick 1)")
    parser.add_argument(
        "--dir", type=Path, default=HERE / ".work", help="data dirs are made here: on the disk measured"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON lines and charts go")
    parser.add_argument("--table", type=Path, default=HERE / "RESULTS.md", help="where the table goes")
    return parser.parse_args()


def matches(name: str, wanted: str) -> bool:
    return not wanted or any(name.lower().startswith(one.strip().lower()) for one in wanted.split(","))


def plan(options: argparse.Namespace) -> list[Row]:
    """Return the rows to fill: each chosen workload on each server that it suits."""
    chosen = [
        workload
        for workload in WORKLOADS
        if matches(workload.name, options.only) and (workload.quick or not options.quick or options.only)
    ]
    if options.only:
        exact = [workload for workload in chosen if workload.name in options.only.split(",")]
        chosen = exact if len(exact) == len(options.only.split(",")) else chosen
    return [
        Row(workload, peer)
        for workload in chosen
        for peer in PEERS
        if matches(peer.name, options.peers) and workload.suits(peer)
    ]


def measure(workload: Workload, peer: Peer, directory: Path, *, quick: bool) -> Measurement:
    """Run one workload once on a fresh server."""
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as home:
        server = RunningServer(peer, Path(home) / "data", workload.arguments(peer))
        with server:
            measurement = workload.run(server, quick=quick)
        measurement.anon_mib, measurement.rss_mib = server.peak_anon_kib / 1024, server.peak_rss_kib / 1024
        return measurement


def attempt(row: Row, directory: Path, *, quick: bool) -> dict[str, object]:
    """Run one row once; a failure is noted and ends nothing else. Returns the run's JSON line."""
    line: dict[str, object] = {"workload": row.workload.name, "server": row.peer.name, "unit": row.workload.unit}
    if row.peer.installed is not None and not row.peer.installed.exists():
        row.failures.append("not installed: see bench/setup.sh")
        return line | {"failed": row.failures[-1]}
    try:
        measurement = measure(row.workload, row.peer, directory, quick=quick)
    except Exception as failure:  # noqa: BLE001 whatever a peer did, the others are still to be measured
        row.failures.append(f"{type(failure).__name__}: {failure}")
        return line | {"failed": row.failures[-1]}
    row.runs.append(measurement)
    return line | asdict(measurement)


def rounds(rows: list[Row], options: argparse.Namespace) -> Iterator[tuple[int, Row]]:
    count = options.rounds or (1 if options.quick else ROUNDS)
    for number in range(count):
        for row in rows:
            if number == 0 or not row.workload.once:
                yield number, row


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    rows = plan(options)
    options.dir.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    sync_ms: list[float] = []
    started_s, last_round = time.monotonic(), -1
    with (options.results / "runs.jsonl").open("w", encoding="utf-8") as lines:
        for number, row in rounds(rows, options):
            if number != last_round:
                if sync_ms:
                    finish(rows, options, sync_ms)
                sync_ms.append(machine.sync_ms(options.dir))
                last_round = number
            line = {"round": number, **attempt(row, options.dir, quick=options.quick)}
            lines.write(json.dumps(line) + "\n")
            lines.flush()
            outcome = line.get("failed") or f"{table.number(row.runs[-1].value)} {row.workload.unit}"
            elapsed_s = time.monotonic() - started_s
            print(
                f"{elapsed_s:6.0f} s  {row.workload.name:28} {row.peer.name:16} {outcome}", file=sys.stderr, flush=True
            )
    print(finish(rows, options, sync_ms))
    if not any(options.dir.iterdir()):
        shutil.rmtree(options.dir)


def finish(rows: list[Row], options: argparse.Namespace, sync_ms: list[float]) -> str:
    """Write the table and the charts, after each round; return the table."""
    described = [*machine.describe(options.dir), f"load average at the end: {os.getloadavg()[0]:.1f}"]
    command = " ".join(["python -m bench", *sys.argv[1:]])
    page = table.render(rows, described, sync_ms, command=command)
    options.table.write_text(page, encoding="utf-8")
    for name in dict.fromkeys(row.workload.name for row in rows):
        picture = chart.draw([row for row in rows if row.workload.name == name])
        (options.results / f"{name}.svg").write_text(picture, encoding="utf-8")
    return page


if __name__ == "__main__":
    main()

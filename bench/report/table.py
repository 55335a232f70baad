"""Measurements of all rounds as one Markdown table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.report import bars
from bench.workloads.base import BUSY_SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.row import Row

HEAD = (
    "| workload | server | median (min to max) | ours is | ms: p50 / p99 | CPU µs | peak MiB: own, resident | more |",
    "|---|---|---|---|---|---|---|---|",
)


def render(rows: Sequence[Row], machine: Sequence[str], sync_ms: Sequence[float], *, command: str) -> str:
    """Return the page: machine, how to read it, the table."""
    sync = statistics.median(sync_ms)
    lines = [
        "# Bench",
        "",
        (
            f"`{command}`: servers started one after the other for each workload, in {max_runs(rows)} interleaved "
            "rounds; what has no range ran once."
        ),
        "",
        *(f"- {line}" for line in machine),
        (
            f"- one page written in place and `fdatasync`: {sync:.3f} ms ({1000 / sync:,.0f}/s), "
            f"{min(sync_ms):.3f} to {max(sync_ms):.3f} over the rounds"
        ),
        "",
        "*ours is*: how many times better ours is, above 1 in its favour. *CPU*: of the server, for each operation. A "
        "row is marked where the load generator used more than 90 % of a core, so may have been the limit, and where "
        "messages were lost or a run failed. What an acknowledgement means: "
        + "; ".join(f"{name}: {synced}" for name, synced in promises(rows).items())
        + ".",
        "",
        *HEAD,
    ]
    ours = {row.workload.name: row.median for row in rows if row.peer.is_ours}
    shown = ""
    for row in rows:
        title = row.workload.title if row.workload.title != shown else ""
        shown = row.workload.title
        lines.append(cells(row, title, ours.get(row.workload.name)))
    judged = bars.render(rows, sync)
    if judged:
        lines += ["", "## Bars", "", "What is set out to be reached, from the medians above.", "", *judged]
    return "\n".join(lines) + "\n"


def max_runs(rows: Sequence[Row]) -> int:
    return max((len(row.runs) + len(row.failures) for row in rows), default=0)


def promises(rows: Sequence[Row]) -> dict[str, str]:
    return {row.peer.name: row.peer.synced for row in rows if row.peer.keeps}


def cells(row: Row, title: str, ours: float | None) -> str:
    """Return one line of the table."""
    if not row.runs:
        why = row.failures[0].replace("|", "/").replace("\n", " ")[:160] if row.failures else "not run"
        return f"| {title} | {row.peer.name} | failed |  |  |  |  | {why} |"
    values = [run.value for run in row.runs]
    shown = f"{number(statistics.median(values))} {row.workload.unit}"
    if len(values) > 1:
        shown += f" ({number(min(values))} to {number(max(values))})"
    cpu = statistics.median(run.cpu_us for run in row.runs)
    own, resident = max(run.anon_mib for run in row.runs), max(run.rss_mib for run in row.runs)
    figures = (
        title,
        row.peer.name,
        shown,
        ratio(row, ours),
        percentiles(row),
        f"{cpu:.1f}" if cpu else "",
        f"{own:.0f}, {resident:.0f}",
        "; ".join(remarks(row)),
    )
    return f"| {' | '.join(figures)} |"


def ratio(row: Row, ours: float | None) -> str:
    median = row.median
    if row.peer.is_ours or not ours or not median:
        return ""
    better = ours / median if row.workload.more_is_better else median / ours
    return f"{better:.2f} times" if better < 10 else f"{better:.0f} times"


def percentiles(row: Row) -> str:
    p50, p99 = row.middle("p50_ms"), row.middle("p99_ms")
    return f"{number(p50)} / {number(p99)}" if p50 is not None and p99 is not None else ""


def remarks(row: Row) -> list[str]:
    """Return what else there is to say: more figures, then what casts doubt on the row."""
    names = dict.fromkeys(name for run in row.runs for name in run.more if name not in {"p50_ms", "p99_ms"})
    said = [f"{name.replace('_', ' ')} {number(row.middle(name) or 0.0)}" for name in names]
    said += sorted({run.note for run in row.runs if run.note})
    share = max(run.share for run in row.runs)
    if share > BUSY_SHARE:
        said.append(f"**generator at {share:.0%} of a core**")
    elif share:
        said.append(f"generator {share:.0%}")
    faults = [fault for run in row.runs for fault in run.faults]
    if faults:
        said.append(f"**{faults[0].replace('|', '/')[:120]}**")
    if row.failures:
        said.append(f"**{len(row.failures)} of {len(row.failures) + len(row.runs)} runs failed**")
    return said


def number(value: float) -> str:
    """Return a figure with about three digits that mean something."""
    if value >= 1_000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"

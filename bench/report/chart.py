"""One bar chart for each workload, as SVG written by hand: nothing to install, and a person can look at it anywhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench.report.table import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.row import Row

WIDTH, LABEL, BAR, GAP, TOP = 860, 150, 26, 14, 64
ROOM = WIDTH - LABEL - 190
LOG_FROM = 30.0
"""A chart whose largest bar is this many times its smallest has a logarithmic scale."""


def draw(rows: Sequence[Row]) -> str:
    """Return the chart of one workload's rows; servers without a figure are left out."""
    shown = [row for row in rows if row.runs and (row.median or 0) > 0]
    medians = [row.median or 0.0 for row in shown]
    highest = max((run.value for row in shown for run in row.runs), default=1.0)
    logarithmic = bool(medians) and max(medians) / min(medians) > LOG_FROM
    lowest = min(medians, default=1.0) / 3 if logarithmic else 0.0

    def length(value: float) -> float:
        if not logarithmic:
            return value / highest * ROOM
        return max(0.0, math.log(max(value, lowest) / lowest) / math.log(highest / lowest)) * ROOM

    workload = rows[0].workload
    sense = "more is better" if workload.more_is_better else "less is better"
    scale = ", logarithmic" if logarithmic else ""
    height = TOP + len(shown) * (BAR + GAP) + 10
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="26" font-size="17" font-weight="bold" fill="#222">{escape(workload.title)}</text>',
        f'<text x="16" y="46" fill="#666">{escape(workload.unit)}, {sense}{scale}; line: range of the rounds</text>',
    ]
    for index, row in enumerate(shown):
        parts += bar(row, TOP + index * (BAR + GAP), length)
    return "\n".join([*parts, "</svg>"]) + "\n"


def bar(row: Row, y: int, length) -> list[str]:  # noqa: ANN001 a function of the chart's scale
    """Return one server's bar, with its range and its figure."""
    values = [run.value for run in row.runs]
    median = row.median or 0.0
    color = "#2563eb" if row.peer.is_ours else "#d4d4d8" if row.peer.can else "#a1a1aa"
    middle = y + BAR / 2
    low, high = LABEL + length(min(values)), LABEL + length(max(values))
    return [
        f'<text x="{LABEL - 10}" y="{middle + 5}" text-anchor="end" fill="#222">{escape(row.peer.name)}</text>',
        f'<rect x="{LABEL}" y="{y}" width="{max(1.0, length(median)):.1f}" height="{BAR}" rx="3" fill="{color}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#111" stroke-width="1.5"/>',
        f'<text x="{max(high, LABEL + length(median)) + 10:.1f}" y="{middle + 5}" fill="#222">{number(median)}</text>',
    ]

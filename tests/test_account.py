"""The whole account of memory: `docs/limits.md` says it as formulas, and the code's own bounds add up to it."""

from __future__ import annotations

import re
from dataclasses import asdict

from durable_streams.commit import heads
from durable_streams.engine.lmdb.journal import JOURNAL_MAX_BYTES
from durable_streams.http.fronts.arriving import STARTS_MAX_BYTES, UNREAD_MAX_BYTES
from durable_streams.http.outgoing import SMALL_MAX_BYTES
from durable_streams.runtime.config import GIB, KIB, MIB, Bounds
from durable_streams.streams.packer import CANDIDATES_MAX
from durable_streams.streams.tail import UNTOLD_MAX_BYTES
from durable_streams.subscriptions import matcher
from tests.serving import REPOSITORY

PAGE = (REPOSITORY / "docs" / "limits.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Memory, all of it")[2].partition("\n## ")[0]
UNITS = {"MiB": MIB, "KiB": KIB, "bytes": 1, "": 1}
COSTS = {
    name: int(count) * UNITS[unit or ""]
    for name, count, unit in re.findall(r"^\| `(\w+)` \| (\d+)(?: (\w+))? \|", SECTION, re.MULTILINE)
}
BOUNDS = {
    **asdict(Bounds()),
    "STARTS_MAX_BYTES": STARTS_MAX_BYTES,
    "UNREAD_MAX_BYTES": UNREAD_MAX_BYTES,
    "UNTOLD_MAX_BYTES": UNTOLD_MAX_BYTES,
    "HEADS_MAX_BYTES": heads.CACHE_MAX_BYTES,
    "MATCHES_MAX_BYTES": matcher.CACHE_MAX_BYTES,
    "CANDIDATES_MAX": CANDIDATES_MAX,
    "JOURNAL_MAX_BYTES": JOURNAL_MAX_BYTES,
}
ROWS = re.findall(r"^\| ([^|*]+) \| `([^`]+)` \| (\d+) \|$", SECTION, re.MULTILINE)


def sizes() -> list[int]:
    return [eval(formula, {"max": max}, BOUNDS | COSTS) for _, formula, _ in ROWS]  # noqa: S307 the page's own formulas


def test_each_row_is_what_the_code_s_bounds_make_it() -> None:
    assert len(ROWS) == 8
    assert [int(shown) * MIB for _, _, shown in ROWS] == sizes()


def test_all_of_them_are_a_gibibyte() -> None:
    assert "| **all** | | **1 024** |" in SECTION
    assert sum(sizes()) == GIB


def test_what_a_connection_holds_before_it_counts_is_part_of_what_it_costs() -> None:
    assert COSTS["CONNECTION"] >= 2 * SMALL_MAX_BYTES

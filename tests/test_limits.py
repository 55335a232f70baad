"""`docs/limits.md` names every fixed bound of the server, where it is, and how large it is."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from typing import NamedTuple

import pytest

from tests.serving import REPOSITORY

PACKAGE = REPOSITORY / "durable_streams"
ELSEWHERE = {"agents", "client", "cli"}
"""Programs of their own."""
BOUND = re.compile(r"(?!_)(\w+_)?(MAX|MIN)(_\w+)?|(?!_)\w+_(BYTES|COUNT|MS|S)")
NO_BOUNDS = {
    "MAX_SID": "a number that the layout of a key can hold",
    "MAX_OFFSET": "the same",
    "CURSOR_EPOCH_S": "a moment, given by the specification",
    "DEFAULT_MAP_SIZE_BYTES": "the default of an option",
}
ROW = re.compile(r"^\| `(?P<module>[a-z_.]+)\.(?P<name>[A-Z_]+)` \| (?P<value>[^|]+) \|", re.MULTILINE)
UNITS = {"BYTES": {"MiB": 1 << 20, "KiB": 1 << 10}, "MS": {"h": 3_600_000, "min": 60_000, "s": 1000}, "S": {}}
BASE = {"BYTES": "bytes", "MS": "ms", "S": "s"}


class Fixed(NamedTuple):
    """A constant at the top of a module."""

    module: str
    name: str


ROWS = {
    Fixed(row["module"], row["name"]): row["value"]
    for row in ROW.finditer((REPOSITORY / "docs" / "limits.md").read_text(encoding="utf-8"))
}


def constants() -> set[Fixed]:
    """Return the public numbers whose names say that they bound something, or what unit they have."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        if place.parts[0] in ELSEWHERE:
            continue
        module = ".".join(place.with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            found |= {Fixed(module, name) for name in names - set(NO_BOUNDS) if BOUND.fullmatch(name)}
    return {fixed for fixed in found if isinstance(value_of(fixed), int | float)}


def value_of(fixed: Fixed) -> object:
    return getattr(import_module(f"durable_streams.{fixed.module}"), fixed.name)


def shown(fixed: Fixed) -> str:
    """Return a bound as the page says it, in the largest unit that leaves no fraction."""
    value = value_of(fixed)
    assert isinstance(value, int | float)
    unit = next((unit for unit in reversed(fixed.name.split("_")) if unit in UNITS), "")
    sizes = UNITS.get(unit, {})
    larger = next((name for name, size in sizes.items() if value >= size and value % size == 0), None)
    if value == 2**53 - 1:
        return "2^53 - 1"
    count = value / sizes[larger] if larger else value
    number = f"{count:,f}".replace(",", " ").rstrip("0").rstrip(".")
    return f"{number} {larger or BASE.get(unit, '')}".strip()


def test_every_bound_has_its_row() -> None:
    assert sorted(constants() - set(ROWS)) == []


@pytest.mark.parametrize(
    "fixed", [fixed for fixed, value in ROWS.items() if not value.endswith(" pages")], ids=".".join
)
def test_a_row_says_how_large_it_is(fixed: Fixed) -> None:
    assert ROWS[fixed] == shown(fixed)

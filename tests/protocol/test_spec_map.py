"""What `docs/spec-map.md` names exists."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path
from pkgutil import resolve_name

import pytest

TESTS = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS.parent / "docs" / "spec-map.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [0-9]", line)
]
DECIDERS = sorted({row[2].strip("`") for row in ROWS if row[2]})
PROOFS = sorted({row[3].strip("`") for row in ROWS if row[3] not in {"", "*suite*"}})
SECTIONS = {
    *("4.1", "4.2", "5.1", "5.2", "5.2.1", "5.4", "5.6", "5.7", "5.8"),
    *("6", "6.2", "6.3", "6.5", "7.1", "7.2", "7.3", "8"),
    *("9.1.1", "9.1.2", "9.1.3", "9.1.4", "9.1.5", "10.1", "11.1"),
    *("12.1", "12.2", "12.3", "12.4", "12.6", "12.8", "12.9", "12.11"),
}
"""Every section of the specification with a MUST in it, but for 2, whose one says what the word means."""


def test_every_section_with_a_must_has_a_row() -> None:
    assert {section for row in ROWS for section in row[0].split(", ")} >= SECTIONS


def test_rows_are_whole() -> None:
    assert len(ROWS) > 100
    assert {len(row) for row in ROWS} == {4}
    assert all(bool(row[2]) == bool(row[3]) for row in ROWS)


@pytest.mark.parametrize("name", DECIDERS)
def test_a_deciding_function_exists(name: str) -> None:
    path = name.split(".")
    depth = next(count for count in range(len(path), 0, -1) if is_module(path[:count]))
    reduce(getattr, path[depth:], resolve_name(".".join(["durable_streams", *path[:depth]])))


def is_module(path: list[str]) -> bool:
    place = TESTS.parent.joinpath("durable_streams", *path)
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


@pytest.mark.parametrize("proof", PROOFS)
def test_a_test_exists(proof: str) -> None:
    module, name = proof.split("::")

    assert re.search(rf"def {name}\(", (TESTS / module).read_text(encoding="utf-8"))

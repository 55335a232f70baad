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
    return place.with_suffix(".py").is_file()


@pytest.mark.parametrize("proof", PROOFS)
def test_a_test_exists(proof: str) -> None:
    module, name = proof.split("::")

    assert re.search(rf"def {name}\(", (TESTS / module).read_text(encoding="utf-8"))

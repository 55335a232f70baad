"""Nothing is installed but from a lock."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.installs.locks import ours
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

OPEN = re.compile(r"\bpip[0-9.]* install\b|\bnpm (?:add|exec|i|install|update)\b|\bnpx\b")
"""Commands whose outcome depends on what was published when they run."""


def names(paths: Iterable[Path]) -> list[str]:
    return [str(path.relative_to(REPOSITORY)) for path in paths]


@pytest.mark.parametrize("package", names(ours("package.json")))
def test_npm_packages_are_locked(package: str) -> None:
    """By content, and from wherever npm is configured to get them: no host is named."""
    wanted = json.loads((REPOSITORY / package).read_text(encoding="utf-8"))
    lock = (REPOSITORY / package).with_name("package-lock.json")
    root, *every = json.loads(lock.read_text(encoding="utf-8"))["packages"].values()
    assert root["dependencies"] == wanted["dependencies"]
    assert [one for one in every if "integrity" not in one or "resolved" in one] == []


def test_only_one_command_installs_without_npm_ci() -> None:
    scripts = [path for pattern in ("Makefile", "*.sh", "run") for path in ours(pattern)]
    lines = [line.strip() for path in scripts for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if OPEN.search(line) and "--package-lock-only" not in line] == [
        'exec "$python" -m pip install --quiet --no-deps "$@"'
    ]

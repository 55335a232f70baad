"""A run of every test names its phases, tells at the end how long each took, and fails where one of them does."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = ["commands: curl, node, npm, Chromium", "Python environment", "npm packages"]
pytestmark = pytest.mark.slow


def run(make: str, test: Path) -> subprocess.CompletedProcess[str]:
    command = ["scripts/run-tests.sh", make, sys.executable, str(test)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def a_test(directory: Path, *, passes: bool) -> Path:
    (directory / "test_one.py").write_text(f"def test_one():\n    assert {passes}\n")
    return directory / "test_one.py"


def test_phases_are_named_and_the_last_line_is_pytests(tmp_path: Path) -> None:
    ended = run("true", a_test(tmp_path, passes=True))
    assert ended.returncode == 0
    assert re.findall(r"^== (.*) ==$", ended.stdout, re.MULTILINE) == [*BEFORE, "pytest"]
    assert re.findall(r"^ +\d+ s  (.*)$", ended.stdout, re.MULTILINE) == [*BEFORE, "pytest"]
    assert re.search(r"=+ 1 passed in .* =+\n$", ended.stdout)


def test_a_test_that_fails_fails_the_run(tmp_path: Path) -> None:
    ended = run("true", a_test(tmp_path, passes=False))
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"=+ 1 failed in .* =+\n$", ended.stdout)


def test_a_phase_that_fails_ends_the_run_and_is_named(tmp_path: Path) -> None:
    ended = run("false", a_test(tmp_path, passes=True))
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"FAILED: {BEFORE[0]}\n")
    assert "== pytest ==" not in ended.stdout

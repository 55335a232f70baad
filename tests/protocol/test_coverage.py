"""Every module of the pure layer is covered, statements and branches, by its own test module alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import durable_streams.protocol
from tests.patience import WHOLE_HANG_S

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in Path(durable_streams.protocol.__file__).parent.glob("*.py"))
MODULES.remove("__init__")
SUPPORTED_BY = {"coverage", "spec_map"}
"""Test modules that belong to no source module."""


def run_alone(module: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run one test module, in a process of its own, and fail if it leaves anything of its source module untouched."""
    command = [
        *(sys.executable, "-m", "pytest", str(HERE / f"test_{module}.py"), "-q", "-p", "no:cacheprovider"),
        *("-p", "no:aiohttp", "-p", "no:xdist"),
        *("--hypothesis-profile=coverage", f"--cov=durable_streams.protocol.{module}", "--cov-branch"),
        *("--cov-report=term-missing", "--cov-fail-under=100"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    environment["COVERAGE_FILE"] = str(directory / module)
    return subprocess.run(
        command,
        cwd=HERE.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WHOLE_HANG_S,
    )


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_own_tests_reach_every_branch(module: str, tmp_path: Path) -> None:
    run = run_alone(module, tmp_path)

    assert run.returncode == 0, run.stdout[-4_000:] + run.stderr[-1_000:]


def test_every_test_module_has_a_source_module() -> None:
    tested = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")}

    assert tested - SUPPORTED_BY == set(MODULES)

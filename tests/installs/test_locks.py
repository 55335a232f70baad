"""An install gives what its lock says, whatever was published since: the command of every environment, by three pips.

Beside the locked wheels lie newer ones of the same packages, with the same extras. Nothing is installed: `--dry-run`
does everything up to that, hashes included. `make installs` (INSTALLS=complete) installs for real, each lock into an
environment of its own and from the package index, with the newer ones on offer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING, NamedTuple

import pytest
from packaging.utils import canonicalize_name

from tests.installs.locks import PIPS, asked, pins, python_locks, together, unmet
from tests.installs.newer import VERSION, metadata, publish_anew
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPLETE = os.environ.get("INSTALLS") == "complete"
LOCKS = python_locks()
# One worker has the wheels: they are downloaded once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("locks")]


class Index(NamedTuple):
    """Two directories of wheels: the locked ones, and newer ones of the same packages."""

    locked: Path
    newer: Path


def run(*command: str | Path, **environment: str) -> None:
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def environment_with(pip: Path, directory: Path) -> Path:
    """Make a fresh environment with one version of pip and return its python."""
    venv.create(directory, symlinks=True)
    python = directory / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--require-hashes", "-r", pip)
    return python


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Download what the locks name, and publish all of it anew; 300 MB, not left behind."""
    made = Index(tmp_path_factory.mktemp("locked"), tmp_path_factory.mktemp("newer"))
    python = environment_with(PIPS / "newest.lock", tmp_path_factory.mktemp("downloads"))
    for number, every in enumerate(together(LOCKS.values())):
        lock = made.locked.parent / f"{number}.lock"
        lock.write_text(every, encoding="utf-8")
        exactly = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", lock)
        run(python, "-m", "pip", "download", "--quiet", *exactly, "--dest", made.locked)
    for wheel in made.locked.iterdir():
        publish_anew(wheel, made.newer)
    yield made
    shutil.rmtree(made.locked)


@pytest.fixture(scope="module", params=sorted(path.stem for path in PIPS.glob("*.lock")))
def pip_lock(request: pytest.FixtureRequest) -> Path:
    return PIPS / f"{request.param}.lock"


@pytest.fixture(scope="function" if COMPLETE else "module")
def python(pip_lock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = environment_with(pip_lock, tmp_path_factory.mktemp("environment"))
    assert version_of_pip(made) == pins(pip_lock)["pip"]
    return made


def version_of_pip(python: Path) -> str:
    said = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[1]


def taken(report: Path) -> dict[str, str]:
    """Return the version of each package that pip reports."""
    every = [one["metadata"] for one in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return {canonicalize_name(one["name"]): one["version"] for one in every}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_gives_what_it_says(python: Path, index: Index, name: str) -> None:
    report = python.parent / "report.json"
    offered = {"PIP_FIND_LINKS": f"{index.newer} {index.locked}"}
    if COMPLETE:
        run("scripts/install.sh", python, LOCKS[name], "--report", report, **offered)
    else:
        run("scripts/install.sh", python, LOCKS[name], "--report", report, "--dry-run", PIP_NO_INDEX="1", **offered)
    assert taken(report) == pins(LOCKS[name])


def test_without_a_pin_the_newer_one_is_taken(python: Path, index: Index, tmp_path: Path) -> None:
    """So they are on offer."""
    report = tmp_path / "report.json"
    where = ("--no-index", "--find-links", index.newer, "--find-links", index.locked)
    run(python, "-m", "pip", "install", "--dry-run", "--report", report, "--no-deps", *where, "coverage[toml]")
    assert taken(report) == {"coverage": VERSION}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_needs_no_resolver(index: Index, name: str) -> None:
    """Whatever its packages ask for, with the extras that they are asked for with, is in it and fits."""
    wheels = {
        (str(canonicalize_name(one["Name"])), one["Version"]): one for one in map(metadata, index.locked.iterdir())
    }
    assert list(unmet(pins(LOCKS[name]), asked(name), wheels)) == []


def test_what_is_served_is_what_is_tested() -> None:
    assert pins(LOCKS["requirements-runtime.lock"]).items() <= pins(LOCKS["requirements-dev.lock"]).items()


def test_a_configuration_of_pip_says_where_from_and_nothing_else(tmp_path: Path) -> None:
    python, newest = environment_with(PIPS / "23.0.1.lock", tmp_path / "environment"), PIPS / "newest.lock"
    (tmp_path / "constraint").write_text("pip<1\n")
    elsewhere = {f"PIP_{name}": str(tmp_path / "elsewhere") for name in ("PREFIX", "ROOT", "TARGET")}
    other = {"PIP_USER": "1", "PIP_CONSTRAINT": str(tmp_path / "constraint"), "PIP_NO_BINARY": ":all:"}
    run("scripts/install.sh", python, newest, **elsewhere, **other)
    assert version_of_pip(python) == pins(newest)["pip"]

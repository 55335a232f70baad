"""The locks: which there are, what they pin, and what they have to hold."""

from __future__ import annotations

import fnmatch
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from email.message import Message

PIPS = REPOSITORY / "tests/installs/pips"
GROUPS = {
    "requirements-runtime.lock": ("build",),
    "requirements-dev.lock": ("dev",),
    "requirements-sdks.lock": ("runner", "sdks"),
    "requirements-litellm.lock": ("runner", "litellm"),
    "requirements-uv.lock": ("uv",),
}
"""The groups of pyproject that a lock holds, beside the package's own dependencies."""
ALONE = {"requirements-uv.lock"}
"""Locks that hold nothing but their groups."""
INSTALLED = {".git", "node_modules", "venv"}
NEEDLESS = {"llm", "llama-cpp-python"}
"""What the weights of the local model ask for: their file is used without."""
_PIN = re.compile(r"^([^\s#-][^\\\n]*?)\s*\\\n((?:\s+--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def ours(pattern: str) -> Iterator[Path]:
    """Yield the files of this repository whose names match, none of what is installed into it."""
    for directory, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in sorted(folders) if name not in INSTALLED and not name.startswith(".venv")]
        yield from (Path(directory, name) for name in fnmatch.filter(sorted(names), pattern))


def python_locks() -> dict[str, Path]:
    """Return every lock of Python packages but those of pip itself, by its name in the repository."""
    return {str(path.relative_to(REPOSITORY)): path for path in ours("*.lock") if path.parent != PIPS}


def pins(lock: Path) -> dict[str, str]:
    """Return the version of each package that a lock installs here."""
    wanted = [Requirement(line) for line, _ in _PIN.findall(lock.read_text(encoding="utf-8"))]
    return {str(canonicalize_name(one.name)): pinned(one) for one in wanted if applies(one)}


def together(locks: Iterable[Path]) -> Iterator[str]:
    """Yield the text of locks with everything that some have, no package twice in one."""
    rest = dict(pin for lock in locks for pin in _PIN.findall(lock.read_text(encoding="utf-8")))
    while rest:
        now = {Requirement(line).name: line for line in rest}
        yield "".join(f"{line} \\\n{rest.pop(line)}" for line in now.values())


def pinned(requirement: Requirement) -> str:
    """Return the one version that a requirement allows."""
    (only,) = requirement.specifier
    assert only.operator == "==", requirement
    return only.version


def asked(lock: str) -> list[Requirement]:
    """Return what a lock was made from: the file of the same name, or pyproject."""
    if (plain := (REPOSITORY / lock).with_suffix(".in")).exists():
        lines = plain.read_text(encoding="utf-8").splitlines()
        return [Requirement(line) for line in lines if not line.startswith("#")]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    grouped = [one for name in GROUPS[lock] for one in _group(project["dependency-groups"], name)]
    package = [] if lock in ALONE else project["project"]["dependencies"]
    return [Requirement(one) for one in [*package, *grouped]]


def _group(groups: dict[str, list[str | dict[str, str]]], name: str) -> Iterator[str]:
    for one in groups[name]:
        if isinstance(one, str):
            yield one
        else:
            yield from _group(groups, one["include-group"])


def unmet(
    has: Mapping[str, str], wanted: Iterable[Requirement], wheels: Mapping[tuple[str, str], Message]
) -> Iterator[str]:
    """Yield what packages ask for and do not have: those of a lock, and those wanted of it."""
    todo, done = [*filter(applies, wanted), *map(Requirement, has)], set()
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        if name in NEEDLESS or str(one) in done:
            continue
        done.add(str(one))
        if name not in has or not one.specifier.contains(has[name], prereleases=True):
            yield str(one)
        else:
            todo += needs(wheels[name, has[name]], one.extras)


def needs(package: Message, extras: Iterable[str]) -> list[Requirement]:
    """Return what a package asks for when it is asked for with extras."""
    every = map(Requirement, package.get_all("Requires-Dist", []))
    return [one for one in every if any(applies(one, extra) for extra in ("", *extras))]


def applies(requirement: Requirement, extra: str = "") -> bool:
    """Return whether a requirement is one here."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

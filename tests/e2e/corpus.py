"""A real text of many lines, from what the machine has anyway: nobody made it up to suit the server."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LINES_MIN = 300_000
LINES_MAX = 330_000
"""More is cut off: the test is about every line arriving, not about size."""


def real_lines() -> tuple[str, list[str]]:
    """Return the name of the first source with enough lines, and its lines without their ends."""
    for name, source in SOURCES.items():
        lines = list(islice(source(), LINES_MAX))
        if len(lines) >= LINES_MIN:
            return name, lines
    raise AssertionError(f"no source has {LINES_MIN} lines")


def package_list() -> Iterator[str]:
    """Every package this machine could install."""
    command = shutil.which("apt-cache")
    if command is None:
        return
    found = subprocess.run([command, "dumpavail"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    yield from lines_of(found.stdout)


def dictionaries() -> Iterator[str]:
    return _files(sorted(Path("/usr/share/dict").glob("*")))


def standard_library() -> Iterator[str]:
    """The source of the Python that runs this."""
    return _files(sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")))


def lines_of(content: bytes) -> Iterator[str]:
    """Cut at LF alone, so that whatever else a line holds stays in it; leave out what is not UTF-8."""
    for line in content.removesuffix(b"\n").split(b"\n") if content else ():
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            continue


def _files(paths: Iterable[Path]) -> Iterator[str]:
    return chain.from_iterable(lines_of(path.read_bytes()) for path in paths if path.is_file())


SOURCES: dict[str, Callable[[], Iterator[str]]] = {
    "package list": package_list,
    "dictionaries": dictionaries,
    "standard library": standard_library,
}

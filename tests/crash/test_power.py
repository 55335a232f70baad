"""What kill -9 cannot show: the bytes were on the disk, and not only with the kernel, before the answer left.

The system calls of one append are watched. LMDB writes the pages of a transaction and syncs them; then it writes the
meta page, which makes them count, through a descriptor that syncs every write.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.calls import TEXT, Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Serve
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow
CALLS = "write,writev,pwrite64,pwritev,send,sendto,sendmsg,fsync,fdatasync,msync"
APPENDS = 50
_CALL = re.compile(r"^\d+ +(\w+)\((\d+)<([^>]*)>(.*)$", re.MULTILINE)


@contextmanager
def traced(pid: int, trace: Path, calls: str = CALLS) -> Iterator[None]:
    """Watch these calls of a process while the block runs; skip the test where nobody may."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    command = [strace, "-f", "-y", "-e", f"trace={calls}", "-o", str(trace), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as watcher:
        assert watcher.stderr is not None
        if "attached" not in watcher.stderr.readline():
            pytest.skip("strace may not attach here")
        try:
            yield
        finally:
            watcher.terminate()


def step(call: re.Match[str], pid: int) -> str | None:
    """Say what one system call was for; ``None`` for those that are no part of the promise."""
    name, descriptor, target, rest = call.groups()
    if target.endswith("/data.mdb"):
        if name in {"fsync", "fdatasync"}:
            return "sync"
        flags = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(encoding="ascii").partition("flags:")[2].split()[0]
        return "synced write" if int(flags, 8) & os.O_DSYNC else "write"
    return "answer" if "HTTP/1.1 " in rest else None


@pytest.mark.parametrize("size_bytes", [100, 500_000])
def test_pages_then_the_meta_page_are_synced_before_the_answer(
    server: ServerProcess, tmp_path: Path, size_bytes: int
) -> None:
    """One commit, so two syncs, for an append alone, whether it is journaled or goes to its place."""
    caller = Caller(server)
    caller.ask("PUT", "a", TEXT)
    with traced(server.pid, tmp_path / "trace"):
        assert caller.status("POST", "a", TEXT, body=bytes(size_bytes)) == 204
    trace = (tmp_path / "trace").read_text(encoding="utf-8")

    steps = [found for call in _CALL.finditer(trace) if (found := step(call, server.pid)) is not None]
    writes = [found for found in steps if found == "write"]
    assert writes
    assert steps == [*writes, "sync", "synced write", "answer"], trace


def test_appends_ask_nothing_of_the_file_system(serve: Serve, tmp_path: Path) -> None:
    """Whether there is room is known (``engine/lmdb/room.py``): nothing but pages and syncs goes to the disk.

    But whether the three files are still there is looked at with each commit: an answer from memory, in microseconds.
    """
    server = serve(arguments=["--sweep-interval-ms", "3600000"])
    caller = Caller(server)
    caller.ask("PUT", "a", TEXT)
    assert caller.status("POST", "a", TEXT, body=bytes(100)) == 204
    with traced(server.pid, tmp_path / "trace", "%file,%desc,%statfs"):
        for _ in range(APPENDS):
            assert caller.status("POST", "a", TEXT, body=bytes(100)) == 204
    trace = (tmp_path / "trace").read_text(encoding="utf-8")

    calls = Counter(re.findall(r"^\d+ +(\w+)\((?:\d+<[^>]*/data\.mdb>|\")", trace, re.MULTILINE))
    assert calls.pop("fdatasync") == APPENDS
    assert calls.pop("pwrite64") >= 2 * APPENDS
    assert set(calls) <= {"lseek", "writev", "pwritev"}, calls
    assert "statfs(" not in trace
    looks = re.findall(r"stat[a-z0-9]*\([^\n]*/(?:data\.mdb|lock\.mdb|store\.json)\"", trace)
    assert len(looks) == 3 * APPENDS

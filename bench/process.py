"""One measured server: started, watched, stopped.

Owns: its process, what it has used of processor and memory. Must not know: any workload.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers import Peer

REPOSITORY = Path(__file__).resolve().parent.parent
READY_S = 60.0
STOP_S = 15.0
SAMPLE_S = 0.05
TICK = os.sysconf("SC_CLK_TCK")


class NotStartedError(Exception):
    """The server ended, or did not listen in time."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """Return a process and all it has started."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            pids += family(int(child))
    return pids


def cpu_s(pid: int) -> float:
    """Return processor seconds, user and system, of a process and its children, those that have ended included."""
    total = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICK


def memory_kib(pid: int, field: str) -> int:
    """Return one field of ``/proc/PID/status``, added up over the family."""
    total = 0
    for member in family(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text(encoding="ascii")
        except FileNotFoundError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:")), 0)
    return total


class RunningServer:
    """A peer on a data dir of its own. A context manager: started at entry, ended at exit.

    Args:
        peer: which.
        data_dir: empty, or what an earlier run left.
        arguments: more of its command line.
    """

    def __init__(self, peer: Peer, data_dir: Path, arguments: Sequence[str] = ()) -> None:
        self.peer, self.data_dir, self._arguments = peer, data_dir, arguments
        self.port = free_port()
        self.root = peer.root
        self.peak_anon_kib = self.peak_rss_kib = 0
        self.start_s = 0.0

    def path(self, name: str) -> str:
        """Return the URL path of a stream."""
        return f"{self.root}/{name}"

    def start(self) -> Self:
        """Start, and return when it takes connections. ``start_s``: how long that took."""
        command = [*self.peer.command(self.port, self.data_dir), *self._arguments]
        self._errors = (self.data_dir.parent / "stderr").open("ab")
        began_s = time.perf_counter()
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors
        )
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if self._process.poll() is not None or time.perf_counter() - began_s > READY_S:
                    self.stop()
                    raise NotStartedError(f"{self.peer.name} did not start: {self.errors()[-300:]}") from None
                time.sleep(0.002)
        self.start_s = time.perf_counter() - began_s
        self._watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def anon_kib(self) -> int:
        return memory_kib(self.pid, "RssAnon")

    def errors(self) -> str:
        return (self.data_dir.parent / "stderr").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it by SIGTERM, or by SIGKILL if it does not go."""
        if hasattr(self, "_watching"):
            self._watching.set()
            self._watcher.join()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()

    def restart(self) -> Self:
        """Stop and start again on the same data."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _watch(self) -> None:
        while not self._watching.wait(SAMPLE_S):
            try:
                self.peak_anon_kib = max(self.peak_anon_kib, self.anon_kib())
                self.peak_rss_kib = max(self.peak_rss_kib, memory_kib(self.pid, "VmHWM"))
            except OSError:
                return

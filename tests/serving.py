"""The real server as a process of its own: started, stopped, killed and restarted by tests.

Owns the life of one server on one data dir and one port. Knows nothing of the protocol: tests talk HTTP to `url` with a
client of their choice. Nothing here sleeps: ready means that the startup line was printed, gone means that the process
was waited for.

    with ServerProcess(tmp_path) as server:
        requests_to(server.stream_url("a/b"))
        server.kill()
        server.start()
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Self

from tests.patience import HANG_S
from tests.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent

_STARTUP_URL = re.compile(r"http://[0-9.]+:\d+")


class ServerExited(Exception):  # noqa: N818 - an event that some tests wait for, not always an error
    """The server ended before it was ready, or in a way that was not asked for.

    `returncode` is negative for a signal; `stdout` and `stderr` are what this run printed.
    """

    def __init__(self, returncode: int | None, stdout: str, stderr: str) -> None:
        super().__init__(f"server exited with {returncode}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class ServerProcess:
    """One server, on the same data dir and port through any number of starts.

    Args:
        directory: Where the data dir `data` is created by the server's first start.
        engine: The storage engine; `memory` forgets at every restart.
        arguments: More command line arguments of `serve`.
        environment: Added to this process's environment, from which every `DS_*` variable is taken away first, so that
            the developer's own settings never reach a test.
        port: The port, or `None` to pick a free one of this test process's own, kept across restarts.
    """

    def __init__(
        self,
        directory: Path,
        *,
        engine: Literal["lmdb", "memory"] = "lmdb",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.data_dir = directory / "data"
        self.engine = engine
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.port = port if port is not None else free_port()
        self._run: _Run | None = None
        self._ended: list[_Run] = []

    @property
    def url(self) -> str:
        """The origin, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def stream_url(self, path: str) -> str:
        """The address of the stream at `path` (already percent-encoded) under the default root."""
        return f"{self.url}/v1/stream/{path}"

    @property
    def command(self) -> list[str]:
        """The command line of the next start."""
        serve = [sys.executable, "-m", "durable_streams", "serve", "--host", HOST, "--port", str(self.port)]
        return [*serve, "--data-dir", str(self.data_dir), "--engine", self.engine, *self.arguments]

    @property
    def running(self) -> bool:
        """Whether there is a process and it has not ended by itself."""
        return self._run is not None and self._run.process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the current run."""
        return self._current().process.pid

    @property
    def returncode(self) -> int | None:
        """How the latest run ended: negative for a signal, `None` while it runs or before the first start."""
        runs = [*self._ended, *([self._run] if self._run else [])]
        return runs[-1].process.poll() if runs else None

    @property
    def stdout(self) -> str:
        """What every run printed to stdout so far, oldest first."""
        return "".join(run.stdout.text for run in self._runs())

    @property
    def stderr(self) -> str:
        """What every run printed to stderr so far (its log), oldest first."""
        return "".join(run.stderr.text for run in self._runs())

    def start(self, *, timeout_s: float = HANG_S) -> Self:
        """Start the server and return when it answers.

        Raises:
            ServerExited: It ended instead (`returncode` and what it printed are on the exception).
            TimeoutError: No startup line within `timeout_s`; the process was killed.
        """
        if self._run is not None:
            msg = f"still running as {self._run.process.pid}: stop or kill it first"
            raise AssertionError(msg)
        self._run = run = _Run(self.command, self._child_environment())
        if not run.stdout.wait_for(_STARTUP_URL, timeout_s):
            self._finish(signal.SIGKILL, HANG_S)
            message = (
                f"no startup line within {timeout_s} s\n--- stdout\n{run.stdout.text}\n--- stderr\n{run.stderr.text}"
            )
            raise TimeoutError(message)
        if not _STARTUP_URL.search(run.stdout.text):
            raise self._exited(run)
        return self

    def stop(self, *, timeout_s: float = HANG_S) -> int:
        """SIGTERM, wait until it has drained, return its exit code.

        Raises:
            TimeoutError: It did not end within `timeout_s`; it was killed.
        """
        return self._finish(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. No harm if it ended by itself just before."""
        self._finish(signal.SIGKILL, HANG_S)

    def restart(self, *, timeout_s: float = HANG_S) -> Self:
        """Kill and start again on the same data dir and port."""
        self.kill()
        return self.start(timeout_s=timeout_s)

    def wait(self, *, timeout_s: float) -> int:
        """Wait until the process ends by itself (a fault point, a signal sent by the test); return its exit code.

        Raises:
            TimeoutError: It still runs after `timeout_s`; it is left running.
        """
        return self._finish(None, timeout_s)

    def send_signal(self, signal_number: signal.Signals) -> None:
        """Send a signal and return at once: SIGSTOP and SIGCONT to freeze a server, SIGTERM to watch it drain."""
        self._current().process.send_signal(signal_number)

    def rss_bytes(self) -> int:
        """Resident memory of the server process now."""
        return self._status_bytes("VmRSS")

    def peak_rss_bytes(self) -> int:
        """The most resident memory this run ever had."""
        return self._status_bytes("VmHWM")

    def cpu_s(self) -> float:
        """Processor seconds (user and system) this run has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Make sure that no process is left, however the test ended."""
        if self._run is not None:
            self.kill()

    def __enter__(self) -> Self:
        return self if self._run else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _runs(self) -> list[_Run]:
        return [*self._ended, self._run] if self._run else self._ended

    def _current(self) -> _Run:
        if self._run is None:
            msg = "the server is not running"
            raise AssertionError(msg)
        return self._run

    def _child_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DS_")}
        return inherited | {"PYTHONUNBUFFERED": "1"} | self.environment

    def _finish(self, signal_number: signal.Signals | None, timeout_s: float) -> int:
        run = self._current()
        if signal_number is not None:
            run.process.send_signal(signal_number)
        try:
            run.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            message = f"server {run.process.pid} still runs {timeout_s} s after {signal_number}\n{run.stderr.text}"
            if signal_number is not None:
                self._finish(signal.SIGKILL, timeout_s)
            raise TimeoutError(message) from None
        run.close()
        self._run = None
        self._ended.append(run)
        return run.process.returncode

    def _exited(self, run: _Run) -> ServerExited:
        self._finish(None, HANG_S)
        return ServerExited(run.process.returncode, run.stdout.text, run.stderr.text)

    def _status_bytes(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(kib) * 1024


class _Run:
    """One process with two readers, so that it never blocks on a full pipe."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self.stdout = _Output(self.process.stdout)
        self.stderr = _Output(self.process.stderr)

    def close(self) -> None:
        """Read what is left and close the pipes. The process must have ended."""
        self.stdout.close()
        self.stderr.close()


class _Output:
    """The text of one pipe, kept by a thread."""

    def __init__(self, pipe: IO[str] | None) -> None:
        if pipe is None:
            raise AssertionError
        self._pipe = pipe
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, pattern: re.Pattern[str], timeout_s: float) -> bool:
        """Wait for a line with `pattern` or the end of the output; False if neither came in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._ended or any(pattern.search(line) for line in self._lines), timeout_s
            )

    def close(self) -> None:
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

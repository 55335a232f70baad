"""The real adapter as a process of its own: started, stopped, killed, frozen by tests.

As ``tests.serving`` does for the server: ready means that the startup line was printed, gone means waited for.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

from tests.patience import HANG_S
from tests.ports import HOST, free_port
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence

_URL = re.compile(r"http://[0-9.]+:\d+")


class AdapterProcess:
    """One adapter.

    Args:
        streams_url: The streams server's root.
        arguments: More command line arguments of `agent serve`.
        environment: Added to this process's environment.
        python: The interpreter.
    """

    def __init__(
        self, streams_url: str, arguments: Sequence[str] = (), *, environment: dict[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.command = [sys.executable, "-m", "durable_streams", "agent", "serve", "--port", str(self.port)]
        # A test's answers need not end by themselves.
        self.command += ["--drain-ms", "0"]
        self.command += ["--streams-url", streams_url, *arguments]
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("DS_", "OPENAI_", "ANTHROPIC_"))
        }
        self._environment = inherited | {"PYTHONUNBUFFERED": "1"} | (environment or {})
        self._log: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return "".join(self._log)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(HANG_S) or self._process.poll() is not None:
            self.close()
            message = f"the adapter did not start\n{self.log}"
            raise AssertionError(message)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        self._process.wait(HANG_S)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(HANG_S)

    def close(self) -> None:
        """End it however it stands."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(HANG_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout is None:
            raise AssertionError
        for line in self._process.stdout:
            self._log.append(line)
            if _URL.search(line):
                self._ready.set()
        self._ready.set()

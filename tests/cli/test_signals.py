"""SIGTERM and ctrl-C while a service starts, by itself and as process 1 of a container.

The start stands still at a named pipe where it reads a file, so that it is known where the signal finds it: opening the
pipe for writing returns when the process has opened it for reading.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from durable_streams.runtime.stopping import STOP_SIGNALS
from durable_streams.subscriptions.keys import KEY_FILE
from tests.cli.running import PROGRAM, done, environment
from tests.patience import HANG_S
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.slow

UNSHARE = shutil.which("unshare")
AS_PROCESS_1 = [UNSHARE or "unshare", "--pid", "--fork", "--kill-child"]
CAN_BE_PROCESS_1 = UNSHARE is not None and subprocess.run([*AS_PROCESS_1, "true"], check=False).returncode == 0
SOURCE = "import os, pathlib\npathlib.Path(os.environ['PIPE']).read_bytes()\nsource = None\n"

process_1 = pytest.mark.parametrize(
    "contained",
    [False, pytest.param(True, marks=pytest.mark.skipif(not CAN_BE_PROCESS_1, reason="needs to unshare processes"))],
)
by_each = pytest.mark.parametrize("number", STOP_SIGNALS)


class Starting:
    """A process that stands still in its start, or would."""

    def __init__(self, command: Sequence[str], *, contained: bool, more: Mapping[str, str] | None = None) -> None:
        self._contained = contained
        self._process = subprocess.Popen(
            [*(AS_PROCESS_1 if contained else []), *command],
            env=environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def signalled(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send the signal from outside; return how the process has ended and what it has printed."""
        pid = self._process.pid
        if self._contained:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"))
        os.kill(pid, number)
        try:
            stdout, stderr = self._process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        return self._process.returncode, stdout, stderr


@process_1
@by_each
def test_a_server_that_is_opening_its_store_ends_with_0(
    tmp_path: Path, number: signal.Signals, *, contained: bool
) -> None:
    server = ServerProcess(tmp_path)
    with server:
        assert server.stop() == 0
    keys = server.data_dir / KEY_FILE
    keys.unlink()
    os.mkfifo(keys)

    starting = Starting(server.command, contained=contained)
    with keys.open("wb"):
        status, stdout, stderr = starting.signalled(number)

    assert (status, stdout) == (0, "")
    assert stderr.count("\n") == 1
    assert "stopped before it served" in stderr
    assert ": sound (" in done("check", server.data_dir)


@process_1
@by_each
def test_an_adapter_that_is_loading_its_model_ends_with_0(
    tmp_path: Path, number: signal.Signals, *, contained: bool
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "waiting.py").write_text(SOURCE, encoding="utf-8")
    command = [*PROGRAM, "agent", "serve", "--port", "0", "--source", "waiting:source"]
    more = {"PYTHONPATH": str(tmp_path), "PIPE": str(tmp_path / "pipe")}

    starting = Starting(command, contained=contained, more=more)
    with (tmp_path / "pipe").open("wb"):
        ended = starting.signalled(number)

    assert ended == (0, "", "")


@process_1
def test_a_command_ends_by_sigterm(tmp_path: Path, *, contained: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [*PROGRAM, "append", "http://127.0.0.1:1/v1/stream/s", str(tmp_path / "pipe")]
    starting = Starting(command, contained=contained)
    with (tmp_path / "pipe").open("wb"):
        status, stdout, stderr = starting.signalled(signal.SIGTERM)
    assert (status, stdout, stderr) == (128 + signal.SIGTERM if contained else -signal.SIGTERM, "", "")


@pytest.mark.skipif(not CAN_BE_PROCESS_1, reason="needs to unshare processes")
def test_a_command_that_is_process_1_dies_of_a_closed_pipe_without_a_word() -> None:
    dying = "import signal; from durable_streams.cli.endings import die_of; die_of(signal.SIGPIPE)"
    ended = subprocess.run([*AS_PROCESS_1, sys.executable, "-c", dying], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")

"""The harness itself, on small programs that behave like a server in the one respect that matters here."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.serving import ServerExited, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

READY_THEN_WAIT = """
import signal, sys
def leave(*_):
    print("drained", file=sys.stderr)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("serving http://127.0.0.1:1", flush=True)
while True:
    signal.pause()
"""
REFUSE = "import sys; print('data dir is locked', file=sys.stderr); sys.exit(2)"
SILENT = "import signal; signal.pause()"
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("serving http://127.0.0.1:1", flush=True)
while True:
    signal.pause()
"""


class Program(ServerProcess):
    """A process with another program in the server's place."""

    program = READY_THEN_WAIT

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-S", "-c", self.program]


def program(text: str, directory: Path) -> Program:
    made = Program(directory)
    made.program = text
    return made


def test_the_command_line_is_the_real_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, engine="memory", arguments=["--root", "/"], port=4437)

    assert server.command[1:] == (
        f"-m durable_streams serve --host 127.0.0.1 --port 4437 --data-dir {tmp_path / 'data'} --engine memory --root /"
    ).split(" ")
    assert server.url == "http://127.0.0.1:4437"
    assert server.stream_url("a/b") == "http://127.0.0.1:4437/v1/stream/a/b"


def test_stop_lets_it_finish_and_keeps_what_it_said(tmp_path: Path) -> None:
    with program(READY_THEN_WAIT, tmp_path) as server:
        assert server.running
        assert server.rss_bytes() > 1_000_000
        assert server.peak_rss_bytes() >= server.rss_bytes()
        assert server.cpu_s() >= 0

        assert server.stop() == 0
        assert not server.running
        assert server.stderr == "drained\n"


def test_a_restart_keeps_port_and_log_and_changes_the_process(tmp_path: Path) -> None:
    with program(READY_THEN_WAIT, tmp_path) as server:
        port, pid = server.port, server.pid

        server.kill()
        assert server.returncode == -signal.SIGKILL
        server.start()

        assert server.port == port
        assert server.pid != pid
        assert server.stdout == "serving http://127.0.0.1:1\n" * 2
        assert server.returncode is None


def test_an_end_before_ready_is_reported_with_its_reason(tmp_path: Path) -> None:
    server = program(REFUSE, tmp_path)

    with pytest.raises(ServerExited, match="data dir is locked") as refused:
        server.start()

    assert refused.value.returncode == 2
    assert refused.value.stderr == "data dir is locked\n"
    assert not server.running


def test_a_server_that_never_gets_ready_is_killed(tmp_path: Path) -> None:
    server = program(SILENT, tmp_path)

    with pytest.raises(TimeoutError, match="no startup line"):
        server.start(timeout_s=0.1)

    assert server.returncode == -signal.SIGKILL


def test_a_server_that_ignores_a_stop_is_killed(tmp_path: Path) -> None:
    with program(STUBBORN, tmp_path) as server:
        with pytest.raises(TimeoutError, match="still runs"):
            server.stop(timeout_s=0.1)

        assert server.returncode == -signal.SIGKILL


def test_the_exit_of_the_block_leaves_no_process(tmp_path: Path) -> None:
    with program(READY_THEN_WAIT, tmp_path) as server:
        pass

    assert server.returncode == -signal.SIGKILL


def test_settings_of_the_developer_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ENGINE", "memory")
    shown = "import os, sys; print(sorted(name for name in os.environ if name.startswith('DS_')), file=sys.stderr)"
    server = program(shown, tmp_path)
    server.environment = {"DS_FAULT": "x"}

    with pytest.raises(ServerExited) as ended:
        server.start()

    assert ended.value.stderr == "['DS_FAULT']\n"

"""Standard descriptors that are closed, full, or whose reader has gone: commands end as ever, and services go on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agents.serving import AdapterProcess
from tests.cli.running import PROGRAM, content, done, environment
from tests.patience import HANG_S
from tests.ports import free_port
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.slow

CLOSED = ("<&-", ">&-", "2>&-")
EACH_AND_ALL = (*CLOSED, " ".join(CLOSED))
NUMBERS = dict(zip(CLOSED, range(3), strict=True))
FIRST_CONTACT = ("--retry-ms", "30000")


@contextlib.contextmanager
def redirected(command: Sequence[str], redirection: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a shell has started with this redirection, its own pipes being drained by nobody."""
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=HANG_S)


def terminated(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=HANG_S)
    return process.returncode, stderr.decode()


def ended(command: Sequence[str], redirection: str) -> tuple[int, str, str]:
    with redirected(command, redirection) as process:
        stdout, stderr = process.communicate(timeout=HANG_S)
        return process.returncode, stdout.decode(), stderr.decode()


@pytest.mark.parametrize("redirection", EACH_AND_ALL)
def test_a_server_without_them_serves_drains_and_leaves_with_0(tmp_path: Path, redirection: str) -> None:
    server = ServerProcess(tmp_path)
    with redirected(server.command, redirection) as process:
        done("append", server.stream_url("s"), "--create", *FIRST_CONTACT, text="kept")
        for name in redirection.split():
            assert str(Path(f"/proc/{process.pid}/fd/{NUMBERS[name]}").readlink()) == os.devnull
        status, stderr = terminated(process)
    assert status == 0
    assert stderr.count("\n") == (0 if "2>&-" in redirection else 2)
    with server:
        assert content(server.stream_url("s")) == b"kept"


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_a_server_that_can_say_nothing_serves_all_the_same(tmp_path: Path, redirection: str) -> None:
    server = ServerProcess(tmp_path)
    with redirected(server.command, redirection) as process:
        done("append", server.stream_url("s"), "--create", *FIRST_CONTACT, text="kept")
        status, stderr = terminated(process)
    assert status == 0
    assert "Traceback" not in stderr


def test_a_server_whose_readers_have_gone_serves_all_the_same(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    gone = [os.pipe(), os.pipe()]
    for reading, _ in gone:
        os.close(reading)
    process = subprocess.Popen(server.command, env=environment(), stdout=gone[0][1], stderr=gone[1][1])
    try:
        done("append", server.stream_url("s"), "--create", *FIRST_CONTACT, text="kept")
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_S) == 0
    finally:
        process.kill()
        process.wait()
        for _, writing in gone:
            os.close(writing)


@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", ">/dev/full"])
def test_an_adapter_without_them_serves_and_leaves_with_0(server: ServerProcess, redirection: str) -> None:
    adapter = AdapterProcess(f"{server.url}/v1/stream")
    with redirected(adapter.command, redirection) as process:
        # Its own routes are not streams: an answer of any kind says that it listens.
        info = [*PROGRAM, "info", f"{adapter.url}/none", *FIRST_CONTACT]
        assert ended(info, "")[0] not in {0, 5}
        status, stderr = terminated(process)
    assert status == 0
    assert "Traceback" not in stderr


@pytest.mark.parametrize("redirection", EACH_AND_ALL)
def test_commands_without_them_end_as_ever(server: ServerProcess, redirection: str, tmp_path: Path) -> None:
    url = server.stream_url("s")
    done("append", url, "--create", text="kept")
    for command in (["read", url], ["info", url], ["append", url]):
        status, stdout, stderr = ended([*PROGRAM, *command], redirection)
        assert (status, stderr) == (0, ""), command
        assert bool(stdout) == (">&-" not in redirection.split())
    status, _, stderr = ended([*PROGRAM, "check", str(tmp_path / "none")], redirection)
    assert (status, stderr.count("\n")) == (1, 0 if "2>&-" in redirection else 1)


@pytest.mark.parametrize("command", ["read", "info"])
def test_a_full_disk_behind_stdout_is_one_line(server: ServerProcess, command: str) -> None:
    url = server.stream_url("s")
    done("append", url, "--create", text="kept")
    status, _, stderr = ended([*PROGRAM, command, url], ">/dev/full")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "stdout cannot be written to (No space left on device)" in stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_refusal_that_cannot_be_said_keeps_its_status(redirection: str) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}/v1/stream/s"
    assert ended([*PROGRAM, "info", unreachable, "--retry-ms", "0"], redirection)[0] == 5
    assert ended([*PROGRAM, "info"], redirection)[0] == 2

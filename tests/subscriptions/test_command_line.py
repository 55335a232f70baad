"""``durable-streams subscriptions`` against a real server."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.runtime.clock import ManualClock
from durable_streams.subscriptions.keys import KEY_FILE, Keyring
from tests.patience import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving import ServerProcess


def run(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "durable_streams", *arguments, "--url", f"{server.url}/v1/stream"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)


def said(server: ServerProcess, *arguments: str) -> str:
    ended = run(server, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_subscription_s_life(server: ServerProcess) -> None:
    said(server, "create", "wake/jobs", "--content-type", "application/json")
    said(server, "create", "jobs/a", "--body", "123")
    create = ("subscriptions", "create", "jobs", "--pattern", "jobs/*", "--stream", "b", "--wake-stream", "wake/jobs")
    assert said(server, *create) == "created jobs (2 streams)\n"
    assert said(server, *create) == "created jobs (2 streams)\n"
    assert said(server, "subscriptions", "list") == "jobs\tpull-wake\tactive\tidle\t0\tjobs/*\n"
    assert said(server, "subscriptions", "wake", "jobs") == "woke jobs\n"
    shown = said(server, "subscriptions", "show", "jobs").splitlines()
    assert "phase            waking" in shown
    assert shown[-2:] == [f"{0:016}\texplicit\tb", f"{3:016}\tglob\tjobs/a"]
    assert orjson.loads(said(server, "subscriptions", "show", "jobs", "--json"))["generation"] == 1
    assert said(server, "subscriptions", "delete", "jobs") == "deleted jobs\n"
    assert said(server, "subscriptions", "list") == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (("show", "none"), 3, "no subscription 'none'"),
        (("wake", "none"), 3, "no subscription 'none'"),
        (("create", "x", "--pattern", "a/*"), 2, "pass either --webhook-url or --wake-stream"),
        (("create", "x", "--wake-stream", "w"), 2, "pass --pattern, --stream, or both"),
        (("create", "x", "--pattern", "a*", "--wake-stream", "w"), 1, "* and ** stand for whole segments"),
        (("create", "x", "--pattern", "a", "--webhook-url", "http://10.0.0.1/"), 1, "must be https"),
    ],
)
def test_refusals_in_one_line(server: ServerProcess, arguments: tuple[str, ...], status: int, line: str) -> None:  # noqa: PLR0917 parametrized
    ended = run(server, "subscriptions", *arguments)

    assert (ended.returncode, ended.stdout) == (status, "")
    assert line in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_key_is_rotated_under_a_running_server(server: ServerProcess) -> None:
    command = [sys.executable, "-m", "durable_streams", "subscriptions", "rotate-key", str(server.data_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("signing with ds_")


@pytest.mark.slow
def test_a_key_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    Keyring(tmp_path / KEY_FILE, ManualClock()).open()
    kept = (tmp_path / KEY_FILE).read_bytes()
    (tmp_path / f"{KEY_FILE}.new").mkdir()  # as a file system that takes no writes, for root as well
    command = [sys.executable, "-m", "durable_streams", "subscriptions", "rotate-key", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"{tmp_path / KEY_FILE} cannot be written" in ended.stderr
    assert (tmp_path / KEY_FILE).read_bytes() == kept

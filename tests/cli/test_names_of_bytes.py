"""A data directory, its neighbours and arguments with bytes that are not UTF-8: no traceback, and the very bytes."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import EngineFailedError
from durable_streams.engine.lmdb.datadir import DATA_FILE, STORE_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.http.errors import problem
from durable_streams.subscriptions.keys import KEY_FILE
from tests.cli.running import PROGRAM, environment, run
from tests.patience import HANG_S
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

BYTES = b"store-\xff\xfe"
ESCAPED = r"store-\udcff\udcfe"


@pytest.fixture(params=["logfmt", "json"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server that is not started, in a directory with bytes in its name."""
    made = ServerProcess(tmp_path, arguments=["--log-format", request.param])
    made.data_dir = tmp_path / os.fsdecode(BYTES)
    yield made
    made.close()


def printed(*arguments: str | Path) -> tuple[int, bytes, bytes]:
    finished = subprocess.run(
        [*PROGRAM, *arguments], env=environment(), capture_output=True, timeout=HANG_S, check=False
    )
    assert b"Traceback" not in finished.stderr
    return finished.returncode, finished.stdout, finished.stderr


def test_it_is_served_and_logged(server: ServerProcess) -> None:
    with server:
        assert server.stop() == 0
        new_store, *_ = server.stderr.splitlines()
        assert "new store" in new_store
        if "json" in server.arguments:
            assert json.loads(new_store)["data_dir"].endswith(ESCAPED)
        else:
            assert ESCAPED in new_store


def test_what_has_become_of_it_is_told_by_http(server: ServerProcess) -> None:
    """As ``/readyz`` does; a running server may have ended by what upkeep finds, before it is asked."""
    engine = LmdbEngine(server.data_dir)
    engine.open()
    server.data_dir.rename(server.data_dir.with_name("moved"))
    with pytest.raises(EngineFailedError) as moved:
        engine.probe()
    engine.close()
    body = problem(503, "not-ready", str(moved.value)).body
    assert isinstance(body, bytes)
    assert f"{ESCAPED} was, or files in it were, removed" in json.loads(body)["detail"]


def test_the_first_lines_name_the_very_bytes(server: ServerProcess) -> None:
    process = subprocess.Popen(server.command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.terminate()
    process.communicate(timeout=HANG_S)
    assert lines[1].rstrip().endswith(BYTES)


def test_it_is_checked_copied_and_given_a_key(server: ServerProcess) -> None:
    with server:
        server.stop()
    source, copy = server.data_dir, server.data_dir.with_name(os.fsdecode(b"copy-\xff"))
    assert printed("check", source)[1].startswith(os.fsencode(source) + b": sound (")
    assert json.loads(printed("check", source, "--json")[1])["store"].endswith(ESCAPED)
    status, stdout, _ = printed("backup", source, copy)
    assert (status, os.fsencode(copy) in stdout) == (0, True)
    assert json.loads(printed("backup", copy, f"{copy}2", "--json")[1])["source"].endswith(r"copy-\udcff")
    assert printed("subscriptions", "rotate-key", source)[0] == 0
    (source / os.fsdecode(b"neighbour-\xff")).touch()
    with server:
        server.stop()


@pytest.mark.parametrize("broken", [DATA_FILE, STORE_FILE, KEY_FILE, None])
def test_its_refusals_are_one_line(server: ServerProcess, broken: str | None) -> None:
    if broken is None:
        server.data_dir /= os.fsdecode(b"no-\xff/below")
    else:
        with server:
            server.stop()
        (server.data_dir / broken).write_bytes(b"\xff" * 65_536)
    status, _, stderr = printed(*server.command[3:])
    assert status == 1
    assert stderr.count(b"\n") == 1
    assert printed("check", server.data_dir)[0] == (0 if broken == KEY_FILE else 1)


@pytest.mark.parametrize("command", [["info"], ["create"], ["fork", "s"], ["subscriptions", "show"]])
def test_other_arguments_are_refused_in_one_line(command: list[str]) -> None:
    finished = run(*command, os.fsdecode(b"\xff"), "--retry-ms", "0", url="http://127.0.0.1:1/v1/stream")
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (2, "", 1)
    assert "is not UTF-8" in finished.stderr

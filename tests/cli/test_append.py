"""`append`: in order, each message once, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import PROGRAM, Running, content, done, environment, messages, run, wait_for_tail
from tests.client.proxy import CuttingProxy
from tests.patience import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

COUNT = 60_000
SMALL_BATCHES = ["--batch-bytes", "4KiB", "--in-flight-count", "2"]
"""So many requests that the middle of the input is easily hit."""


def numbered(count: int) -> str:
    return "".join(f'{{"n": {number}}}\n' for number in range(count))


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.ndjson"
    path.write_text(numbered(COUNT))
    return path


def assert_each_once(stream: str, count: int = COUNT) -> None:
    assert [message["n"] for message in messages(stream)] == list(range(count))


def test_lines_of_files_and_stdin_become_messages_as_they_are(url: str, tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b'  {"a": 12345678901234567890.0}\r\n\n[1, 2]\n"no newline at the end"')
    second.write_bytes(b"null\n")

    said = done("append", "x", first, "-", second, "--create", "--ndjson", text="1e5\n", url=url)

    assert done("read", "x", url=url).splitlines() == [
        '{"a": 12345678901234567890.0}',
        "[1, 2]",
        '"no newline at the end"',
        "1e5",
        "null",
    ]
    assert said.startswith("appended 5 messages, 73 bytes in ")
    assert "next offset 00000000000000" in said


def test_bytes_stay_bytes(url: str, tmp_path: Path) -> None:
    blob = os.urandom(3_000_000)
    path = tmp_path / "blob"
    path.write_bytes(blob)

    answer = json.loads(done("append", "x", path, "--create", "--json", url=url))

    assert content(f"{url}/x") == blob
    assert (answer["byte_count"], answer["next_offset"]) == (len(blob), f"{len(blob):016d}")


def test_a_whole_file_is_one_message(url: str) -> None:
    pretty = '[\n  {"a": 1},\n  {"b": 2}\n]\n'
    done("append", "x", "--create", "--content-type", "application/json", "--whole", text=pretty, url=url)
    assert json.loads(content(f"{url}/x")) == [json.loads(pretty)]


def test_nothing_is_a_good_input_too(url: str) -> None:
    assert "appended 0 messages" in done("append", "x", "--create", "--ndjson", text="\n \n", url=url)
    assert messages(f"{url}/x") == []


def test_a_line_that_is_no_json_is_named_and_what_was_before_it_is_stored(url: str, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text("1\n\n2\n{oops\n3\n")

    finished = run("append", "x", path, "--create", "--ndjson", url=url)

    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (2, "", 1)
    assert f"{path} line 4: " in finished.stderr
    assert "messages stored before: 2" in finished.stderr
    assert messages(f"{url}/x") == [1, 2]


def test_a_pipe_is_not_waited_out(url: str) -> None:
    with Running("append", "x", "--create", "--ndjson", url=url) as command:
        command.write(["1", "2"])
        done("create", "x", "--content-type", "application/json", url=url)
        wait_for_tail(f"{url}/x", 4)
        assert command.running
        command.write(["3"])
        status, stdout, stderr = command.end()

    assert (status, stderr) == (0, "")
    assert stdout.startswith("appended 3 messages")
    assert messages(f"{url}/x") == [1, 2, 3]


def test_a_file_arrives_once_although_the_server_is_killed_midway(server: ServerProcess, url: str, lines: Path) -> None:
    done("create", "x", "--content-type", "application/json", url=url)
    size = lines.stat().st_size
    with Running("append", "x", lines, *SMALL_BATCHES, "--json", url=url) as command:
        for part in (8, 4, 2):
            wait_for_tail(f"{url}/x", size // part)
            assert command.running
            server.kill()
            server.start()
        status, stdout, stderr = command.end()

    assert (status, stderr) == (0, "")
    assert json.loads(stdout)["message_count"] == COUNT
    assert_each_once(f"{url}/x")


def test_a_pipe_arrives_once_although_the_server_is_stopped_midway(server: ServerProcess, url: str) -> None:
    half = COUNT // 2
    with Running("append", "x", "--create", "--ndjson", url=url) as command:
        command.write(numbered(half).splitlines())
        done("create", "x", "--content-type", "application/json", url=url)
        wait_for_tail(f"{url}/x", 1)
        server.stop()
        command.write(numbered(COUNT).splitlines()[half:])
        server.start()
        status, _, stderr = command.end()

    assert (status, stderr) == (0, "")
    assert_each_once(f"{url}/x")


@pytest.mark.parametrize("piped", [False, True])
def test_a_killed_command_is_repeated_and_adds_what_is_missing(url: str, lines: Path, *, piped: bool) -> None:
    arguments = ["append", "x", "--batch-bytes", "8KiB", "--producer-id", "import"]
    done("create", "x", "--content-type", "application/json", url=url)
    with Running(*arguments, lines, "--in-flight-count", "1", url=url) as command:
        wait_for_tail(f"{url}/x", lines.stat().st_size // 3)
        assert command.running
        command.process.kill()

    # At another pace, which must not move the ends of batches.
    again = [*arguments, "--in-flight-count", "64", "--json", *([] if piped else [str(lines)])]
    counted = json.loads(done(*again, text=lines.read_text() if piped else "", url=url))

    assert counted["message_count"] == COUNT
    assert 0 < counted["duplicate_count"] < COUNT
    assert_each_once(f"{url}/x")
    counted = json.loads(done(*again, text=lines.read_text() if piped else "", url=url))
    assert counted["duplicate_count"] == COUNT
    assert_each_once(f"{url}/x")


def test_another_input_under_the_same_producer_id_is_not_taken_for_the_old_one(url: str) -> None:
    arguments = ["append", "x", "--create", "--ndjson", "--producer-id", "nightly"]
    for text in ("1\n2\n", "1\n2\n3\n", "1\n2\n"):
        done(*arguments, text=text, url=url)
    done(*arguments, "--batch-bytes", "1", text="1\n2\n", url=url)
    assert messages(f"{url}/x") == [1, 2, 1, 2, 3, 1, 2]


def test_a_repeated_command_knows_its_own_close(url: str) -> None:
    arguments = ["append", "x", "--create", "--ndjson", "--close", "--producer-id", "once"]
    for _ in range(2):
        assert done(*arguments, text="1\n2\n", url=url).endswith("closed\n")
    assert messages(f"{url}/x") == [1, 2]
    assert json.loads(done("info", "x", "--json", url=url))["closed"]
    other = run(*arguments, text="1\n2\n3\n", url=url)
    assert (other.returncode, other.stderr.count("\n")) == (4, 1)


def test_it_gives_up_when_told_to_and_says_how_far_it_came(server: ServerProcess, url: str) -> None:
    with Running("append", "x", "--create", "--ndjson", "--retry-ms", "200", url=url) as command:
        command.write(["1"])
        done("create", "x", "--content-type", "application/json", url=url)
        wait_for_tail(f"{url}/x", 2)
        server.kill()
        command.write(["2"])
        status, stdout, stderr = command.end()

    assert (status, stdout, stderr.count("\n")) == (5, "", 1)
    assert "messages stored before: 1" in stderr


def test_ctrl_c_is_quiet(url: str) -> None:
    with Running("append", "x", "--create", "--ndjson", url=url) as command:
        command.write(["1"])
        done("create", "x", "--content-type", "application/json", url=url)
        wait_for_tail(f"{url}/x", 2)
        assert command.end(signal.SIGINT) == (-signal.SIGINT, "", "")


def test_a_progress_bar_is_for_terminals(url: str, lines: Path) -> None:
    terminal, side = pty.openpty()
    try:
        finished = subprocess.run(
            [*PROGRAM, "append", "x", lines, "--create", "--ndjson"],
            env=environment({"DS_URL": url, "TERM": "xterm"}),
            stdout=subprocess.PIPE,
            stderr=side,
            timeout=HANG_S,
            check=True,
        )
        os.close(side)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
    assert finished.stdout.startswith(b"appended 60000 messages")
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown
    assert "B" in shown


async def test_three_hundred_thousand_lines_share_requests(url: str, tmp_path: Path) -> None:
    path = tmp_path / "many"
    path.write_text(numbered(300_000))
    async with CuttingProxy(f"{url}/x") as proxy:
        said = await asyncio.to_thread(done, "append", proxy.url, path, "--create", "--ndjson", "--json")
        requests_count = sum(connection.count(b"POST /") for connection in proxy.requests)
    assert json.loads(said)["message_count"] == 300_000
    assert requests_count < 100
    assert_each_once(f"{url}/x", 300_000)

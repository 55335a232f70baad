"""`read` and `tail`: what is in a stream, once and in order, across restarts."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import PROGRAM, Running, done, environment, tail_of
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def stream(url: str) -> str:
    """A JSON stream `x` with three messages."""
    done("create", "x", "--content-type", "application/json", "--body", '[{"a":\n 1}, 1.0, "äö\\n"]', url=url)
    return f"{url}/x"


def test_messages_are_lines_and_their_bytes_stay(stream: str) -> None:
    assert done("read", stream) == '{"a":  1}\n1.0\n"äö\\n"\n'


def test_a_read_starts_where_it_is_told(stream: str) -> None:
    assert done("read", stream, "-n", "1") == '"äö\\n"\n'
    assert done("read", stream, "-n", "0") == ""
    assert done("read", stream, "--offset", "now") == ""
    assert done("read", stream, "--offset", "-1").count("\n") == 3
    assert done("read", stream, "--offset", "0000000000000010") == '1.0\n"äö\\n"\n'


def test_json_tells_where_to_go_on(stream: str) -> None:
    first = json.loads(done("read", stream, "--json"))
    assert first["messages"] == [{"a": 1}, 1.0, "äö\n"]
    assert (first["up_to_date"], first["closed"]) == (True, False)
    assert first["next_offset"] == f"{tail_of(stream):016d}"

    done("append", stream, text="4")

    again = json.loads(done("read", stream, "--json", "--offset", first["next_offset"]))
    assert again["messages"] == [4]


def test_json_of_text_and_of_bytes(url: str) -> None:
    done("create", "text", "--content-type", "text/plain", "--body", "häl\nlo", url=url)
    done("append", "bytes", "--create", text="\0\1", url=url)
    assert json.loads(done("read", "text", "--json", url=url))["text"] == "häl\nlo"
    assert base64.b64decode(json.loads(done("read", "bytes", "--json", url=url))["base64"]) == b"\0\1"


def test_pages_are_joined(url: str) -> None:
    lines = "".join(f'"{number:01000d}"\n' for number in range(3000))
    done("append", "x", "--create", "--ndjson", text=lines, url=url)
    assert done("read", "x", url=url) == lines


def test_tail_begins_with_what_comes(stream: str) -> None:
    with Running("tail", stream, "--json", url=stream) as command:
        ready = json.loads(command.lines(1)[0])
        assert (ready["messages"], ready["up_to_date"]) == ([], True)
        done("append", stream, text="4")
        assert json.loads(command.lines(1)[0])["messages"] == [4]


def test_tail_ends_when_the_stream_is_closed(stream: str) -> None:
    with Running("tail", stream, "-n", "1", url=stream) as command:
        assert command.lines(1) == ['"äö\\n"\n']
        done("close", stream, "--body", '"end"')
        assert command.end() == (0, '"end"\n', "")


def test_tail_ends_when_the_stream_is_deleted(stream: str) -> None:
    with Running("tail", stream, "-n", "1", url=stream) as command:
        assert command.lines(1) == ['"äö\\n"\n']
        done("delete", stream)
        status, stdout, stderr = command.end()
    assert (status, stdout, stderr.count("\n")) == (3, "", 1)


def kill(server: ServerProcess) -> None:
    server.kill()


def stop(server: ServerProcess) -> None:
    server.stop()


@pytest.mark.parametrize("end", [kill, stop])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream"])
def test_tail_goes_on_after_restarts(  # noqa: PLR0917 - fixtures and parameters
    server: ServerProcess, url: str, content_type: str, end: Callable[[ServerProcess], None]
) -> None:
    def append(numbers: range) -> None:
        done("append", "x", text="".join(f"{number}\n" for number in numbers), url=url)

    done("create", "x", "--content-type", content_type, url=url)
    append(range(10))
    with Running("tail", "x", "--offset", "-1", url=url) as command:
        seen = command.lines(10)
        for restart in range(1, 4):
            end(server)
            server.start()
            append(range(restart * 10, restart * 10 + 10))
            seen += command.lines(10)
        done("close", "x", url=url)
        status, rest, stderr = command.end()

    assert seen == [f"{number}\n" for number in range(40)]
    assert (status, rest, stderr) == (0, "", "")


def test_tail_gives_up_when_told_to(server: ServerProcess, stream: str) -> None:
    with Running("tail", stream, "-n", "1", "--retry-ms", "100", url=stream) as command:
        command.lines(1)
        server.kill()
        status, stdout, stderr = command.end()
    assert (status, stdout, stderr.count("\n")) == (5, "", 1)
    assert "no answer from" in stderr


def test_ctrl_c_is_quiet(stream: str) -> None:
    with Running("tail", stream, "-n", "1", url=stream) as command:
        command.lines(1)
        assert command.end(signal.SIGINT) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(url: str, unbuffered: str) -> None:
    done("append", "x", "--create", "--ndjson", text='"a line"\n' * 100_000, url=url)
    with subprocess.Popen(
        [*PROGRAM, "read", f"{url}/x"],
        env=environment({"PYTHONUNBUFFERED": unbuffered}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert reader.stdout.readline() == b'"a line"\n'
        reader.stdout.close()
        assert reader.stderr.read() == b""
        assert reader.wait(HANG_S) == -signal.SIGPIPE

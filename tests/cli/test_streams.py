"""`create`, `info`, `close`, `delete`, `fork`, `list`, and how every command fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import Running, content, done, run
from tests.ports import HOST, free_port
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


def test_a_stream_from_its_creation_to_its_end(url: str) -> None:
    assert done("create", "a/b", "--content-type", "text/plain", "--body", "one", url=url) == (
        f"created {url}/a/b (text/plain)\n"
    )
    described = json.loads(done("info", "a/b", "--json", url=url))
    assert described["url"] == f"{url}/a/b"
    assert described["content_type"] == "text/plain"
    assert (described["next_offset"], described["closed"]) == ("0000000000000003", False)
    assert {"tail", "list"} <= set(described["extensions"])
    assert done("close", f"{url}/a/b", "--body", " two") == f"closed {url}/a/b at 0000000000000007\n"
    assert content(f"{url}/a/b") == b"one two"
    assert "closed        yes\n" in done("info", "a/b", url=url)
    assert done("delete", "a/b", url=url) == f"deleted {url}/a/b\n"
    assert run("info", "a/b", url=url).returncode == 3


def test_lifetimes_and_closed_creation(url: str) -> None:
    done("create", "t", "--ttl-s", "3600", "--closed", "--body", "all", url=url)
    done("create", "e", "--expires-at", "2100-01-01T00:00:00Z", url=url)
    brief = json.loads(done("info", "t", "--json", url=url))
    assert (brief["ttl_s"], brief["closed"]) == (3600, True)
    assert json.loads(done("info", "e", "--json", url=url))["expires_at"] == "2100-01-01T00:00:00.000Z"


def test_info_says_what_a_stream_was_forked_from(url: str) -> None:
    done("create", "so&urce", "--body", "123", url=url)
    done("create", "for", "--body", "123", url=url)
    done("fork", "so&urce", "for ü/k", url=url)

    for name in ("for ü/k", f"{url}/for%20%C3%BC/k"):
        assert json.loads(done("info", name, "--json", url=url))["forked_from"] == "so&urce"
        assert "forked_from   so&urce\n" in done("info", name, url=url)
    for name in ("so&urce", "for"):
        assert json.loads(done("info", name, "--json", url=url))["forked_from"] is None
        assert "forked_from" not in done("info", name, url=url)
    elsewhere = done("info", f"{url}/for%20%C3%BC/k", "--json", url="http://127.0.0.1:1/other")
    assert json.loads(elsewhere)["forked_from"] is None


def test_a_fork_shares_what_came_before(url: str) -> None:
    done("create", "source", "--content-type", "application/json", "--body", "[1,2,3]", url=url)
    answer = json.loads(
        done("fork", "source", "copy", "--offset", "0000000000000002", "--sub-offset", "1", "--json", url=url)
    )
    assert answer == {"url": f"{url}/copy", "forked_from": f"{url}/source"}
    assert done("read", "copy", url=url) == "1\n2\n"
    done("fork", f"{url}/source", f"{url}/whole", url=url)
    assert done("read", "whole", url=url) == "1\n2\n3\n"


def test_streams_are_listed_by_prefix_in_pages(url: str) -> None:
    for path in ("a/1", "a/2", "b"):
        done("create", path, "--content-type", "text/plain", url=url)
    done("close", "a/2", url=url)

    assert done("list", url=url).splitlines() == [
        "a/1\ttext/plain\t0000000000000000\topen",
        "a/2\ttext/plain\t0000000000000000\tclosed",
        "b\ttext/plain\t0000000000000000\topen",
    ]
    assert [json.loads(line)["path"] for line in done("list", "a/", "--json", url=url).splitlines()] == ["a/1", "a/2"]
    assert done("list", "--after", "a/1", "--limit-count", "1", url=url).startswith("a/2\t")
    assert done("list", "nothing", url=url) == ""


def test_a_path_is_taken_literally(url: str) -> None:
    done("create", "größe 100%/a?b#c", "--body", "x", url=url)
    assert json.loads(done("list", "--json", url=url))["path"] == "größe 100%/a?b#c"
    assert done("read", "größe 100%/a?b#c", url=url) == "x"


def test_headers_go_along(url: str) -> None:
    done("create", "x", url=url)
    done("info", "x", "--header", "Authorization: Bearer t", url=url)
    for wrong in ("no colon", "Bad Name: x", ": x", "A: \x01"):
        finished = run("info", "x", more={"DS_URL": url, "DS_HEADER": f"A: b c\n{wrong}"})
        assert finished.returncode == 2
        assert repr(wrong) in finished.stderr


ONE_LINE = [
    (["info", "missing"], 3, "no stream at"),
    (["read", "missing"], 3, "no stream at"),
    (["tail", "missing"], 3, "no stream at"),
    (["append", "missing"], 3, "no stream at"),
    (["close", "missing"], 3, "no stream at"),
    (["delete", "missing"], 3, "no stream at"),
    (["fork", "missing", "target"], 3, "no stream at"),
    (["list", "--url", "{url}/deeper"], 3, "no stream at"),
    (["create", "there"], 4, "another stream"),
    (["create", "__ds/x"], 1, "reserved"),
    (["create", "a//b"], 1, "empty"),
    (["create", "x", "--expires-at", "tomorrow"], 1, "Stream-Expires-At"),
    (["create", "x", "--content-type", "application/json", "--body", "nul"], 1, "JSON"),
    (["create", "x", "--ttl-s", "1", "--expires-at", "2100-01-01T00:00:00Z"], 1, "Stream-TTL"),
    (["append", "ended"], 4, "is closed"),
    (["close", "ended", "--body", "more"], 4, "is closed"),
    (["fork", "there", "ended"], 4, "ended"),
    (["fork", "there", "x", "--offset", "0000000000000099"], 1, "offset"),
    (["read", "there", "--offset", "nonsense"], 1, "offset"),
    (["read", "there", "--offset", "0000000000000001"], 1, "inside"),
    (["read", "there", "-n", "1", "--offset", "now"], 2, "exclude each other"),
    (["read", "ended", "-n", "1"], 1, "application/json"),
    (["append", "there", "--ndjson", "--whole"], 2, "exclude each other"),
    (["append", "ended", "--ndjson"], 4, "is text/plain, not application/json"),
    (["append", "there", "--content-type", "text/plain"], 4, "is application/json, not text/plain"),
    (["append", "there", "/nonexistent/file"], 2, "/nonexistent/file"),
    (["info"], 2, "STREAM"),
    (["info", "ftp://there"], 2, "not a URL"),
    (["info", "http:///x"], 2, "not a URL"),
    (["info", "x", "--frobnicate"], 2, "--frobnicate"),
    (["frobnicate"], 2, "frobnicate"),
    (["check", "/nonexistent"], 1, "/nonexistent"),
    (["backup", "/nonexistent", "/nowhere"], 1, "/nonexistent"),
]


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a stream that is there and one that has ended."""
    with ServerProcess(tmp_path_factory.mktemp("crowded")) as server:
        url = f"{server.url}/v1/stream"
        done("create", "there", "--content-type", "application/json", "--body", "[11,22]", url=url)
        done("create", "ended", "--content-type", "text/plain", "--body", "all", "--closed", url=url)
        yield url


@pytest.mark.parametrize(("arguments", "status", "said"), ONE_LINE)
def test_a_failure_is_one_line_and_a_status(  # noqa: PLR0917 - a row each
    crowded: str, arguments: list[str], status: int, said: str
) -> None:
    finished = run(*[argument.format(url=crowded) for argument in arguments], text="1", url=crowded)

    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert finished.stderr.startswith("durable-streams")
    assert said in finished.stderr
    assert finished.returncode == status


@pytest.mark.parametrize("command", ["info", "create", "append", "read", "tail", "close", "delete", "list"])
def test_nobody_there_is_said_soon(command: str) -> None:
    nowhere = f"http://{HOST}:{free_port()}/v1/stream"
    finished = run(command, "x", "--retry-ms", "0", url=nowhere)

    assert (finished.returncode, finished.stdout) == (5, "")
    assert finished.stderr.count("\n") == 1
    assert f"no answer from {nowhere}" in finished.stderr


def test_a_server_that_comes_back_in_time_is_waited_for(server: ServerProcess, url: str) -> None:
    done("create", "x", url=url)
    server.kill()
    with Running("info", "x", "--json", "--retry-ms", "300000", url=url) as command:
        server.start()
        status, stdout, _ = command.end()
    assert status == 0
    assert json.loads(stdout)["url"] == f"{url}/x"

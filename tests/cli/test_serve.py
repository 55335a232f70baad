"""`serve`: what it prints, and when it refuses."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import TYPE_CHECKING

import pytest

from durable_streams.cli.serve import check_address, startup_text
from durable_streams.runtime.config import ServerConfig
from tests.cli.running import done, run
from tests.cli.test_options import KUBERNETES
from tests.patience import HANG_S
from tests.ports import HOST, free_port
from tests.serving import ServerExited, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve


pytestmark = pytest.mark.slow


def refusal(server: ServerProcess) -> str:
    """The one line with which a start is refused."""
    with pytest.raises(ServerExited) as exited:
        server.start()
    assert exited.value.returncode == 1
    assert exited.value.stdout == ""
    return one_line(exited.value.stderr)


def one_line(stderr: str) -> str:
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("durable-streams")
    return stderr


def test_it_says_where_it_listens_what_it_promises_and_how_to_try_it(serve: Serve) -> None:
    server = serve()
    first, *rest = server.stdout.splitlines()
    assert first == f"Durable Streams at {server.url}/v1/stream"
    assert [line.split(maxsplit=1)[0] for line in rest[:3]] == ["data", "engine", "durability"]
    assert str(server.data_dir) in rest[0]
    assert rest[1].endswith("lmdb")
    assert rest[2].endswith("every acknowledged write is fsynced")
    assert sum(line.lstrip().startswith("curl ") for line in rest) == 4


def test_the_memory_engine_promises_nothing(serve: Serve) -> None:
    server = serve(engine="memory")
    assert "durability  none" in server.stdout
    assert not server.data_dir.exists()


@pytest.mark.parametrize("root", ["/", "/v1/stream", "/a/"])
def test_the_examples_name_a_stream_below_any_root(root: str) -> None:
    text = startup_text(f"http://h:1{root}", ServerConfig(root=root), durable=True)
    assert text.count(f"http://h:1{root.rstrip('/')}/first") == 4


def test_variables_configure_it(serve: Serve) -> None:
    server = serve(environment={"DS_ROOT": "/elsewhere", "DS_SLOW_REQUEST_MS": "60000"})
    assert f"{server.url}/elsewhere" in server.stdout
    assert done("create", f"{server.url}/elsewhere/x").startswith("created")


def test_the_links_of_a_service_named_as_we_are_change_nothing(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, environment=KUBERNETES, engine="memory")
    server.environment["DS_LANE"] = KUBERNETES["DS_PORT"]
    with server:
        server.stop()
    ignored = [line for line in server.stderr.splitlines() if "variable ignored" in line]
    assert len(ignored) == 1
    assert "variable=DS_LANE value=tcp://10.0.0.1:4437" in ignored[0]
    finished = run("serve", "--host", "192.0.2.1", "--engine", "memory", more=KUBERNETES)
    assert "variable=DS_PORT value=tcp://10.0.0.1:4437" in finished.stderr
    assert "cannot listen on 192.0.2.1 port 4437" in finished.stderr


def test_sigterm_drains_and_leaves_with_0(server: ServerProcess) -> None:
    assert server.stop() == 0
    assert 'event="shutting down"' in server.stderr
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_slow_requests_are_logged_and_others_are_not(serve: Serve, log_format: str) -> None:
    server = serve(arguments=["--slow-request-ms", "1", "--log-format", log_format])
    done("create", "slow", url=f"{server.url}/v1/stream")
    body = b"x" * (12 << 20)
    request = urllib.request.Request(  # noqa: S310 - http
        server.stream_url("slow"), body, {"Content-Type": "application/octet-stream"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=HANG_S).close()  # noqa: S310 - http
    server.stop()

    line = next(line for line in server.stderr.splitlines() if "slow request" in line and "POST" in line)
    if log_format == "json":
        logged = json.loads(line)
        assert (logged["event"], logged["level"], logged["method"]) == ("slow request", "warning", "POST")
        assert logged["path"] == "/v1/stream/slow"
        assert logged["ms"] > 1
    else:
        assert 'level=warning event="slow request" method=POST path=/v1/stream/slow' in line


def test_there_is_no_access_log(server: ServerProcess) -> None:
    done("create", "x", url=f"{server.url}/v1/stream")
    done("info", "x", url=f"{server.url}/v1/stream")
    server.stop()
    assert [line.split('"')[1] for line in server.stderr.splitlines()] == ["new store", "shutting down"]


def test_it_refuses_a_data_dir_in_use(server: ServerProcess, tmp_path: Path) -> None:
    other = ServerProcess(tmp_path)
    other.data_dir = server.data_dir
    line = refusal(other)
    assert f"in use by process {server.pid}" in line
    assert "stop it" in line


def test_it_refuses_an_unknown_version(serve: Serve) -> None:
    server = serve()
    server.stop()
    store = server.data_dir / "store.json"
    said = json.loads(store.read_text())
    store.write_text(json.dumps(said | {"format": 9}))
    assert "has format 9" in refusal(server)


def test_an_empty_directory_becomes_a_new_store_and_it_says_so_once(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.data_dir.mkdir()
    with server:
        server.stop()
        server.start()
    [line] = [line for line in server.stderr.splitlines() if "new store" in line]
    assert f'data_dir={server.data_dir} found="an empty directory"' in line


@pytest.mark.parametrize("variable", [True, False])
def test_a_required_store_is_not_begun(tmp_path: Path, *, variable: bool) -> None:
    server = ServerProcess(tmp_path)
    server.arguments = [] if variable else ["--require-store"]
    server.environment = {"DS_REQUIRE_STORE": "1"} if variable else {}
    assert "start once without --require-store" in refusal(server)
    server.data_dir.mkdir()
    assert "disk not mounted?" in refusal(server)
    assert list(server.data_dir.iterdir()) == []
    with ServerProcess(tmp_path):
        pass
    with server:
        assert server.running


def test_it_refuses_a_data_dir_without_a_parent(tmp_path: Path) -> None:
    assert "create" in refusal(ServerProcess(tmp_path / "missing"))


def test_it_refuses_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        server = ServerProcess(tmp_path, port=taken.getsockname()[1])
        line = refusal(server)
    assert f"cannot listen on {HOST} port {server.port} (Address already in use)" in line
    assert not server.data_dir.exists(), "a mistyped port leaves no store behind"
    with server:
        assert server.running


def test_a_port_in_use_leaves_a_standing_store_alone(serve: Serve) -> None:
    server = serve()
    done("create", "kept", url=f"{server.url}/v1/stream")
    server.stop()
    with socket.create_server((HOST, 0)) as taken:
        other = ServerProcess(server.data_dir.parent, port=taken.getsockname()[1])
        other.data_dir = server.data_dir
        assert "cannot listen" in refusal(other)
    server.start()
    assert done("info", "kept", url=f"{server.url}/v1/stream")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", "localhost", ""])  # noqa: S104 nothing is served
def test_where_nobody_listens_it_may(host: str) -> None:
    check_address(host, 0)
    check_address(host, free_port())


def test_it_refuses_a_host_that_is_not_here(tmp_path: Path) -> None:
    finished = run("serve", "--host", "192.0.2.1", "--port", str(free_port()), "--engine", "memory")
    assert finished.returncode == 1
    assert "cannot listen on 192.0.2.1" in one_line(finished.stderr)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "65536"], "--port"),
        (["--port", "abc"], "'--port' (env var: 'DS_PORT'): abc is not a whole number from 0 to 65535"),
        (["--sweep-count", "0"], "0 is not a whole number of at least 1"),
        (["--root", "v1"], "--root"),
        (["--root", "/a?b"], "--root"),
        (["--root", "/a/../b"], "--root"),
        (["--engine", "sql"], "--engine"),
        (["--max-append-bytes", "lots"], "--max-append-bytes"),
        (["--queue-bytes", "1MiB"], "--queue-bytes"),
        (["--arriving-bytes", "1MiB"], "--arriving-bytes"),
        (["--long-poll-timeout-ms", "0"], "--long-poll-timeout-ms"),
        (["--frobnicate"], "--frobnicate"),
        (["surplus"], "surplus"),
    ],
)
def test_wrong_options_are_refused_in_one_line(arguments: list[str], named: str) -> None:
    finished = run("serve", *arguments)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert named in one_line(finished.stderr)

"""Fixtures shared by every test that talks to the real server."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Literal, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LOG_TAIL_CHARACTERS = 4_000

# `proof` finds the same examples on every machine; HYPOTHESIS_PROFILE=explore looks for new ones. No deadline: a slow
# machine is not a wrong server.
settings.register_profile("proof", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "proof"))

# A run in the background of a shell script starts with ctrl-C ignored, and so would every process the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test whose name holds an address: each of the processes that run tests would know it by another."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"the name of {item.nodeid} differs from run to run")


class Serve(Protocol):
    """Start a server; see `ServerProcess` for the arguments."""

    def __call__(
        self,
        *,
        engine: Literal["lmdb", "memory"] = "lmdb",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> ServerProcess: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start any number of servers, each on a data dir of its own; what they logged is shown when the test fails."""
    with contextlib.ExitStack() as servers:

        def start(
            *,
            engine: Literal["lmdb", "memory"] = "lmdb",
            arguments: Sequence[str] = (),
            environment: Mapping[str, str] | None = None,
        ) -> ServerProcess:
            directory = tmp_path / f"server-{len(started)}"
            directory.mkdir()
            server = ServerProcess(directory, engine=engine, arguments=arguments, environment=environment)
            started.append(server)
            return servers.enter_context(server)

        started: list[ServerProcess] = []
        yield start
    for server in started:
        print(f"--- {server.url} {server.data_dir}\n{server.stderr[-LOG_TAIL_CHARACTERS:]}")  # noqa: T201 - for pytest to capture


@pytest.fixture
def server(serve: Serve) -> ServerProcess:
    """A running server on LMDB with the default settings."""
    return serve()

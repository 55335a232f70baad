"""Fixtures of the HTTP tests: servers in this process, on the event loop that the real process uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
import uvloop

from tests.http.site import QUIET, EngineName, Site, running
from tests.loops import StillLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from durable_streams.engine.base import Engine
    from durable_streams.runtime.clock import ManualClock
    from durable_streams.runtime.config import Bounds
    from tests.http.wire import Client


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of the real process, or one whose time the test moves."""
    if item.get_closest_marker("still_time") is not None:
        return {"still": StillLoop}
    return {"uvloop": uvloop.new_event_loop}


class Run(Protocol):
    """Start a server; see ``running`` for the arguments. Each call in one test has the same data dir."""

    def __call__(
        self,
        *,
        engine: EngineName | Engine = "memory",
        bounds: Bounds = QUIET,
        clock: ManualClock | None = None,
        **config: Any,  # noqa: ANN401 see ``running``
    ) -> AbstractAsyncContextManager[Site]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(**arguments: Any) -> AbstractAsyncContextManager[Site]:  # noqa: ANN401 see ``Run``
        return running(tmp_path / "data", **arguments)

    return start


@pytest.fixture(params=["memory", "lmdb"])
def engine_name(request: pytest.FixtureRequest) -> EngineName:
    name: EngineName = request.param
    return name


@pytest.fixture(params=[True, False], ids=["lane", "aiohttp"])
def lane(request: pytest.FixtureRequest) -> bool:
    """Which front meets the client."""
    return bool(request.param)


@pytest.fixture
async def site(run: Run, engine_name: EngineName) -> AsyncIterator[Site]:
    """A server with default bounds, once on each engine."""
    async with run(engine=engine_name) as site:
        yield site


@pytest.fixture
async def fronted(run: Run, lane: bool) -> AsyncIterator[Site]:  # noqa: FBT001 pytest hands fixtures over like this
    """A server with default bounds, once behind each front."""
    async with run(lane=lane) as site:
        yield site


@pytest.fixture
def client(site: Site) -> Client:
    return site.client

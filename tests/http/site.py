"""A whole server in the test's own process: real sockets, real store, a clock that the test moves."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from durable_streams.runtime.clock import ManualClock
from durable_streams.runtime.config import Bounds, ServerConfig
from durable_streams.server import Server, make_engine
from tests.http.wire import Client
from tests.loops import StillLoop
from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from durable_streams.engine.base import Engine

EngineName = Literal["lmdb", "memory"]

QUIET = Bounds(sweep_interval_ms=3_600_000, drain_timeout_ms=1_000, half_closed_probe_ms=20)
"""The server does nothing on its own after its start: a test that wants upkeep asks for a round of it. It notices at
once that a client has gone."""


class Site:
    """A running server and a client of it."""

    def __init__(self, server: Server, engine: Engine, clock: ManualClock) -> None:
        self.server, self.engine, self.clock = server, engine, clock
        origin, _, root = server.url.removeprefix("http://").partition("/")
        self.client = Client(f"http://{origin}", f"/{root}")

    async def upkeep(self) -> None:
        """Let upkeep do all there is to do now."""
        while await self.server._upkeep.round():
            pass

    def followers(self) -> int:
        """How many live readers the tail knows."""
        return len(self.server.streams._hub.followers())


def bounded(**bounds: int) -> Bounds:
    """Return ``QUIET`` with other bounds."""
    return dataclasses.replace(QUIET, **bounds)


@asynccontextmanager
async def running(
    data_dir: Path,
    *,
    engine: EngineName | Engine = "memory",
    bounds: Bounds = QUIET,
    clock: ManualClock | None = None,
    **config: Any,  # noqa: ANN401 fields of ServerConfig, checked there
) -> AsyncIterator[Site]:
    """Run a server on a free port until the block ends."""
    clock = clock or ManualClock()
    name = engine if isinstance(engine, str) else "memory"
    settings = ServerConfig(port=0, engine=name, data_dir=data_dir, bounds=bounds, **config)
    store = make_engine(settings) if isinstance(engine, str) else engine
    server = Server(settings, store, clock)
    await server.start()
    try:
        yield Site(server, store, clock)
    finally:
        await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until something has come about; ``TimeoutError`` if it does not."""
    stands_still = isinstance(asyncio.get_running_loop(), StillLoop)
    async with asyncio.timeout(HANG_S):
        while not condition():  # it watches the server, which has no events for tests
            await (asyncio.sleep(0) if stands_still else pause(0.001))

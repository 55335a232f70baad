"""A streams server in the test's own loop, a scripted model, and readers."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import Pace
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sources.given import as_source
from durable_streams.client import astream
from durable_streams.engine.memory import MemoryEngine
from durable_streams.runtime.config import Bounds, ServerConfig
from durable_streams.server import Server
from tests.agents.upstream import ScriptedUpstream
from tests.loops import StillLoop
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.agents.sessions.settings import Busy
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.sources.iterated import Iterated

    Adapters = Callable[..., AbstractAsyncContextManager[Adapter]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The usual loop, or one whose time the test moves."""
    if item.get_closest_marker("still_time") is not None:
        return {"still": StillLoop}
    return {"usual": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _no_pulse_is_left() -> Iterator[None]:
    """Hold a test to ending the adapters that it begins: what it leaves would act in the tests after it."""
    before = set(threading.enumerate())
    yield
    assert [thread for thread in set(threading.enumerate()) - before if thread.name == "pulse"] == []


@pytest.fixture
async def root(tmp_path: Path) -> AsyncIterator[str]:
    """URL of the root of a streams server."""
    bounds = Bounds(long_poll_timeout_ms=500, sse_lifetime_ms=60_000)
    server = Server(ServerConfig(port=0, engine="memory", data_dir=tmp_path, bounds=bounds), MemoryEngine())
    await server.start()
    yield server.url.rstrip("/")
    await server.stop()


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as running:
        yield running


@pytest.fixture
def adapters(root: str) -> Adapters:
    """Make adapter processes' insides: all of them on one server."""

    @asynccontextmanager
    async def make(source: Source | Iterated, on_busy: Busy = "reject") -> AsyncIterator[Adapter]:
        settings = Settings(root, on_busy=on_busy, lease_ms=60_000, renew_ms=200, pace=Pace(linger_ms=5))
        async with Adapter(settings, as_source(source)) as adapter:
            yield adapter

    return make


async def stored(url: str) -> list[Any]:
    """Return all items of a JSON stream."""
    async with astream(url, live=False) as response:
        return await response.read_json()


async def shows(url: str, happened: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait until what is stored is so."""
    chunks: list[dict[str, Any]] = []
    async with astream(url) as response:
        async for chunk in response.iter_json():
            chunks.append(chunk)
            if happened(chunks):
                return


def text_of(chunks: list[dict[str, Any]]) -> str:
    """Return the text in UI chunks."""
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


async def ended(adapter: Adapter, session_id: str, gid: str) -> Attempt:
    """Wait until the session says that an attempt has ended."""
    session = adapter.session(session_id)
    async with asyncio.timeout(HANG_S), session.following():
        await session.changed(lambda state: gid in state.attempts and not state.attempts[gid].active)
    return session.state.attempts[gid]

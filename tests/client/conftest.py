"""A server in the test's own loop, and the patience of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from durable_streams.client import AsyncDurableStream, RetryPolicy
from durable_streams.engine.memory import MemoryEngine
from durable_streams.runtime.config import Bounds, ServerConfig
from durable_streams.server import Server
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

QUICK = RetryPolicy(initial_s=0.001, max_s=0.01, give_up_after_s=HANG_S)
ONCE = RetryPolicy(give_up_after_s=0)

PAGE_BYTES = 4096


@pytest.fixture
async def root(tmp_path: Path) -> AsyncIterator[str]:
    """URL of the root of a server with small pages and short long-polls."""
    bounds = Bounds(max_chunk_bytes=PAGE_BYTES, long_poll_timeout_ms=200, sse_lifetime_ms=60_000)
    server = Server(ServerConfig(port=0, engine="memory", data_dir=tmp_path, bounds=bounds), MemoryEngine())
    await server.start()
    yield server.url
    await server.stop()


@pytest.fixture
async def make(root: str) -> AsyncIterator[Callable[..., Awaitable[AsyncDurableStream]]]:
    """Create streams; their handles share a session that ends with the test."""
    async with aiohttp.ClientSession() as session:

        async def create(path: str = "s", content_type: str = "application/json") -> AsyncDurableStream:
            return await AsyncDurableStream.create(
                f"{root}/{path}", content_type=content_type, client=session, retry=QUICK
            )

        yield create

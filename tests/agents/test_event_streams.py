"""Answers that are event streams: what is silent is kept alive, and what breaks does not look whole."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from durable_streams.agents.service.event_streams import as_events
from tests.loops import time_passes, turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class Said:
    """What the test has put, and whether it was let go of."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def items(self) -> AsyncGenerator[bytes, None]:
        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed.set()


@asynccontextmanager
async def reading(said: Said) -> AsyncIterator[aiohttp.ClientResponse]:
    app = web.Application()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await as_events(request, said.items(), {"x-more": "1"})

    app.router.add_get("/", answer)
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            yield response
    finally:
        await runner.cleanup()


@pytest.mark.still_time
async def test_silence_is_broken_every_15_seconds() -> None:
    said = Said()
    async with reading(said) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["x-more"] == "1"
        said.queue.put_nowait(b"1")
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        await time_passes(14)
        said.queue.put_nowait(b"2")
        await turns()
        await time_passes(14)  # 14 s since anything was said, though 28 s since it began
        said.queue.put_nowait(b"3")
        await turns()
        await time_passes(46)
        said.queue.put_nowait(None)
        rest = await response.read()
    assert rest == b"data: 2\n\n" + b"data: 3\n\n" + b": keep-alive\n\n" * 3
    assert said.closed.is_set()


@pytest.mark.still_time
async def test_a_reader_that_has_gone_is_noticed_though_nothing_is_said() -> None:
    said = Said()
    async with reading(said) as response:
        said.queue.put_nowait(b"1")
        await response.content.readuntil(b"\n\n")
        response.close()
        await turns()
        await time_passes(31)
        await said.closed.wait()


async def test_what_breaks_does_not_look_whole() -> None:
    said = Said()
    async with reading(said) as response:
        said.queue.put_nowait(b"1")
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        said.queue.put_nowait(ValueError("inside"))
        with pytest.raises(aiohttp.ClientError):
            await response.read()

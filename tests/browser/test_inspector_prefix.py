"""The inspector behind a proxy that takes a path prefix off, in a real browser."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.browser.test_inspector import MESSAGES, ROWS, put
from tests.ports import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.browser.cdp import Browser
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

PREFIX = "/far/away"
OF_THE_BODY = {"content-length", "content-type", "cache-control", "etag", "content-security-policy"}


@asynccontextmanager
async def proxied(server: ServerProcess) -> AsyncIterator[str]:
    """Serve everything below the prefix from a port of its own, and nothing else; yield where."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        if not path.startswith(f"{PREFIX}/"):
            return web.Response(status=404)
        async with (
            aiohttp.ClientSession() as http,
            http.request(request.method, server.url + path.removeprefix(PREFIX), data=await request.read()) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name.lower() in OF_THE_BODY}
            kept |= {name: value for name, value in answer.headers.items() if name.startswith("Stream-")}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            return response

    runner = web.ServerRunner(web.Server(pass_on), shutdown_timeout=0.1)  # type: ignore[arg-type] # a Request is a BaseRequest
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    try:
        yield f"http://{HOST}:{runner.addresses[0][1]}{PREFIX}"
    finally:
        await runner.cleanup()


async def test_it_looks_for_the_streams_below_the_prefix(server: ServerProcess, browser: Browser) -> None:
    await put(server, "a/b", [{"n": 1}])
    async with proxied(server) as url:
        page = await (await browser.profile()).open(f"{url}/_ui#a%2Fb")
        assert await page.until(f"{ROWS}.length === 1 && {ROWS}") == ["a/b"]
        assert await page.until(f"{MESSAGES}.length === 1 && {MESSAGES}") == ['{"n": 1}']

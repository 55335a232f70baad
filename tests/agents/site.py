"""The service in the test's own loop, and a client of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from durable_streams.agents.service.app import make_app
from durable_streams.agents.service.chat import ADAPTER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_streams.agents.service.access import Access
    from durable_streams.agents.sessions.adapter import Adapter


class Site:
    """A running service and a client of it."""

    def __init__(self, app: web.Application, url: str, session: aiohttp.ClientSession) -> None:
        self.app, self.url, self._session = app, url, session
        self.adapter = app[ADAPTER]

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(
            method, self.url + path, json=body, headers=named, allow_redirects=False
        ) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def send(self, method: str, path: str, data: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send a body as it is, without a type of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(
            method, self.url + path, data=data, headers=named, skip_auto_headers=["Content-Type"], allow_redirects=False
        ) as answer:
            return answer.status, dict(answer.headers), await answer.read()


@asynccontextmanager
async def serving(adapter: Adapter, access: Access | None = None) -> AsyncIterator[Site]:
    """Run the service."""
    app = make_app(adapter, {"model": "echo"}, access=access)
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Site(app, f"http://127.0.0.1:{runner.addresses[0][1]}", session)
    finally:
        await runner.cleanup()

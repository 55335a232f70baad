"""Answers that are event streams, for as long as an answer is being written.

A model may think for minutes, and proxies give up on what is silent: a comment goes out whenever nothing else has for
``KEEP_ALIVE_S``. A reader that goes away is noticed by it at the latest, and stops nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

log = structlog.get_logger(__name__)

EVENT_STREAM: Final = "text/event-stream"
KEEP_ALIVE_S: Final = 15.0
KEEP_ALIVE: Final = b": keep-alive\n\n"


async def as_events(
    request: web.Request, said: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer with an event for each of what is said, until there is no more or the reader has gone.

    Args:
        request: of the reader.
        said: each one's data, on one line.
        headers: more of the answer.
    """
    response = web.StreamResponse(
        headers={
            "Content-Type": EVENT_STREAM,
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            **(headers or {}),
        }
    )
    try:
        await response.prepare(request)
        await _Telling(response).tell(said)
    except ConnectionResetError:
        pass  # the reader has gone; the run goes on
    except Exception:
        # Part of it is out, so all there is left to tell the reader is that this was not the whole.
        log.exception("event_stream_failed", path=request.path)
        if request.transport is not None:
            request.transport.abort()
    return response


class _Telling:
    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._wrote_s = self._loop.time()

    async def tell(self, said: AsyncGenerator[bytes, None]) -> None:
        """Write everything.

        Raises:
            ConnectionResetError: the reader has gone.
            Exception: whatever ended what is said.
        """
        both: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._relay(said)),
            asyncio.create_task(self._keep_alive()),
        }
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in done:
            task.result()

    async def _relay(self, said: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(said):
            async for data in said:
                await self._write(b"data: " + data + b"\n\n")

    async def _keep_alive(self) -> None:
        while True:
            left_s = self._wrote_s + KEEP_ALIVE_S - self._loop.time()
            if left_s > 0:
                await asyncio.sleep(left_s)
            else:
                await self._write(KEEP_ALIVE)

    async def _write(self, event: bytes) -> None:
        self._wrote_s = self._loop.time()
        await self._response.write(event)

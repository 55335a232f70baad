"""The front that serves everything: aiohttp's server, one plain request and one plain answer at a time.

Owns: reading bodies within bounds, writing answers within time, handing live readers their transport.
Must not know: what any request means.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from durable_streams.http import answers
from durable_streams.http.errors import answer_of
from durable_streams.http.messages import Answer, Request, SseStart
from durable_streams.protocol.errors import BodyTooLargeError, RequestTimeoutError, StreamError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader
    from aiohttp.web_protocol import RequestHandler

    from durable_streams.config import Bounds
    from durable_streams.http.router import Router
    from durable_streams.http.sse_connection import LiveReaders

_log = structlog.get_logger(__name__)
_SMALL_BODY_BYTES = 64 * 1024


class AiohttpFront:
    """Makes connections for ``loop.create_server``; serves them through the router."""

    def __init__(self, router: Router, readers: LiveReaders, bounds: Bounds) -> None:
        self._router, self._readers, self._bounds = router, readers, bounds
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}
        self._server = web.Server(
            self._serve,
            request_factory=self._begin,
            access_log=None,
            keepalive_timeout=bounds.keepalive_timeout_ms / 1000,
            lingering_time=1.0,
        )

    def connect(self) -> RequestHandler:
        """Return the protocol of a new connection; it is cut if no whole request head arrives in time."""
        handler = self._server()
        timeout_s = self._bounds.request_timeout_ms / 1000
        self._silent[handler] = asyncio.get_running_loop().call_later(timeout_s, self._cut, handler)
        return handler

    async def shutdown(self, timeout_s: float) -> None:
        """Let requests under way finish within the time, then close all connections."""
        for timer in self._silent.values():
            timer.cancel()
        self._server.pre_shutdown()
        await self._server.shutdown(timeout_s)

    def _cut(self, handler: RequestHandler) -> None:
        del self._silent[handler]
        if handler.transport is not None:
            handler.transport.abort()

    def _begin(  # noqa: PLR0917 aiohttp's signature
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Called by aiohttp when a request head has been read."""
        timer = self._silent.pop(protocol, None)
        if timer is not None:
            timer.cancel()
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self._bounds.max_append_bytes,
        )

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        began_s = time.perf_counter()
        try:
            request = await self._read(raw)
        except StreamError as refusal:
            answer: Answer | SseStart = answer_of(refusal)
        else:
            answer = await self._answer(request)
        if isinstance(answer, SseStart):
            return self._hand_over(raw, answer)
        response = await self._send(raw, answer)
        elapsed_ms = (time.perf_counter() - began_s) * 1000
        if elapsed_ms > self._bounds.slow_request_ms and "live" not in raw.query:
            _log.warning(
                "slow request", method=raw.method, path=raw.rel_url.raw_path, status=answer.status, ms=round(elapsed_ms)
            )
        return response

    async def _answer(self, request: Request) -> Answer | SseStart:
        settled: asyncio.Future[Answer | SseStart] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer | SseStart) -> None:
            if not settled.done():  # the client may have gone before its write was durable
                settled.set_result(answer)

        pending = self._router.dispatch(request, settle)
        try:
            return await settled
        finally:
            if pending is not None and not settled.done():
                pending.abandon()

    async def _read(self, raw: web.BaseRequest) -> Request:
        body = b""
        if raw.can_read_body:
            limit = self._bounds.max_append_bytes
            if (raw.content_length or 0) > limit:
                raise BodyTooLargeError(limit)
            try:
                async with asyncio.timeout(self._bounds.request_timeout_ms / 1000):
                    body = await raw.read()
            except TimeoutError:
                msg = "the request did not arrive in time"
                raise RequestTimeoutError(msg) from None
            except web.HTTPRequestEntityTooLarge:
                raise BodyTooLargeError(limit) from None
        url = raw.rel_url
        return Request(
            raw.method, url.raw_path, tuple(url.query.items()), raw.headers, body, f"{raw.scheme}://{raw.host}"
        )

    def _hand_over(self, raw: web.BaseRequest, start: SseStart) -> web.StreamResponse:
        """Give the connection to a live reader: aiohttp keeps no task, request or parser for it.

        For aiohttp the connection is lost from here on; the response returned goes nowhere.
        """
        protocol, transport = raw.protocol, raw.transport
        if transport is not None:
            protocol.transport = None
            protocol.connection_lost(None)
            self._readers.take_over(transport, start)
        return web.Response()

    async def _send(self, raw: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        response = web.Response(status=answer.status, body=answer.body or None)
        for name, value in (*answer.headers, *answers.COMMON):
            response.headers[name] = value
        if len(answer.body) > _SMALL_BODY_BYTES:
            try:
                async with asyncio.timeout(self._bounds.write_timeout_ms / 1000):
                    await response.prepare(raw)
                    await response.write_eof()
            except TimeoutError:
                _cut_slow(raw)
        return response


def _cut_slow(raw: web.BaseRequest) -> None:
    """End a peer that has stopped taking its answer."""
    if raw.transport is not None:
        raw.transport.abort()
    msg = "the peer took nothing for too long"
    raise ConnectionResetError(msg)

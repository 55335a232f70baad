"""The front that serves everything: aiohttp's server, one plain request and one plain answer at a time.

Owns: reading bodies within bounds, writing answers within time, handing live readers their transport, and answering in
our words what aiohttp refuses before a handler sees it.
Must not know: what any request means.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from durable_streams.http import answers
from durable_streams.http.errors import answer_of, problem
from durable_streams.http.extensions.streaming_append import APPEND_MODE
from durable_streams.http.fronts.arriving import ArrivingBodies, Patience
from durable_streams.http.fronts.content_coding import decode_body
from durable_streams.http.fronts.half_closed import CONTINUE, GoneWatch
from durable_streams.http.fronts.lingering import Lingering
from durable_streams.http.messages import Answer, Request, SseStart
from durable_streams.http.outgoing import SMALL_MAX_BYTES
from durable_streams.http.sending import StallWatch
from durable_streams.protocol.errors import (
    BodyTooLargeError,
    InvalidHeaderError,
    OverloadedError,
    RequestTimeoutError,
    StreamError,
    TransferCodingError,
)
from durable_streams.protocol.public_urls import check_authority
from durable_streams.protocol.request_fields import BLANK, CONTENT_ENCODING, HOST, gather
from durable_streams.protocol.transfer import CHUNKED, UNTIL_CLOSE
from durable_streams.runtime.turns import TURN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from durable_streams.http.extensions.streaming_append import Upload
    from durable_streams.http.live.connection import LiveReaders
    from durable_streams.http.messages import BodySource
    from durable_streams.http.router import Router
    from durable_streams.runtime.config import Bounds

_log = structlog.get_logger(__name__)
_LINGER_S: Final = 1.0
"""How long the rest of a refused body is read and dropped, so that the peer can take the answer before the end."""
_CLOSE: Final = ("Connection", "close")


class _NoRoomError(web.RequestPayloadError):
    """A body of which no more can be held."""


class Connection(web.RequestHandler):
    """aiohttp's protocol, but it speaks problem+json where aiohttp would not, and waits for no head for ever."""

    __slots__ = (
        "_answering",
        "_body",
        "_end_is_held",
        "_expecting",
        "_front",
        "_gone_watch",
        "_timer",
        "_turned_away",
        "_unread_bytes",
        "ended",
    )

    def __init__(self, front: AiohttpFront, server: web.Server, keepalive_timeout_s: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None turns it off
            auto_decompress=False,  # it takes a body that was cut short for a whole one
            keepalive_timeout=keepalive_timeout_s,
            lingering_time=_LINGER_S,
        )
        self._front, self._expecting = front, False
        self._unread_bytes, self._turned_away = 0, False
        self.ended = self._end_is_held = self._answering = False
        self._body: StreamReader | None = None
        self._gone_watch: GoneWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.expect()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, or its connection was handed over by the lane."""
        super().connection_made(transport)
        # uvloop's transports are asyncio's by their methods only.
        cast("asyncio.WriteTransport", transport).set_write_buffer_limits(high=SMALL_MAX_BYTES, low=0)

    def expect(self) -> None:
        """Give the client the request timeout to send a head."""
        self._expecting = True
        self._timer = self._front.later(self._cut)

    def begin(self, body: StreamReader) -> None:
        """A head has come; ``body`` follows it."""
        self._body, self._answering = body, False
        self._expect_nothing()

    def answering(self) -> None:
        """An answer begins: nothing else may be sent until it is whole."""
        self._answering = True
        if (self.ended or self._turned_away) and self._body is not None and not self._body.is_eof():
            self._body.feed_eof()  # nobody waits for the rest; before the answer it would pass for a body that is whole

    def _expect_nothing(self) -> None:
        self._expecting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def idle(self) -> None:
        """An answer has gone out: the next head may take its time to begin, but not to end."""
        self._expecting = True
        if not self._messages:
            self.took(self._unread_bytes)
        if self.ended and not self._messages:
            self.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those that do not complete a head start its time."""
        if not self._count(len(data)):
            return
        super().data_received(data)
        if self.ended:
            self._refuse_rest()
        if self._expecting and self._timer is None and not self._messages:
            self.expect()

    def _count(self, count: int) -> bool:
        """Count what was read of the connection until it is taken on; False if nothing more is taken of it."""
        try:
            self._front.arriving.read(count)
        except OverloadedError:
            self._turn_away()
            return False
        self._unread_bytes += count
        return True

    def took(self, count: int) -> None:
        """So much of what was read has been taken on by a request, which counts it by itself."""
        taken_bytes = min(count, self._unread_bytes)
        self._unread_bytes -= taken_bytes
        self._front.arriving.read(-taken_bytes)

    def _turn_away(self) -> None:
        """There is no room for more: who reads a body refuses it, and the connection ends with the present answer."""
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(_NoRoomError("too many bodies are arriving at once"))
        self._turned_away = True
        self.close()

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp's closes, whatever is under way
        """The client has shut its side: answer what it has asked, then close."""
        if self._reading_paused or self._buffer_paused:
            self._end_is_held = True  # behind bytes that are here and not looked at yet
            return True
        return self._end()

    def _resume_transport_reading(self) -> None:
        """All that was here has been looked at: read on, or come to the end."""
        if self._end_is_held:
            self._end_is_held = False
            if not self._end() and self.transport is not None:
                self.transport.close()
        elif not self.ended:
            super()._resume_transport_reading()

    def _end(self) -> bool:
        """Nothing more will come. Returns whether something is under way, for which the connection stays open."""
        self.ended = True
        if self._expecting and not self._messages:
            return False
        self._refuse_rest()
        if self.transport is not None:
            self._gone_watch = GoneWatch(self.transport, self._probe, self._front.half_closed_probe_s)
        return True

    def _refuse_rest(self) -> None:
        """Tell whoever reads a body that it will never be whole."""
        body = self._messages[-1][1] if self._messages else self._body
        if body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError("the connection's end came before the body's"))

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client has gone, or its connection was handed over."""
        self._expect_nothing()
        self.took(self._unread_bytes)
        if self._gone_watch is not None:
            self._gone_watch.stop()
        super().connection_lost(exc)

    def _probe(self) -> None:
        request = self._current_request
        if (
            self.transport is not None
            and request is not None
            and not self._answering
            and request.version >= HttpVersion11
        ):
            self.transport.write(CONTINUE)

    def handle_error(  # noqa: PLR0917 aiohttp's signature
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what could not be parsed, or what went wrong in this front; the connection ends (RFC 9112 §9.6)."""
        if isinstance(exc, ConnectionError):  # the client left: nobody is there to be answered
            raise exc
        if status < 500 or isinstance(exc, _MALFORMED):  # noqa: PLR2004
            answer = malformed(exc, message)
        else:
            incident = secrets.token_hex(4)
            _log.error("request failed", incident=incident, path=request.path, exc_info=exc)
            answer = problem(500, "internal-error", f"internal error {incident}", extra=(_CLOSE,))
        self.answering()
        response = _response(answer)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; behind a refusal that ends the connection, linger. For aiohttp it is lost from there on."""
        answer, reset = await super().finish_response(request, resp, start_time)
        transport = self.transport
        is_refusal = answer.status >= HTTPStatus.BAD_REQUEST and not answer.keep_alive
        if is_refusal and not (reset or self.ended or transport is None or transport.is_closing()):
            self.transport = None
            self.connection_lost(None)
            Lingering(transport, self._front.lingering)
        return answer, reset

    def _cut(self) -> None:
        self._timer = None
        if self.transport is not None:
            self.transport.abort()


class _Refused(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it at once."""
        cast("asyncio.WriteTransport", transport).abort()


_MALFORMED: Final = (web.RequestPayloadError, HttpProcessingError)


def malformed(fault: BaseException | None, detail: str | None = None) -> Answer:
    """Return the answer to bytes that are no HTTP request."""
    if isinstance(fault, LineTooLong):
        return problem(431, "head-too-large", "the request's head is too large", extra=(_CLOSE,))
    reason = (detail or getattr(fault, "message", "") or str(fault)).partition("\n")[0].rstrip(":")
    return problem(400, "malformed-request", f"not a valid HTTP request: {reason}", extra=(_CLOSE,))


class AiohttpFront:
    """Makes connections for ``loop.create_server``; serves them through the router."""

    def __init__(self, router: Router, readers: LiveReaders, bounds: Bounds) -> None:
        self._router, self._readers, self._bounds = router, readers, bounds
        self._outgoing, self._turns = readers.outgoing, readers.turns
        self.half_closed_probe_s = bounds.half_closed_probe_ms / 1000
        self.lingering: set[Lingering] = set()
        self.arriving = ArrivingBodies(bounds.arriving_bytes)
        # A client that has gone ends its handler, so that nothing waits on its behalf; what it asked to be written is.
        self._server = web.Server(self._serve, request_factory=self._begin, handler_cancellation=True)

    def count(self) -> int:
        """Return how many connections there are, those of live readers and those that linger among them."""
        return len(self._server.connections) + len(self._readers.connected) + len(self.lingering)

    def connect_first(self) -> asyncio.Protocol:
        """Return the protocol of a connection that comes to this front first; one too many is closed."""
        return _Refused() if self.count() >= self._bounds.connections_count else self.connect()

    def connect(self) -> Connection:
        """Return the protocol of a new connection; it is cut if no whole request head arrives in time."""
        return Connection(self, self._server, self._bounds.keepalive_timeout_ms / 1000)

    def later(self, cut: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``cut`` when a request has taken too long to arrive."""
        return asyncio.get_running_loop().call_later(self._bounds.request_timeout_ms / 1000, cut)

    async def shutdown(self, timeout_s: float) -> None:
        """Let requests under way finish within ``timeout_s`` seconds, then close all connections."""
        for connection in tuple(self.lingering):
            connection.cut()
        self._server.pre_shutdown()
        await self._server.shutdown(timeout_s)

    def _begin(  # noqa: PLR0917 aiohttp's signature
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Called by aiohttp when a request head has been read."""
        if isinstance(protocol, Connection):
            protocol.begin(payload)
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
            if raw.method == "POST" and APPEND_MODE in raw.headers:
                answer: Answer | SseStart = await self._upload(raw)
            else:
                answer = await self._answer(await self._read(raw))
        except StreamError as refusal:
            answer = answer_of(refusal)
        except _NoRoomError as refusal:
            answer = answer_of(OverloadedError(str(refusal)))
            answer = answer._replace(headers=(*answer.headers, _CLOSE))
        except _MALFORMED as fault:
            answer = malformed(fault)
        if isinstance(answer, SseStart):
            return self._hand_over(raw, answer)
        status, is_long = answer.status, answer.rest is not None
        sending = self._send(raw, answer)
        del answer  # its first piece is held no longer than it is on its way
        response = await sending
        if not is_long:  # how long a long body takes is its reader's doing
            self._note_time(raw, status, (time.perf_counter() - began_s) * 1000)
        if isinstance(raw.protocol, Connection):
            raw.protocol.idle()
        return response

    def _note_time(self, raw: web.BaseRequest, status: int, elapsed_ms: float) -> None:
        if elapsed_ms > self._bounds.slow_request_ms and "live" not in raw.query and APPEND_MODE not in raw.headers:
            _log.warning(
                "slow request", method=raw.method, path=raw.rel_url.raw_path, status=status, ms=round(elapsed_ms)
            )

    async def _answer(self, request: Request) -> Answer | SseStart:
        settled: asyncio.Future[Answer | SseStart] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer | SseStart) -> None:
            if not settled.done():  # the client may have gone before its write was durable
                settled.set_result(answer)

        pending = self._router.dispatch(request, settle)
        try:
            return await settled
        finally:
            if pending is not None and (settled.cancelled() or not settled.done()):
                pending.abandon()

    async def _upload(self, raw: web.BaseRequest) -> Answer:
        """Append a body as it arrives."""
        with self.arriving.body() as holding:
            return await self._append(raw, self._router.open_upload(_request(raw, b""), holding))

    async def _append(self, raw: web.BaseRequest, upload: Upload) -> Answer:
        await _let_continue(raw)
        chunked = raw.headers.get("Transfer-Encoding", "").lower() == "chunked"
        try:
            async with asyncio.timeout(None) as timeout:
                patience = Patience(timeout, self._bounds.upload_idle_ms / 1000)
                # Then nobody waits for more; a body that has ended waits for nothing.
                upload.turned_away.add_done_callback(lambda _: patience.lose())
                try:
                    if raw.can_read_body:  # aiohttp's reader of no body has no end
                        await _feed(upload, raw, patience, chunked=chunked)
                finally:
                    patience.stop()
        except TimeoutError:
            if not upload.refused:
                raise RequestTimeoutError("the upload stood still for too long") from None
        return await upload.finish()

    async def _read(self, raw: web.BaseRequest) -> Request:
        request = _request(raw, b"")
        body = await self._body(raw) if raw.can_read_body else b""
        coding = request.headers.get(CONTENT_ENCODING)
        if body and coding is not None:
            body = decode_body(body, coding, self._bounds.max_append_bytes)
        return request._replace(body=body)

    async def _body(self, raw: web.BaseRequest) -> bytes:
        limit = self._bounds.max_append_bytes
        try:
            length = raw.content_length or 0
        except ValueError:  # thousands of zeros before it
            raise InvalidHeaderError("Content-Length", "has too many digits") from None
        if length > limit:
            raise BodyTooLargeError(limit)
        try:
            async with asyncio.timeout(self._bounds.request_timeout_ms / 1000):
                return await self._arrived(raw, limit)
        except TimeoutError:
            msg = "the request did not arrive in time"
            raise RequestTimeoutError(msg) from None

    async def _arrived(self, raw: web.BaseRequest, limit: int) -> bytes:
        await _let_continue(raw)
        with self.arriving.body() as body:
            async for part in raw.content.iter_any():
                _took(raw, part)
                body.add(part)
                if body.size_bytes > limit:
                    raise BodyTooLargeError(limit)
            return body.parts.take()

    def _hand_over(self, raw: web.BaseRequest, start: SseStart) -> web.StreamResponse:
        """Give the connection to a live reader: aiohttp keeps no task, request or parser for it.

        For aiohttp the connection is lost from here on; the response returned goes nowhere.
        """
        protocol, transport = raw.protocol, raw.transport
        if transport is not None:
            protocol.transport = None
            protocol.connection_lost(None)
            transfer = CHUNKED if raw.version >= HttpVersion11 else UNTIL_CLOSE
            ended = isinstance(protocol, Connection) and protocol.ended
            self._readers.take_over(transport, start, transfer, ended=ended)
        return web.Response()

    async def _send(self, raw: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        # A copy of its own: aiohttp joins what it writes with the head.
        copy = self._outgoing.parcel(answer.body) if len(answer.body) >= SMALL_MAX_BYTES else None
        response = _response(answer) if answer.rest is None else _begun(answer)
        if isinstance(raw.protocol, Connection):
            raw.protocol.answering()
        watch = self._watch(raw.transport)
        if watch is not None:
            watch.start()
            watch.wrote(len(answer.body))
        try:
            await response.prepare(raw)
            rest = answer.rest
            if rest is not None:
                await response.write(answer.body)
                del answer, copy
                await self._pump(response, rest, watch)
            await response.write_eof()
        except ConnectionResetError:
            if raw.transport is not None:
                raw.transport.abort()  # closed politely, it would wait for a peer that nobody watches any more
            raise
        finally:
            if watch is not None:
                watch.stop()
        return response

    def _watch(self, transport: asyncio.WriteTransport | None) -> StallWatch | None:
        bounds = self._bounds
        return None if transport is None else StallWatch(transport, bounds.write_timeout_ms / 1000, bounds.least_bytes)

    async def _pump(self, response: web.StreamResponse, source: BodySource, watch: StallWatch | None) -> None:
        """Send a body that is not held whole, at the pace of the peer: ``write`` waits while the transport is full.

        Raises:
            ConnectionResetError: the source can bring no more.
        """
        while source.left_bytes:
            await self._turns.mine(TURN_BYTES)  # so that many share the loop
            while self._outgoing.is_full:
                await self._outgoing.room()
            taken = source.take()
            if taken is None:
                raise ConnectionResetError
            if watch is not None:
                watch.wrote(len(taken.payload))
            await response.write(taken.payload)


def _took(raw: web.BaseRequest, part: bytes) -> None:
    if isinstance(raw.protocol, Connection):
        raw.protocol.took(len(part))


async def _feed(upload: Upload, raw: web.BaseRequest, patience: Patience, *, chunked: bool) -> None:
    """Hand an upload what arrives, until it ends or takes no more."""
    while True:
        patience.begin()
        arrived, ended = await raw.content.readchunk()
        patience.end()
        _took(raw, arrived)
        if not (arrived or ended) or not await upload.feed(arrived, flushed=ended or not chunked):
            return


async def _let_continue(raw: web.BaseRequest) -> None:
    """Tell a client that waits for it that its body is wanted (RFC 9110 §10.1.1)."""
    if raw.headers.get("Expect", "").lower() == "100-continue" and raw.version >= HttpVersion11:
        await raw.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        raw.writer.output_size = 0  # nothing of the answer itself has gone out


def _request(raw: web.BaseRequest, body: bytes) -> Request:
    url, fields = raw.rel_url, gather(raw.headers.items())
    coding = raw.headers.get("Transfer-Encoding", "chunked")
    if coding.strip(BLANK).lower() != "chunked":  # RFC 9112 §6.1: the parser takes any list that ends so
        raise TransferCodingError(f"the transfer coding {coding!r} is not known; chunked alone is")
    origin = f"http://{check_authority(fields.get(HOST, ''))}"
    if not raw.raw_path.startswith(("/", "*")):  # an absolute target: Host does not count (RFC 9112 §3.2.2)
        origin = f"{raw.url.scheme}://{check_authority(raw.url.host_port_subcomponent or '')}"
    return Request(raw.method, url.raw_path, tuple(url.query.items()), fields, body, origin)


def _response(answer: Answer) -> web.Response:
    headers = dict((*answer.headers, *answers.COMMON))
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)


def _begun(answer: Answer) -> web.StreamResponse:
    """Return the head of an answer whose body is not held whole; its length is known all the same."""
    response = web.StreamResponse(status=answer.status, headers=dict((*answer.headers, *answers.COMMON)))
    response.content_length = answer.body_bytes
    return response

"""The lane: a lean front for usual requests, before aiohttp on the same port.

Owns: telling usual requests from unusual ones; reading the usual ones and writing their answers, with no task, future
or header map each. Must not know: what any request means.

A request is usual if its head is complete, strict HTTP/1.1, short, and says nothing about transfer, expectation,
upgrade or connection, and its body comes with a ``Content-Length`` of moderate size. At the first request that is not
usual the connection, with every byte not yet answered, becomes aiohttp's for good; so what aiohttp refuses is refused
by aiohttp.

Invariants: answers leave in the order of their requests; one request is under way at a time, and while it is, what
arrives behind it is held, up to a bound, and then no longer read.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.http.fronts.half_closed import CONTINUE, GoneWatch
from durable_streams.http.fronts.lane_head import HEAD_MAX_BYTES, parse_head, render_head
from durable_streams.http.messages import Request, SseStart
from durable_streams.http.outgoing import SMALL_MAX_BYTES
from durable_streams.http.sending import Pump, unsent_bytes
from durable_streams.protocol.errors import OverloadedError
from durable_streams.protocol.transfer import CHUNKED

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.http.fronts.arriving import ArrivingBodies
    from durable_streams.http.fronts.lane_head import UsualHead
    from durable_streams.http.live.connection import LiveReaders
    from durable_streams.http.messages import Answer, Pending
    from durable_streams.http.outgoing import Parcel
    from durable_streams.http.router import Router
    from durable_streams.runtime.config import Bounds

HELD_MAX_BYTES: Final = 64 * 1024
"""Bytes held behind the request under way before the connection is no longer read from."""
SWEEP_S: Final = 1.0
LARGE_BYTES: Final = 32 * 1024
"""A body from here on is handed to the kernel as it is, not copied behind its head."""
_HEAD_END: Final = b"\r\n\r\n"
_log = structlog.get_logger(__name__)


class LaneFront:
    """Makes the connections of one listening socket.

    Args:
        router: answers.
        readers: take over connections that stay open.
        bounds: request, keep-alive and write timeouts.
        hand_over: makes aiohttp's protocol for a connection that is not usual.
        arriving: what is held of requests that are not taken on yet, of both fronts.
        beside: how many connections are no longer the lane's.
    """

    def __init__(
        self,
        router: Router,
        readers: LiveReaders,
        bounds: Bounds,
        *,
        hand_over: Callable[[], asyncio.Protocol],
        arriving: ArrivingBodies,
        beside: Callable[[], int],
    ) -> None:
        self.router, self.readers, self.hand_over, self.bounds = router, readers, hand_over, bounds
        self.arriving, self.outgoing, self.turns = arriving, readers.outgoing, readers.turns
        self._beside = beside
        self.slow_s = bounds.slow_request_ms / 1000
        self.connections: set[LaneConnection] = set()
        self.closing = False
        self._loop = asyncio.get_running_loop()
        self._date_s, self._date = 0, b""
        self._rendered: tuple[Answer | None, str, bytes] = (None, "", b"")
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        self._drained: asyncio.Future[None] | None = None

    @property
    def is_crowded(self) -> bool:
        """Whether one more connection is one too many."""
        return len(self.connections) + self._beside() >= self.bounds.connections_count

    def connect(self) -> LaneConnection:
        """Return the protocol of a new connection."""
        return LaneConnection(self, self._loop)

    def date(self) -> bytes:
        """Return the ``Date`` field's value, made once a second."""
        now_s = int(self.readers.clock.now_ms() / 1000)
        if now_s != self._date_s:
            self._date_s, self._date = now_s, formatdate(now_s, usegmt=True).encode("ascii")
        return self._date

    def rendered(self, answer: Answer, method: str) -> bytes:
        """Return an answer's head without its date; one answer often goes to many."""
        last, last_method, head = self._rendered
        if last is not answer or last_method != method:
            head = render_head(answer, method)
            if answer.parcel is None:  # what is counted is held no longer than it is on its way
                self._rendered = (answer, method, head)
        return head

    def shutdown(self) -> None:
        """Close idle connections now, and the others after the answer they wait for."""
        self.closing = True
        for connection in tuple(self.connections):
            connection.close_when_idle()

    async def drain(self, timeout_s: float) -> None:
        """Let answers under way go out within ``timeout_s`` seconds, then cut what is left."""
        self._drained = self._loop.create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if self.connections:
                    await self._drained
        self._sweeper.cancel()
        for connection in tuple(self.connections):
            connection.cut()

    def left(self, connection: LaneConnection) -> None:
        """A connection has ended, or is no longer the lane's."""
        self.connections.discard(connection)
        if self._drained is not None and not (self.connections or self._drained.done()):
            self._drained.set_result(None)

    def _sweep(self) -> None:
        """One look at all connections a second, instead of a timer each."""
        now_s = self._loop.time()
        for connection in tuple(self.connections):
            connection.cut_if_late(now_s)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)


class LaneConnection(asyncio.Protocol):
    """One connection while all its requests are usual."""

    __slots__ = (
        "_arriving",
        "_asked",
        "_awaited",
        "_buffer",
        "_counted",
        "_ended",
        "_front",
        "_gone_watch",
        "_loop",
        "_parcel",
        "_paused",
        "_pending",
        "_pump",
        "_settling",
        "_since_s",
        "_transport",
        "_unsent_bytes",
        "_waiting",
    )

    def __init__(self, front: LaneFront, loop: asyncio.AbstractEventLoop) -> None:
        self._front, self._loop = front, loop
        self._buffer = b""
        self._awaited: tuple[UsualHead, int] | None = None
        self._arriving, self._counted = front.arriving.body(), False
        self._parcel: Parcel | None = None
        self._waiting = self._paused = self._settling = False
        self._ended = False
        self._gone_watch: GoneWatch | None = None
        self._pending: Pending | None = None
        self._pump: Pump | None = None
        self._transport: asyncio.Transport
        self._asked: UsualHead
        self._since_s = loop.time()
        self._unsent_bytes = 0

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(high=SMALL_MAX_BYTES, low=0)
        if self._front.is_crowded:
            self._transport.abort()
        self._front.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """The client has gone; what it asked to be written is written all the same."""
        self._leave()
        self._buffer, self._parcel = b"", None
        self._count(0)
        if self._pending is not None:
            self._pending.abandon()
            self._pending = None
        if self._pump is not None:
            self._pump.stop()

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer the request they complete."""
        if self._awaited is not None:
            self._arriving.parts.add(data)
            if self._arriving.size_bytes < self._awaited[1]:
                return
            self._buffer = self._arriving.parts.take()
        elif self._buffer:
            self._buffer += data
        else:
            self._buffer = data
            if not self._waiting:
                self._since_s = self._loop.time()
        if self._waiting or self._paused:
            self._hold_behind()
        else:
            self._advance()

    def _hold_behind(self) -> None:
        """Count what came behind the request under way; read no more of much, and keep none where there is no room."""
        try:
            self._count(len(self._buffer))
        except OverloadedError:
            self._buffer = b""
            self._transport.pause_reading()
            if not self._ended and not self.eof_received():  # as if the client had said nothing behind it
                self._transport.close()
            return
        if len(self._buffer) > HELD_MAX_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client has shut its side: answer what it has asked, then close."""
        self._ended = True
        if self._waiting or (self._paused and self._buffer):
            pause_s = self._front.bounds.half_closed_probe_ms / 1000
            self._gone_watch = GoneWatch(self._transport, self._probe, pause_s)
            return True
        if self._buffer or self._awaited is not None:  # a request that will never be whole
            return self._hand_over()
        return False

    def pause_writing(self) -> None:
        """The client takes its answers too slowly: take no more requests from it."""
        self._paused, self._since_s = True, self._loop.time()
        self._unsent_bytes = unsent_bytes(self._transport)
        if self._pump is not None:
            self._pump.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused, self._since_s, self._parcel = False, self._loop.time(), None
        if self._pump is not None:
            self._pump.resume()
        elif not self._waiting:
            self._read_on()
            self._loop.call_soon(self._advance)

    # --- one request after the other ---

    def _advance(self) -> None:
        """Answer the requests that are complete in the buffer, one at a time."""
        while self._buffer and not (self._waiting or self._paused or self._transport.is_closing()):
            found = self._awaited or self._next()
            if found is None:
                return
            (head, total), self._awaited = found, None
            if self._counted:
                self._count(0)
            body = self._buffer[total - head.body_bytes : total] if head.body_bytes else b""
            self._buffer = self._buffer[total:]
            self._ask(head, body)

    def _next(self) -> tuple[UsualHead, int] | None:
        """Return the head of the request that is whole in the buffer, and the length of both; see to any other."""
        end = self._buffer.find(_HEAD_END) + len(_HEAD_END)
        if end < len(_HEAD_END):
            if self._ended or len(self._buffer) > HEAD_MAX_BYTES or b"\n\n" in self._buffer:
                self._hand_over()
            return None
        head = parse_head(self._buffer[:end])
        if head is None or head.body_bytes > self._front.bounds.max_append_bytes:
            self._hand_over()
            return None
        total = end + head.body_bytes
        if len(self._buffer) >= total:
            return head, total
        self._await_body(head, total)
        return None

    def _await_body(self, head: UsualHead, total_bytes: int) -> None:
        """Wait for the rest of a body, or leave to aiohttp the refusal of one too many, or of one that cannot come.

        All of it counts from now on. What comes is not looked at before it is whole, in however small parts it comes.
        """
        try:
            self._count(head.body_bytes)
        except OverloadedError:
            self._hand_over()
            return
        if self._ended:
            self._hand_over()
            return
        self._awaited = (head, total_bytes)
        self._arriving.parts.add(self._buffer)
        self._buffer = b""

    def _count(self, size_bytes: int) -> None:
        """Count what is held of requests that are not taken on yet, no more what was. Raises ``OverloadedError``."""
        self._arriving.hold(size_bytes)
        self._counted = size_bytes > 0

    def _ask(self, head: UsualHead, body: bytes) -> None:
        self._waiting, self._asked = True, head
        self._since_s = self._loop.time()
        self._settling = True
        pending = self._front.router.dispatch(
            Request(head.method, head.path, head.query, head.headers, body, head.origin), self._settle
        )
        self._settling = False
        if self._waiting:
            self._pending = pending
            if self._buffer:
                self._hold_behind()

    def _settle(self, answer: Answer | SseStart) -> None:
        """Send the answer, and go on to what has arrived meanwhile."""
        self._pending, self._waiting = None, False
        if self._transport.is_closing():
            return
        if isinstance(answer, SseStart):
            self._buffer = b""  # the answer ends with the connection: nothing behind its request is taken
            self._count(0)
            self._leave()
            self._front.readers.take_over(self._transport, answer, CHUNKED, ended=self._ended)
            return
        self._send(answer)
        now_s = self._loop.time()
        if now_s - self._since_s > self._front.slow_s:
            self._log_slow(answer.status, now_s - self._since_s)
        self._since_s = now_s
        if answer.rest is not None:
            self._waiting = True
            self._pump = Pump(
                self._transport, answer.rest, self._pumped, outgoing=self._front.outgoing, turns=self._front.turns
            )
            if not self._paused:
                self._pump.resume()
            return
        self._go_on()

    def _pumped(self, last: Parcel) -> None:
        """The last piece of a long body has been written."""
        self._pump, self._waiting = None, False
        if self._paused:
            self._parcel = last
        self._since_s = self._loop.time()
        self._go_on()

    def _go_on(self) -> None:
        """The answer is written: take what has arrived meanwhile."""
        if self._front.closing or (self._ended and not self._buffer):
            self._transport.close()
            return
        self._read_on()
        if self._buffer and not self._settling:
            self._advance()

    def _send(self, answer: Answer) -> None:
        head = self._front.rendered(answer, self._asked.method) + self._front.date() + _HEAD_END
        body = answer.body if self._asked.method != "HEAD" else b""
        if len(body) < LARGE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        if self._paused:
            self._parcel = answer.parcel or self._front.outgoing.parcel(body)

    def _read_on(self) -> None:
        """Read again, if that was paused; not behind the client's end, where there is nothing."""
        if not (self._ended or self._transport.is_reading()):
            self._transport.resume_reading()

    def _probe(self) -> None:
        if self._pending is not None:  # nothing of an answer has been sent
            self._transport.write(CONTINUE)

    def _leave(self) -> None:
        """The connection has ended, or is to be somebody else's."""
        self._front.left(self)
        if self._gone_watch is not None:
            self._gone_watch.stop()

    def _hand_over(self) -> bool:
        """Give connection and unanswered bytes to aiohttp, for good. Returns whether it is to stay open."""
        self._leave()
        self._count(0)
        protocol = self._front.hand_over()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        buffer, self._buffer, self._awaited = self._arriving.parts.take() or self._buffer, b"", None
        protocol.data_received(buffer)
        if self._ended and not protocol.eof_received():
            self._transport.close()
            return False
        return True

    # --- time ---

    def _log_slow(self, status: int, elapsed_s: float) -> None:
        asked = self._asked
        if all(key != "live" for key, _ in asked.query):
            _log.warning(
                "slow request", method=asked.method, path=asked.path, status=status, ms=round(elapsed_s * 1000)
            )

    def cut_if_late(self, now_s: float) -> None:
        """Close a connection that has been idle, or amid something, for too long at ``now_s`` of the loop's clock."""
        bounds = self._front.bounds
        if self._paused:
            self._cut_if_slow(now_s)
            return
        if self._waiting:
            return
        if self._buffer or self._awaited is not None:
            limit_ms, cut = bounds.request_timeout_ms, self._transport.close
        else:
            limit_ms, cut = bounds.keepalive_timeout_ms, self._transport.close
        if now_s - self._since_s > limit_ms / 1000:
            cut()

    def _cut_if_slow(self, now_s: float) -> None:
        """A client that takes enough within the write timeout, and within the next, is not cut."""
        bounds = self._front.bounds
        if now_s - self._since_s > bounds.write_timeout_ms / 1000:
            left_bytes = unsent_bytes(self._transport)
            if self._unsent_bytes - left_bytes < bounds.least_bytes:
                self._transport.abort()
            self._since_s, self._unsent_bytes = now_s, left_bytes

    def close_when_idle(self) -> None:
        """Close, unless an answer is still owed: then after it."""
        if not self._waiting:
            self._transport.close()

    def cut(self) -> None:
        """Drop the connection now, with whatever was not taken."""
        self._transport.abort()

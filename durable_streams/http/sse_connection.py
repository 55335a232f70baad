"""One live reader on its own transport: a protocol that speaks server-sent events and nothing else (§5.8).

Owns: the transport from the first byte of the answer on; catching up, being pushed to, falling behind, ending.
Must not know: which front read the request.

A reader is *catching up* (reads pages by offset, one a turn of the loop) or *live* (in the hub; gets shared frames).
Falling behind, because its transport is full or a frame does not start where it stands, is catching up again.
Invariant: ``_position`` is where a client that reconnects after the last control event continues; every byte before it
was written to the transport, none after it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from durable_streams.http import answers
from durable_streams.protocol.cursor import next_cursor
from durable_streams.protocol.errors import StreamError
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.sse import HEARTBEAT, Encoding, control_event, data_event, encoding_of, whole_text_bytes

if TYPE_CHECKING:
    from durable_streams.http.messages import SseStart
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.read import Page
    from durable_streams.runtime import Runtime
    from durable_streams.streams import Streams
    from durable_streams.tail import Frame

CLOSE_DELIMITED = ("Connection", "close")
"""The event stream ends with its connection: no chunk framing around every event."""


class LiveReaders:
    """What all live readers share, and the set of those connected.

    Args:
        streams: the use cases.
        runtime: clock and chance for cursors; bounds of buffer, lifetime, heartbeat and write timeout.
    """

    def __init__(self, streams: Streams, runtime: Runtime) -> None:
        self.streams, self.clock, self.chance, self.bounds = streams, runtime.clock, runtime.chance, runtime.bounds
        self.connected: set[SseConnection] = set()

    def take_over(self, transport: asyncio.Transport, start: SseStart) -> SseConnection:
        """Make the transport a live reader's; its former protocol gets no further call."""
        connection = SseConnection(self, transport, start)
        transport.set_protocol(connection)
        connection.begin(start)
        return connection

    def end_all(self) -> None:
        """Give every reader a last control event and close it; for shutting down, after the last commit."""
        for connection in tuple(self.connected):
            connection.end()


class SseConnection(asyncio.Protocol):
    """One live reader. Implements ``Follower``."""

    __slots__ = (
        "_cursor",
        "_deadline",
        "_encoding",
        "_live",
        "_loop",
        "_path",
        "_paused",
        "_position",
        "_readers",
        "_shown",
        "_sid",
        "_timer",
        "_transport",
        "_write_timer",
    )

    def __init__(self, readers: LiveReaders, transport: asyncio.Transport, start: SseStart) -> None:
        self._readers, self._transport = readers, transport
        self._path, self._sid, self._position = start.head.path, start.head.sid, start.position
        self._encoding = encoding_of(decode_record(start.head.record).content_type)
        self._cursor = start.cursor
        self._live = self._paused = self._shown = False
        self._loop = asyncio.get_running_loop()
        bounds = readers.bounds
        self._deadline = self._loop.time() + bounds.sse_lifetime_ms / 1000
        self._write_timer: asyncio.TimerHandle | None = None
        self._timer = self._loop.call_later(self._pause_s(), self._tick)

    def begin(self, start: SseStart) -> None:
        """Send the head of the answer and start to catch up."""
        self._readers.connected.add(self)
        self._transport.set_write_buffer_limits(high=self._readers.bounds.sse_buffer_bytes)
        fields = (*start.headers, *answers.COMMON, CLOSE_DELIMITED)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self._transport.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1"))
        if not self._transport.is_reading():
            self._transport.resume_reading()  # or the peer's leaving would go unnoticed
        self._catch_up()

    def end(self) -> None:
        """Send a last control event, where it would be true, and close."""
        if self._live and not self._paused:
            self._transport.write(control_event(self._position, self._next_cursor(), up_to_date=True, closed=False))
        self._finish()

    def cut(self) -> None:
        """Drop the connection now, with whatever was not taken."""
        self._transport.abort()

    # --- Follower ---

    def on_frame(self, frame: Frame) -> None:
        """Pass on a shared frame, or fall behind."""
        if self._paused or frame.sse_start != self._position:
            self._leave_tail()
            if not self._paused:
                self._loop.call_soon(self._catch_up)
            return
        if frame.sse_end == frame.sse_start and not frame.closed:
            return  # not one whole character yet
        self._transport.write(frame.event(self._next_cursor()))
        self._position = frame.sse_end
        if frame.closed:
            self._finish()

    def on_gone(self) -> None:
        """The stream was deleted: in-flight reads end, and the next request gets 404 (§5.4)."""
        self._finish()

    # --- asyncio.Protocol ---

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """The peer has gone, or we closed."""
        self._leave_tail()
        self._readers.connected.discard(self)
        self._timer.cancel()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Ignore: nothing may follow a request that is answered until the connection ends."""

    def eof_received(self) -> bool:
        """Close: a reader that has shut its side is gone."""
        return False

    def pause_writing(self) -> None:
        """The transport holds more than the bound: no more pushes; cut the peer if it takes nothing for too long."""
        self._paused = True
        self._write_timer = self._loop.call_later(self._readers.bounds.write_timeout_ms / 1000, self._transport.abort)

    def resume_writing(self) -> None:
        """The transport has drained: go on from the offset reached."""
        self._paused = False
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        if not self._live:
            self._loop.call_soon(self._catch_up)

    # --- catching up ---

    def _catch_up(self) -> None:
        """Send the next page; at the tail, go live. One page a turn, so that many readers share the loop."""
        if self._live or self._paused or self._transport.is_closing():
            return
        streams = self._readers.streams
        try:
            head = streams.touched_head(self._path)
            if head.sid != self._sid:
                self._finish()
                return
            page = streams.reader.page(head, self._position)
        except StreamError:  # deleted or expired while catching up
            self._finish()
            return
        held = b""
        if page.payload:
            whole = self._whole_bytes(page)
            held = page.payload[whole:]
            self._position = page.start + whole
            if whole:
                shown = data_event(self._encoding, page.payload[:whole])
                self._write_control(shown, up_to_date=page.up_to_date, closed=page.closed)
        if page.closed:
            if not page.payload:
                self._write_control(up_to_date=True, closed=True)
            self._finish()
        elif page.up_to_date:
            self._go_live(head, held)
        elif not self._paused:
            self._loop.call_soon(self._catch_up)

    def _whole_bytes(self, page: Page) -> int:
        """How much to show now: all, but for text the start of a character whose rest is still to come."""
        if self._encoding is not Encoding.TEXT or page.closed:
            return len(page.payload)
        whole = whole_text_bytes(page.payload)
        return len(page.payload) if whole == 0 and not page.up_to_date else whole

    def _go_live(self, head: Head, held: bytes) -> None:
        if not self._shown:  # nothing was sent yet: say where we are, and that this is all (§8, offset=now)
            self._write_control(up_to_date=True, closed=False)
        self._readers.streams.hub.follow(head, self._encoding, self, held=held)
        self._live = True

    def _write_control(self, shown: bytes = b"", *, up_to_date: bool, closed: bool) -> None:
        """Write a control event, in one piece with the data event it belongs to."""
        self._shown = True
        control = control_event(self._position, self._next_cursor(), up_to_date=up_to_date, closed=closed)
        self._transport.write(shown + control)

    def _next_cursor(self) -> str:
        """§10.1: the current interval, the same for all readers, unless this client's own is not behind it."""
        now_s = self._readers.clock.now_ms() / 1000
        if self._cursor is None:
            return next_cursor(now_s, None, 1)
        cursor = next_cursor(now_s, self._cursor, self._readers.chance.jitter_s())
        self._cursor = None if next_cursor(now_s, None, 1) == cursor else str(int(cursor) - 1)
        return cursor

    # --- ending ---

    def _leave_tail(self) -> None:
        if self._live:
            self._live = False
            self._readers.streams.hub.unfollow(self._sid, self)

    def _finish(self) -> None:
        """Close once everything written has gone out, within the write timeout."""
        self._leave_tail()
        self._timer.cancel()
        if self._write_timer is None:
            timeout_s = self._readers.bounds.write_timeout_ms / 1000
            self._write_timer = self._loop.call_later(timeout_s, self._transport.abort)
        self._transport.close()

    def _pause_s(self) -> float:
        bounds = self._readers.bounds
        return max(0.0, min(bounds.sse_heartbeat_ms / 1000, self._deadline - self._loop.time()))

    def _tick(self) -> None:
        """Heartbeat, or the end of the connection's lifetime (§10.2)."""
        if self._loop.time() >= self._deadline:
            self._finish()
            return
        if not self._paused:
            self._transport.write(HEARTBEAT)
        self._timer = self._loop.call_later(self._pause_s(), self._tick)

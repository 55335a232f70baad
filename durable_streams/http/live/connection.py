"""One live reader on its own transport: a protocol that speaks server-sent events and nothing else (§5.8).

Owns: the transport from the first byte of the answer on; its timers, its back-pressure, its end.
Must not know: which front read the request; what its feeds send.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from durable_streams.http import answers
from durable_streams.http.fronts.half_closed import GoneWatch
from durable_streams.http.live.feed import Feed
from durable_streams.http.sending import StallWatch
from durable_streams.protocol.cursor import next_cursor
from durable_streams.protocol.sse import HEARTBEAT

if TYPE_CHECKING:
    from durable_streams.http.messages import SseStart
    from durable_streams.protocol.transfer import Transfer
    from durable_streams.runtime import Runtime
    from durable_streams.streams.service import Streams


class LiveReaders:
    """What all live readers share, and the set of those connected.

    Args:
        streams: the use cases.
        runtime: clock and chance for cursors; bounds of buffer, lifetime, heartbeat and write timeout.
    """

    def __init__(self, streams: Streams, runtime: Runtime) -> None:
        self.streams, self.clock, self.chance, self.bounds = streams, runtime.clock, runtime.chance, runtime.bounds
        self.connected: set[SseConnection] = set()

    def take_over(
        self, transport: asyncio.Transport, start: SseStart, transfer: Transfer, *, ended: bool
    ) -> SseConnection:
        """Make the transport a live reader's; its former protocol gets no further call.

        ended: the client has shut its side already.
        """
        connection = SseConnection(self, transport, start, transfer=transfer)
        transport.set_protocol(connection)
        if ended:
            connection.eof_received()
        connection.begin(start)
        return connection

    def end_all(self) -> None:
        """Give every reader a last control event and close it; for shutting down, after the last commit."""
        for connection in tuple(self.connected):
            connection.end()


class SseConnection(asyncio.Protocol):
    """One live reader. Implements ``FeedConnection``; ends when its last feed does, or its time is up."""

    __slots__ = (
        "_deadline",
        "_echoed",
        "_feeds",
        "_floor",
        "_gone_watch",
        "_loop",
        "_readers",
        "_stall",
        "_timer",
        "_transport",
        "paused",
        "streams",
        "transfer",
        "write",
    )

    def __init__(
        self, readers: LiveReaders, transport: asyncio.Transport, start: SseStart, *, transfer: Transfer
    ) -> None:
        self._readers, self._transport, self.streams = readers, transport, readers.streams
        self.write, self.transfer = transport.write, transfer
        self._echoed, self._floor = start.cursor, 0
        self.paused = False
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + readers.bounds.sse_lifetime_ms / 1000
        self._stall = StallWatch(transport, readers.bounds.write_timeout_ms / 1000)
        self._timer = self._loop.call_later(self._pause_s(), self._tick)
        self._gone_watch: GoneWatch | None = None
        self._feeds = [Feed(self, feed) for feed in start.feeds]

    def begin(self, start: SseStart) -> None:
        """Send the head of the answer and start to catch up."""
        self._readers.connected.add(self)
        self._transport.set_write_buffer_limits(high=self._readers.bounds.sse_buffer_bytes)
        fields = (*start.headers, *answers.COMMON, *self.transfer.fields)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1")
        self._transport.write(head + self.transfer.framed(start.opening))
        if self._gone_watch is None and not self._transport.is_reading():
            self._transport.resume_reading()  # or the peer's leaving would go unnoticed
        for feed in tuple(self._feeds):
            self._go_on(feed)
        if not self._feeds:
            self._finish()

    def end(self) -> None:
        """Send a last control event, where it would be true, and close."""
        if not self.paused:
            for feed in self._feeds:
                feed.say_where()
        self._finish()

    def cut(self) -> None:
        """Drop the connection now, with whatever was not taken."""
        self._transport.abort()

    # --- FeedConnection ---

    def soon(self, feed: Feed) -> None:
        """Let a feed send its next page in a later turn of the loop."""
        self._loop.call_soon(self._go_on, feed)

    def next_cursor(self, mark: int) -> str:
        """§10.1: the current interval, the same for all readers, unless this client's own is not behind it.

        Then it is passed once, and what that gave stays until the interval has come up with it.
        """
        now_s = self._readers.clock.now_ms() / 1000
        cursor = next_cursor(now_s, None, 0, mark=mark)
        if self._echoed is not None:
            self._floor = int(next_cursor(now_s, self._echoed, self._readers.chance.jitter_s(), mark=mark))
            self._echoed = None
        return cursor if not self._floor or int(cursor) >= self._floor else str(self._floor)

    def done(self, feed: Feed) -> None:
        """Drop a feed that has sent its last event; without any left, close."""
        if feed not in self._feeds:
            return
        self._feeds.remove(feed)
        if not self._feeds:
            self._finish()

    # --- asyncio.Protocol ---

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """The peer has gone, or we closed."""
        self._leave_tails()
        self._readers.connected.discard(self)
        self._timer.cancel()
        self._stall.stop()
        if self._gone_watch is not None:
            self._gone_watch.stop()

    def data_received(self, data: bytes) -> None:
        """Ignore: nothing may follow a request that is answered until the connection ends."""

    def eof_received(self) -> bool:
        """Go on: a reader that has shut its side still reads, unless it has gone altogether."""
        pause_s = self._readers.bounds.half_closed_probe_ms / 1000
        self._gone_watch = GoneWatch(self._transport, self._beat, pause_s)
        return True

    def pause_writing(self) -> None:
        """The transport holds more than the bound: no more pushes; cut the peer if it takes nothing for too long."""
        self.paused = True
        self._stall.start()

    def resume_writing(self) -> None:
        """The transport has drained: feeds that fell behind go on from the offset reached."""
        self.paused = False
        if not self._transport.is_closing():
            self._stall.stop()
        for feed in self._feeds:
            if not feed.live:
                self.soon(feed)

    def _beat(self) -> None:
        """Send what means nothing, where there is room."""
        if not self.paused:
            self._transport.write(self.transfer.framed(HEARTBEAT))

    # --- ending ---

    def _go_on(self, feed: Feed) -> None:
        if feed in self._feeds and not self._transport.is_closing():
            feed.catch_up()

    def _leave_tails(self) -> None:
        for feed in self._feeds:
            feed.leave_tail()
        self._feeds = []

    def _finish(self) -> None:
        """End the answer, and close once everything written has gone out, within the write timeout."""
        self._leave_tails()
        self._timer.cancel()
        if self._transport.is_closing():
            return
        self._transport.write(self.transfer.end)
        self._stall.start()
        self._transport.close()

    def _pause_s(self) -> float:
        bounds = self._readers.bounds
        return max(0.0, min(bounds.sse_heartbeat_ms / 1000, self._deadline - self._loop.time()))

    def _tick(self) -> None:
        """Heartbeat, or the end of the connection's lifetime (§10.2)."""
        if self._loop.time() >= self._deadline:
            self._finish()
            return
        self._beat()
        self._timer = self._loop.call_later(self._pause_s(), self._tick)

"""One live reader on its own transport: a protocol that speaks server-sent events and nothing else (§5.8).

Owns: the transport from the first byte of the answer on; its timers, its back-pressure, its end.
Must not know: which front read the request; what its feeds send.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from durable_streams.http import answers
from durable_streams.http.fronts.half_closed import GoneWatch
from durable_streams.http.live.feed import Feed
from durable_streams.http.outgoing import SMALL_MAX_BYTES
from durable_streams.http.sending import StallWatch
from durable_streams.protocol.cursor import next_cursor
from durable_streams.protocol.sse import HEARTBEAT
from durable_streams.protocol.transfer import CHUNKED, UNTIL_CLOSE
from durable_streams.runtime.turns import TURN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from durable_streams.http.messages import SseStart
    from durable_streams.http.outgoing import Outgoing, Parcel
    from durable_streams.protocol.transfer import Transfer
    from durable_streams.runtime import Runtime
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.service import Streams

FEED_BYTES: Final = 512
"""What a feed costs while it lasts, beside its label; it counts like what is on its way."""
LEFT_COUNT: Final = 64
"""Feeds of a connection that has ended that are taken off their tails in one step."""


class LiveReaders:
    """What all live readers share, and the set of those connected.

    Args:
        streams: the use cases.
        runtime: clock and chance for cursors; bounds of buffer, lifetime, heartbeat and write timeout.
        outgoing: where events are counted, and found if they are on their way already.
        turns: of the loop, shared by all who catch up.
    """

    def __init__(self, streams: Streams, runtime: Runtime, outgoing: Outgoing, *, turns: Turns) -> None:
        self.streams, self.clock, self.chance, self.bounds = streams, runtime.clock, runtime.chance, runtime.bounds
        self.outgoing, self.turns = outgoing, turns
        self.connected: set[SseConnection] = set()
        self._packers = {id(transfer): self._packer(transfer) for transfer in (CHUNKED, UNTIL_CLOSE)}

    def packer(self, transfer: Transfer) -> Callable[..., Parcel]:
        """Return what makes a parcel of the pieces of an event; the same for all connections of a kind."""
        return self._packers[id(transfer)]

    def _packer(self, transfer: Transfer) -> Callable[..., Parcel]:
        return lambda *pieces: self.outgoing.parcel(transfer.framed(*pieces))

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

    def leave(self, feeds: dict[Feed, None]) -> None:
        """Take feeds off their tails, a few now and a few a turn."""

        def step() -> int:
            for _ in range(min(len(feeds), LEFT_COUNT)):
                feeds.popitem()[0].leave_tail()
            if feeds:
                self.turns.add(step)
            return TURN_BYTES // 4

        step()

    def end_all(self, *, up_to_date: bool = True) -> None:
        """Close every reader, with a last control event; for shutting down, after the last commit.

        up_to_date: whether all who follow have been told of all commits; otherwise such an event would not be true.
        """
        for connection in tuple(self.connected):
            connection.end(up_to_date=up_to_date)


class SseConnection(asyncio.Protocol):
    """One live reader. Implements ``FeedConnection``; ends when its last feed does, or its time is up."""

    __slots__ = (
        "_behind",
        "_deadline",
        "_echoed",
        "_feeds",
        "_floor",
        "_gone_watch",
        "_held_bytes",
        "_is_due",
        "_loop",
        "_parcels",
        "_readers",
        "_stall",
        "_stalled",
        "_timer",
        "_transfer",
        "_transport",
        "pack",
        "streams",
    )

    def __init__(
        self, readers: LiveReaders, transport: asyncio.Transport, start: SseStart, *, transfer: Transfer
    ) -> None:
        self._readers, self._transport, self.streams = readers, transport, readers.streams
        self._transfer, self.pack = transfer, readers.packer(transfer)
        self._echoed, self._floor = start.cursor, 0
        self._stalled = self._is_due = False
        self._parcels: list[Parcel] = []
        self._behind: deque[Feed] = deque()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + readers.bounds.sse_lifetime_ms / 1000
        self._stall = StallWatch(transport, readers.bounds.write_timeout_ms / 1000, readers.bounds.least_bytes)
        self._timer = self._loop.call_later(self._pause_s(), self._tick)
        self._gone_watch: GoneWatch | None = None
        self._feeds = dict.fromkeys([Feed(self, feed) for feed in start.feeds])
        self._held_bytes = sum(FEED_BYTES + len(feed.label) for feed in start.feeds)
        readers.outgoing.count(self._held_bytes)

    def begin(self, start: SseStart) -> None:
        """Send the head of the answer and start to catch up."""
        self._readers.connected.add(self)
        self._transport.set_write_buffer_limits(high=SMALL_MAX_BYTES, low=0)
        fields = (*start.headers, *answers.COMMON, *self._transfer.fields)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1")
        self.write(self._readers.outgoing.parcel(head + self._transfer.framed(start.opening)))
        if self._gone_watch is None and not self._transport.is_reading():
            self._transport.resume_reading()  # or the peer's leaving would go unnoticed
        for feed in self._feeds:
            self.soon(feed)
        if not self._feeds:
            self._finish()

    def end(self, *, up_to_date: bool) -> None:
        """Send a last control event, where it would be true, and close."""
        if up_to_date and not self.paused:
            for feed in tuple(self._feeds):
                feed.say_where()
        self._finish()

    def cut(self) -> None:
        """Drop the connection now, with whatever was not taken."""
        self._transport.abort()

    # --- FeedConnection ---

    @property
    def paused(self) -> bool:
        """Whether more waits for the peer than may, or more for all peers together."""
        return self._stalled and (
            self._transport.get_write_buffer_size() > self._readers.bounds.sse_buffer_bytes
            or self._readers.outgoing.is_full
        )

    @property
    def over(self) -> bool:
        """Whether nothing more is to be sent."""
        return self._transport.is_closing() or not self._feeds

    def write(self, parcel: Parcel) -> None:
        """Send a parcel, and hold it until the peer's transport has taken it."""
        self._transport.write(parcel.payload)
        if self._stalled:
            self._parcels.append(parcel)
            self._stall.wrote(len(parcel.payload))

    def shared(self, key: Hashable, pieces: Callable[[], tuple[bytes, ...]]) -> Parcel:
        """Return the parcel on its way under this key, or one of these pieces."""
        framed = self._transfer.framed
        return self._readers.outgoing.shared((framed, key), lambda: framed(*pieces()))

    def soon(self, feed: Feed) -> None:
        """Let a feed send its next page in a later turn of the loop: one of all the connection's feeds at a time."""
        self._behind.append(feed)
        self._take_turn()

    def _take_turn(self) -> None:
        if self._behind and not (self._is_due or self.paused):
            self._is_due = True
            self._readers.turns.add(self._catch_up)

    def _catch_up(self) -> int:
        """Let the feed that waits longest send a page; return what that cost."""
        self._is_due = False
        if self.over:
            self._behind.clear()
        elif self._readers.outgoing.is_full:
            self._readers.outgoing.wait(self._take_turn)
        elif self._behind and not self.paused:
            feed = self._behind.popleft()
            cost_bytes = feed.catch_up() if feed in self._feeds else 0
            self._take_turn()
            return cost_bytes
        return 0

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
        del self._feeds[feed]
        if not self._feeds:
            self._finish()

    # --- asyncio.Protocol ---

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """The peer has gone, or we closed."""
        self._leave_tails()
        self._parcels.clear()
        self._readers.outgoing.leave(self._take_turn)
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
        """Bytes wait for the peer: what waits counts, and the peer is cut if it takes too little of it."""
        self._stalled = True
        self._stall.start()

    def resume_writing(self) -> None:
        """The peer's transport has taken all: feeds that fell behind go on from the offset reached."""
        self._stalled = False
        self._parcels.clear()
        if not self._transport.is_closing():
            self._stall.stop()
        self._take_turn()

    def _beat(self) -> None:
        """Send what means nothing, where there is room."""
        if not self._stalled:
            self._transport.write(self._transfer.framed(HEARTBEAT))

    # --- ending ---

    def _leave_tails(self) -> None:
        """Let go of all feeds, a few a turn: a connection may have a thousand, and many may end at once."""
        self._readers.outgoing.count(-self._held_bytes)
        self._held_bytes = 0
        feeds, self._feeds = self._feeds, {}
        self._behind.clear()
        if feeds:
            self._readers.leave(feeds)

    def _finish(self) -> None:
        """End the answer, and close once everything written has gone out, within the write timeout."""
        self._leave_tails()
        self._timer.cancel()
        if self._transport.is_closing():
            return
        self._transport.write(self._transfer.end)
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

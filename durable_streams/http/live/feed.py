"""One stream's events for one live reader: catching up, being pushed to, falling behind (§5.8).

Owns: the position in one stream. Must not know: transports; how many streams its connection carries.

A feed is *catching up* (reads pages by offset, each in its connection's turn) or *live* (in the hub; gets frames).
Falling behind, because its connection is full or a frame does not start where it stands, is catching up again.
Invariant: ``position`` is where a client that reconnects after the last control event continues; every byte before it
was written to the connection, none after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from durable_streams.engine.base import EngineError
from durable_streams.http.errors import event_of
from durable_streams.protocol.cursor import mark_of
from durable_streams.protocol.errors import ReplacedError, StreamError
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.sse import Encoding, control_event, data_event, encoding_of, whole_text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from durable_streams.http.messages import FeedStart
    from durable_streams.http.outgoing import Parcel
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.read import Page
    from durable_streams.streams.service import Streams
    from durable_streams.streams.tail import Frame

_log = structlog.get_logger(__name__)


class FeedConnection(Protocol):
    """What a feed needs of its connection."""

    streams: Streams
    pack: Callable[..., Parcel]
    """Makes a parcel of the pieces of an event; one function for all connections of a kind."""

    @property
    def paused(self) -> bool:
        """Whether unsent bytes exceed the bound."""

    @property
    def over(self) -> bool:
        """Whether nothing more is to be sent."""

    def write(self, parcel: Parcel) -> None:
        """Send a parcel that was packed or shared."""

    def shared(self, key: Hashable, pieces: Callable[[], tuple[bytes, ...]]) -> Parcel:
        """Return the parcel on its way under this key, or one of these pieces; equal keys mean equal pieces."""

    def cut(self) -> None:
        """End the connection in a way that the client cannot take for its regular end."""

    def soon(self, feed: Feed) -> None:
        """Call ``feed.catch_up`` once, in a later turn of the loop and when there is room."""

    def next_cursor(self, mark: int) -> str:
        """Return the cursor for the next control event of an incarnation with this mark (§10.1)."""

    def done(self, feed: Feed) -> None:
        """The feed has sent its last event: the stream is closed, or gone."""


class Feed:
    """Implements ``Follower``."""

    __slots__ = ("_connection", "_encoding", "_live", "_mark", "_path", "_shown", "_sid", "label", "position")

    def __init__(self, connection: FeedConnection, start: FeedStart) -> None:
        self._connection, self.label = connection, start.label
        self._path, self._sid, self.position = start.head.path, start.head.sid, start.position
        self._mark = mark_of(self._sid)
        self._encoding = encoding_of(decode_record(start.head.record).content_type)
        self._live = self._shown = False

    @property
    def live(self) -> bool:
        """Whether it is at the tail and in the hub."""
        return self._live

    # --- Follower ---

    def on_frame(self, frame: Frame) -> None:
        """Pass on a shared frame, or fall behind."""
        connection = self._connection
        if connection.over:
            self.leave_tail()
            return
        if frame.sse_end <= self.position and not frame.closed:
            return  # seen while catching up, or not one whole character yet
        if connection.paused or frame.sse_start != self.position or frame.is_large:
            self.leave_tail()
            connection.soon(self)
            return
        connection.write(frame.event(connection.next_cursor(self._mark), self.label, connection.pack))
        self.position = frame.sse_end
        if frame.closed:
            self._end()

    def on_gone(self, why: StreamError) -> None:
        """Say that the stream is no more; in-flight reads end, and the next request is told the same (§5.4)."""
        if not self._connection.over:
            self._connection.write(self._connection.pack(self.label, event_of("gone", why)))
        self._end()

    # --- catching up ---

    def catch_up(self) -> int:
        """Send the next page; at the tail, go live. Returns what that cost, in bytes."""
        streams = self._connection.streams
        try:
            head = streams.touched_head(self._path)
            if head.sid != self._sid:
                raise ReplacedError(self._path)
            page = streams.page(head, self.position)
        except StreamError as why:  # deleted, expired or replaced while catching up
            self.on_gone(why)
            return 0
        except EngineError as fault:
            _log.error("a live reader cannot be served", path=self._path, error=str(fault))
            self._connection.cut()
            return 0
        held = self._show(page)
        if page.closed:
            self._end()
        elif page.up_to_date:
            self._go_live(head, held)
        else:
            self._connection.soon(self)
        return len(page.payload)

    def say_where(self) -> None:
        """Send a control event alone, if it would be true: before the connection ends for another reason."""
        if self._live:
            self._write_control(up_to_date=True, closed=False)

    def leave_tail(self) -> None:
        """Take no more frames."""
        if self._live:
            self._live = False
            self._connection.streams.unfollow(self._sid, self)

    def _show(self, page: Page) -> bytes:
        """Send a page, or what it says without bytes; return the bytes held back, the start of one character."""
        if not page.payload:
            if page.closed:
                self._write_control(up_to_date=True, closed=True)
            return b""
        whole = self._whole_bytes(page)
        self.position = page.start + whole
        if whole:
            self._write_page(page, whole)
        return page.payload[whole:]

    def _write_page(self, page: Page, whole: int) -> None:
        """Write a data event and its control event; they are made once for all who are sent them at this time."""
        self._shown = True
        cursor, closed = self._connection.next_cursor(self._mark), page.closed
        key = (self._sid, page.start, self.position, self.label, cursor, page.up_to_date, closed)

        def pieces() -> tuple[bytes, ...]:
            shown = data_event(self._encoding, page.payload[:whole])
            return (self.label, shown, self.label, self._control(cursor, up_to_date=page.up_to_date, closed=closed))

        self._connection.write(self._connection.shared(key, pieces))

    def _whole_bytes(self, page: Page) -> int:
        """How much to show now: all, but for text the start of a character whose rest is still to come."""
        if self._encoding is not Encoding.TEXT or page.closed:
            return len(page.payload)
        whole = whole_text_bytes(page.payload)
        return len(page.payload) if whole == 0 and not page.up_to_date else whole

    def _go_live(self, head: Head, held: bytes) -> None:
        if not self._shown:  # nothing was sent yet: say where we are, and that this is all (§8, offset=now)
            self._write_control(up_to_date=True, closed=False)
        self._connection.streams.follow(head, self._encoding, self, held=held)
        self._live = True

    def _write_control(self, *, up_to_date: bool, closed: bool) -> None:
        """Write a control event alone."""
        self._shown = True
        cursor = self._connection.next_cursor(self._mark)
        self._connection.write(
            self._connection.pack(self.label, self._control(cursor, up_to_date=up_to_date, closed=closed))
        )

    def _control(self, cursor: str, *, up_to_date: bool, closed: bool) -> bytes:
        sid = None if self.label else self._sid
        return control_event(self.position, cursor, up_to_date=up_to_date, closed=closed, sid=sid)

    def _end(self) -> None:
        self.leave_tail()
        self._connection.done(self)

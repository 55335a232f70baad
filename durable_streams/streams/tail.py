"""The live tail: who follows which stream, and what they are told when a commit lands.

Owns: followers by incarnation, and one frame per commit and stream, encoded once for all of them.
Must not know: sockets; how followers catch up. Not a source of truth: a follower that missed a frame reads by offset,
late but never wrong.
Invariant: a frame holds only durable bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from durable_streams.protocol.sse import Encoding, control_event, data_event, whole_text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.protocol.errors import StreamError
    from durable_streams.protocol.head import Head

_log = structlog.get_logger(__name__)


class Frame:
    """What one commit added to one stream: bytes ``[start, end)``, and whether it closed it.

    As server-sent events the frame covers ``[sse_start, sse_end)``, which differs for text whose last character is
    not whole yet (it waits, ``held``, for the rest) or whose first one began in the frame before.
    """

    __slots__ = ("_data_event", "_events", "_sid", "closed", "end", "held", "payload", "sse_end", "sse_start", "start")

    def __init__(self, head: Head, payload: bytes, encoding: Encoding, *, held: bytes) -> None:
        start, closed = head.tail - len(payload), head.closed
        self._sid, self.start, self.end, self.payload, self.closed = head.sid, start, head.tail, payload, closed
        text = held + payload if held else payload
        whole = whole_text_bytes(text) if encoding is Encoding.TEXT and not closed else len(text)
        self.sse_start = start - len(held)
        self.sse_end, self.held = self.sse_start + whole, text[whole:]
        self._data_event = data_event(encoding, text[:whole]) if whole else b""
        self._events: dict[tuple[str, bytes, Callable[..., bytes]], bytes] = {}

    def event(self, cursor: str, label: bytes, framed: Callable[..., bytes]) -> bytes:
        """Return the data event and the control event behind it, framed: one object for all readers of a kind.

        Args:
            cursor: for the control event.
            label: goes before each of the two events; with one, the control event has no id of its own.
            framed: makes one piece for the wire of the pieces of an event.
        """
        event = self._events.get((cursor, label, framed))
        if event is None:
            sid = None if label else self._sid
            control = control_event(self.sse_end, cursor, up_to_date=True, closed=self.closed, sid=sid)
            shown = (label, self._data_event) if self._data_event else ()
            event = self._events[cursor, label, framed] = framed(*shown, label, control)
        return event


class Follower(Protocol):
    """Somebody who waits at the tail. Both calls must return at once and must not raise."""

    def on_frame(self, frame: Frame) -> None:
        """A commit added bytes, or closed the stream."""

    def on_gone(self, why: StreamError) -> None:
        """The stream was deleted, or expired, or another has taken its place: what a new request would be told."""


class Tail:
    """The followers of one incarnation. ``held``: text bytes not yet shown because their character is not whole."""

    __slots__ = ("encoding", "end", "followers", "held", "path")

    def __init__(self, head: Head, encoding: Encoding, held: bytes) -> None:
        self.path, self.end, self.encoding, self.held = head.path, head.tail, encoding, held
        self.followers: dict[Follower, None] = {}


class Hub:
    """All tails with at least one follower. The loop's thread only."""

    def __init__(self) -> None:
        self._tails: dict[int, Tail] = {}

    def follow(self, head: Head, encoding: Encoding, follower: Follower, *, held: bytes = b"") -> None:
        """Tell ``follower`` of everything committed from ``head.tail`` on.

        Args:
            head: the stream, as the follower has seen it.
            encoding: how the stream's frames are shown.
            follower: is told until it is forgotten or the stream has gone.
            held: bytes of text just before the tail that the follower was not shown, as their character is not whole.
        """
        tail = self._tails.get(head.sid)
        if tail is None:
            tail = self._tails[head.sid] = Tail(head, encoding, held)
        tail.followers[follower] = None

    def unfollow(self, sid: int, follower: Follower) -> str | None:
        """Forget a follower, no error if it is not there; return the stream's path if it was the last one."""
        tail = self._tails.get(sid)
        if tail is None:
            return None
        tail.followers.pop(follower, None)
        if tail.followers:
            return None
        del self._tails[sid]
        return tail.path

    def is_followed(self, sid: int) -> bool:
        """Whether a live reader holds this incarnation."""
        return sid in self._tails

    def publish(self, head: Head, payload: bytes) -> None:
        """Hand the bytes that a commit added before ``head.tail`` to all followers; called after it is durable.

        Whoever came between the commit and this call has them already.
        """
        tail = self._tails.get(head.sid)
        start = head.tail - len(payload)
        if tail is None or not (payload or head.closed) or tail.end > start:
            return
        held = tail.held if tail.end == start else b""
        frame = Frame(head, payload, tail.encoding, held=held)
        tail.end, tail.held = frame.end, frame.held
        for follower in tuple(tail.followers):
            try:
                follower.on_frame(frame)
            except Exception as fault:  # noqa: BLE001 one reader's trouble must not keep writers from their answers
                _log.error("a follower failed", path=tail.path, exc_info=fault)
                self.unfollow(head.sid, follower)

    def gone(self, sid: int, why: StreamError) -> None:
        """Tell all followers that their stream is no more, and in which way."""
        tail = self._tails.pop(sid, None)
        if tail is not None:
            for follower in tuple(tail.followers):
                follower.on_gone(why)

    def followers(self) -> list[Follower]:
        """Return everybody who follows anything, for shutting down."""
        return [follower for tail in self._tails.values() for follower in tail.followers]

"""The live tail: who follows which stream, and what they are told when a commit lands.

Owns: followers by incarnation, and one frame per commit and stream, encoded once for all of them.
Must not know: sockets; how followers catch up. Not a source of truth: a follower that missed a frame reads by offset,
late but never wrong.
Invariant: a frame holds only durable bytes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

import structlog

from durable_streams.protocol.sse import Encoding, control_event, data_event, whole_text_bytes
from durable_streams.runtime.turns import TURN_BYTES, Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.protocol.errors import StreamError
    from durable_streams.protocol.head import Head

T = TypeVar("T")
TOLD_COUNT: Final = 256
"""Followers that are told in one turn of the loop."""
FRAME_MAX_BYTES: Final = 1024 * 1024
"""A commit that adds more to a stream is not shown whole to those who follow it: they read it by pages."""
UNTOLD_MAX_BYTES: Final = 16 * 1024 * 1024
"""What waits to be told, with its bytes; beyond it likewise."""
_log = structlog.get_logger(__name__)


class Frame:
    """What one commit added to one stream: bytes ``[start, end)``, and whether it closed it.

    As server-sent events the frame covers ``[sse_start, sse_end)``, which differs for text whose last character is
    not whole yet (it waits, ``held``, for the rest) or whose first one began in the frame before.

    is_large: its bytes are not here, so it has no events; ``sse_start`` and ``sse_end`` are then ``start`` and ``end``.
    """

    __slots__ = (
        "_encoding",
        "_events",
        "_sid",
        "_text",
        "closed",
        "end",
        "held",
        "is_large",
        "sse_end",
        "sse_start",
        "start",
    )

    def __init__(self, head: Head, payload: bytes | None, encoding: Encoding, *, start: int, held: bytes) -> None:
        self._sid, self._encoding, self.start, self.end, self.closed = head.sid, encoding, start, head.tail, head.closed
        self.is_large = payload is None
        text = b"" if payload is None else held + payload if held else payload
        whole = whole_text_bytes(text) if encoding is Encoding.TEXT and not head.closed else len(text)
        self.sse_start = start - len(held) if payload is not None else start
        self.sse_end = self.sse_start + whole if payload is not None else self.end
        self.held, self._text = text[whole:], text[:whole] if whole < len(text) else text
        self._events: dict[tuple[str, bytes, Callable[..., object]], object] = {}

    def event(self, cursor: str, label: bytes, pack: Callable[..., T]) -> T:
        """Return the data event and the control event behind it, packed: one object for all readers of a kind.

        Args:
            cursor: for the control event.
            label: goes before each of the two events; with one, the control event has no id of its own.
            pack: makes one object for the wire of the pieces of an event.
        """
        event = self._events.get((cursor, label, pack))
        if event is None:
            sid = None if label else self._sid
            control = control_event(self.sse_end, cursor, up_to_date=True, closed=self.closed, sid=sid)
            shown = (label, data_event(self._encoding, self._text)) if self._text else ()
            event = self._events[cursor, label, pack] = pack(*shown, label, control)
        return cast("T", event)


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
    """All tails with at least one follower. The loop's thread only.

    Followers are told a slice a turn: a commit may have very many, or touch very many streams that have some. What is
    to be told waits in order. Where much waits, it is told without its bytes, and read by offset.
    """

    def __init__(self) -> None:
        self._tails: dict[int, Tail] = {}
        self._gone: dict[int, Tail] = {}
        self._turns = Turns()
        self._untold: deque[_News] = deque()
        self._untold_bytes = 0
        self._is_due = False

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
            if sid in self._gone:
                self._gone[sid].followers.pop(follower, None)
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
        """Note the bytes that a commit added before ``head.tail``, for all followers; called after it is durable.

        Whoever comes between the commit and the telling has them already.
        """
        if head.sid not in self._tails or not (payload or head.closed):
            return
        fits = len(payload) <= FRAME_MAX_BYTES and len(payload) + self._untold_bytes <= UNTOLD_MAX_BYTES
        kept = payload if fits else None
        self._untold_bytes += len(kept or b"")
        self._untold.append(_News(head.sid, head=head, start=head.tail - len(payload), payload=kept))

    def gone(self, sid: int, why: StreamError) -> None:
        """Note that a stream is no more, and in which way, for all followers."""
        tail = self._tails.pop(sid, None)
        if tail is not None:
            self._gone[sid] = tail
            self._untold.append(_News(sid, why=why))

    def tell(self) -> None:
        """Tell one slice of what was noted now, unless older news wait, and the rest in later turns of the loop."""
        if not self._is_due:
            self._tell()

    @property
    def is_idle(self) -> bool:
        """Whether everybody knows everything."""
        return not self._untold

    def followers(self) -> list[Follower]:
        """Return everybody who follows anything, for shutting down."""
        return [follower for tail in self._tails.values() for follower in tail.followers]

    def _tell(self) -> int:
        left = TOLD_COUNT
        while self._untold and left > 0:
            news = self._untold[0]
            if news.waiting is None:
                self._begin(news)
            left -= 1 + self._tell_some(news, left)
            if not news.waiting:
                self._untold.popleft()
                if news.why is not None:
                    del self._gone[news.sid]
        self._is_due = bool(self._untold)
        if self._is_due:
            self._turns.add(self._tell)
        return TURN_BYTES

    def _begin(self, news: _News) -> None:
        """See who is to be told, and make the frame."""
        self._untold_bytes -= len(news.payload or b"")
        tail = self._tails.get(news.sid) or self._gone.get(news.sid)
        news.waiting = deque()
        if tail is None or (news.head is not None and tail.end > news.start):
            return
        if news.head is not None:
            held = tail.held if tail.end == news.start else b""
            news.frame = Frame(news.head, news.payload, tail.encoding, start=news.start, held=held)
            tail.end, tail.held = news.frame.end, news.frame.held
        news.payload = None
        news.waiting.extend(tail.followers)

    def _tell_some(self, news: _News, limit: int) -> int:
        """Tell up to ``limit`` followers that are still there; return how many have been looked at."""
        told = 0
        while news.waiting and told < limit:
            follower = news.waiting.popleft()
            told += 1
            tail = self._tails.get(news.sid) or self._gone.get(news.sid)
            if tail is None or follower not in tail.followers:
                continue  # it has left while it waited
            try:
                _tell_one(news, follower)
            except Exception as fault:  # noqa: BLE001 one reader's trouble must not keep others from their news
                _log.error("a follower failed", path=tail.path, exc_info=fault)
                self.unfollow(news.sid, follower)
        return told


class _News:
    """Something to tell the followers of one incarnation: what a commit added, or that it has gone (``why``).

    waiting: who is still to be told; ``None`` before the first is.
    """

    __slots__ = ("frame", "head", "payload", "sid", "start", "waiting", "why")

    def __init__(
        self,
        sid: int,
        *,
        head: Head | None = None,
        start: int = 0,
        payload: bytes | None = None,
        why: StreamError | None = None,
    ) -> None:
        self.sid, self.head, self.start, self.payload, self.why = sid, head, start, payload, why
        self.frame: Frame | None = None
        self.waiting: deque[Follower] | None = None


def _tell_one(news: _News, follower: Follower) -> None:
    if news.why is not None:
        follower.on_gone(news.why)
    elif news.frame is not None:
        follower.on_frame(news.frame)

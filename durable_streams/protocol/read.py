"""Reading: which bytes a request gets, and what the answer says about them (§5.6, §5.7, §10.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.protocol import content_types, json_mode
from durable_streams.protocol.cursor import mark_of, marked
from durable_streams.protocol.errors import GoneError, OffsetBeyondTailError, ReplacedError
from durable_streams.protocol.head import Segment, decode_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.protocol.head import Head, Record

CACHE_MAX_AGE_S: Final = 60
CACHE_STALE_S: Final = 300
NO_STORE: Final = "no-store"


class Page(NamedTuple):
    """Stored bytes ``[start, end)`` of one stream, and what was true of it when they were read.

    up_to_date: ``end`` is the tail. §5.6: it "MUST be present … when the response includes all data available in the
        stream at the time the response was generated".
    closed: the stream is closed and ``end`` is its final offset. §5.6: it "MUST be present when the stream is closed
        and the client has reached the final offset at the time the response is generated".
    """

    sid: int
    start: int
    end: int
    payload: bytes
    up_to_date: bool
    closed: bool
    content_type: str


class Whole(NamedTuple):
    """All stored bytes ``[start, end)`` of one stream up to the tail of one moment, to be sent in pieces (§5.6).

    At least one byte. An offset is a byte position, so how long the answer will be is known before any of it is read.
    """

    sid: int
    start: int
    end: int
    closed: bool
    content_type: str

    @property
    def up_to_date(self) -> bool:
        """It ends at the tail, always."""
        return True

    @property
    def body_bytes(self) -> int:
        """The length of the answer's body: of a JSON array, the brackets come and the last comma goes."""
        return self.end - self.start + content_types.is_json(self.content_type)


def resolve_start(head: Head, start: int | None) -> int:
    """Return the first byte to read.

    Args:
        head: the stream.
        start: the offset asked for; ``None`` means the tail (``now``, §8).

    Raises:
        GoneError: the stream is soft-deleted.
        OffsetBeyondTailError: past the tail.
    """
    # §5.4: "A soft-deleted stream returns 410 Gone for direct operations".
    if head.soft_deleted:
        raise GoneError(head.path)
    # §8: `now` is "the current tail position", and the answer to it "MUST contain no data messages".
    if start is None:
        return head.tail
    if start > head.tail:
        raise OffsetBeyondTailError(start, head.tail)
    return start


def check_incarnation(head: Head, position: int, shares: Callable[[int], bool]) -> None:
    """Check that an offset was handed out for the stream as it is, where the client lets us know.

    Args:
        head: what stands at the path now.
        position: the offset; the beginning is right for every stream.
        shares: whether what came with the offset names an incarnation. A fork has the offsets, and the bytes before
            them, of its source up to its base: a reader may go on there with what the source gave it.

    Raises:
        ReplacedError: the offset is another incarnation's: bytes would be skipped in silence.
    """
    # §8: "Offsets remain valid for the lifetime of the stream (until deletion or expiration)", and no longer.
    if position == 0 or shares(head.sid):
        return
    fork = decode_record(head.record).fork
    if fork is not None:
        lineage = (*fork.lineage, Segment(fork.source_sid, fork.base))
        if any(position <= segment.end and shares(segment.sid) for segment in lineage):
            return
    raise ReplacedError(head.path)


def check_cursor(head: Head, position: int, cursor: str | None) -> None:
    """``check_incarnation`` by the mark in a cursor.

    Args:
        head: what stands at the path now.
        position: the offset that came with the cursor.
        cursor: as the client echoed it; ``None``, or one without a mark, lets any offset pass.

    Raises:
        ReplacedError: as there.
    """
    mark = marked(cursor)
    if mark is not None:
        check_incarnation(head, position, lambda sid: mark_of(sid) == mark)


def segments_of(record: Record, sid: int, tail: int) -> tuple[tuple[int, int, int], ...]:
    """Return (sid, start, end) of every store segment of a stream: its ancestors' shares, then its own (§4.2)."""
    if record.fork is None:
        return ((sid, 0, tail),)
    # §4.2: "Reads on a fork return the inherited data followed by any data appended to the fork itself."
    segments, start = [], 0
    for segment in record.fork.lineage:
        segments.append((segment.sid, start, segment.end))
        start = segment.end
    return (*segments, (sid, start, tail))


def page_bytes(content_type: str, payload: bytes, max_bytes: int) -> int:
    """Return how many of the bytes read go into one page.

    Args:
        content_type: the stream's; in JSON mode a page holds whole messages, and one larger than the page goes whole.
        payload: the bytes read, in JSON mode from the start of a message on.
        max_bytes: of a page.
    """
    if len(payload) <= max_bytes:
        return len(payload)
    # §9.1.1: "servers MUST preserve message boundaries".
    return json_mode.cut(payload, max_bytes) if content_types.is_json(content_type) else max_bytes


def body_of(page: Page) -> bytes:
    """Return the answer's body: the bytes, or the JSON array of the messages (§9.1.5)."""
    # §9.1.5: "If no messages exist in the range, servers MUST return an empty JSON array".
    return json_mode.wrap(page.payload) if content_types.is_json(page.content_type) else page.payload


def part_of(whole: Whole, position: int, payload: bytes) -> bytes:
    """Return the part of a whole answer's body that the bytes stored at ``position`` make; see ``body_of``.

    Args:
        whole: the answer.
        position: between its start and its end.
        payload: at least one byte, none beyond its end. It may begin and stop anywhere, within a message too.
    """
    if not content_types.is_json(whole.content_type):
        return payload
    opening = b"[" if position == whole.start else b""
    if position + len(payload) < whole.end:
        return opening + payload if opening else payload
    return b"".join((opening, memoryview(payload)[:-1], b"]"))


def etag(page: Page | Whole) -> str:
    """Return the strong entity tag of an answer (§10.1).

    It changes with all that the answer says beside its bytes: when the stream is closed behind them, and when they are
    no longer up to the tail. What a cache keeps, it keeps with the headers of a 304 that does not name them otherwise
    (RFC 9111 §3.2), so a tag that stayed would go on telling the client that it has everything.
    """
    # §10.1: "When a stream is closed (without new data being appended), the ETag MUST change".
    state = ":c" if page.closed else ":u" if page.up_to_date else ""
    return f'"{page.sid:x}:{page.start}:{page.end}{state}"'


def matches_etag(if_none_match: str | None, tag: str) -> bool:
    """Whether ``If-None-Match`` holds the tag: ``*``, a list, weak or strong (RFC 9110 §13.1.2)."""
    # §10.1: to a tag "that matches the current ETag, servers MUST respond with 304 Not Modified (with no body)".
    if if_none_match is None:
        return False
    candidates = (candidate.strip().removeprefix("W/") for candidate in if_none_match.split(","))
    return any(candidate in {tag, "*"} for candidate in candidates)


def cache_control(page: Page | Whole, scope: str, remaining_ms: int | None) -> str:
    """Return ``Cache-Control`` for a page (§10.1).

    Bytes never change, so they may be kept; the empty answer at the tail is true for this moment only.

    Args:
        page: what is answered.
        scope: ``public`` or ``private``.
        remaining_ms: until the stream expires, ``None`` for never; nothing is cached beyond it, stale or not.
    """
    # §10.1: at the tail the closure signal is "a distinct request/response": a kept one would hide it.
    if page.start == page.end:
        return NO_STORE
    remaining_s = CACHE_MAX_AGE_S + CACHE_STALE_S if remaining_ms is None else max(0, remaining_ms // 1000)
    max_age_s = min(CACHE_MAX_AGE_S, remaining_s)
    stale_s = min(CACHE_STALE_S, remaining_s - max_age_s)
    return f"{scope}, max-age={max_age_s}, stale-while-revalidate={stale_s}"

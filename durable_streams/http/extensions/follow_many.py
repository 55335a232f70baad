"""``POST {root}/__ds/follow``: many streams on one connection (an extension, §11.1).

A browser has six connections per host; an inspector or a chat with many answers needs more streams than that. The body
is a JSON array of ``{"path": "a/b", "offset": "-1"}``; the answer is one event stream. Every event carries its stream's
path, percent-encoded, in the ``id`` field:

- ``event: stream``, first for each: ``{"contentType": "…"}`` with ``"encoding": "base64"`` where data events are so.
- ``event: data`` and ``event: control``, as on a connection of the stream's own (§5.8).
- ``event: refused``: ``code`` and ``detail`` for one that cannot be followed, such as ``not-found``; ``event: gone``:
  the same for one that was deleted meanwhile, or ``replaced``.

The connection ends when no stream is left, or after its lifetime; a client comes back with the offsets it has reached,
and the cursors that it was given with them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec
import orjson

from durable_streams.http import answers
from durable_streams.http.errors import event_of
from durable_streams.http.messages import FeedStart, SseStart
from durable_streams.http.search import Search
from durable_streams.protocol.errors import InvalidJsonError, StreamError
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.offsets import START, parse_start
from durable_streams.protocol.paths import parse_path
from durable_streams.protocol.read import check_cursor
from durable_streams.protocol.sse import Encoding, encoding_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from durable_streams.http.messages import Fields, Pending, Request, Settle
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.service import Streams

FOLLOWED_MAX: Final = 1000
"""Streams on one connection."""
SLICE_COUNT: Final = 64
"""Streams looked up in one turn of the loop."""
EVENT_STREAM: Final[Fields] = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """One stream to follow. ``path`` as it is, not percent-encoded; ``cursor`` as it came with the offset."""

    path: str
    offset: str = START
    cursor: str | None = None


_decode = msgspec.json.Decoder(list[Wanted]).decode


def start_follow(streams: Streams, request: Request, *, searches: Turns, settle: Settle) -> Pending:
    """Begin to follow many streams; they are looked up a slice at a time.

    Raises:
        InvalidJsonError: a body that is not of the form above, a path named twice, or too many of them.
    """
    try:
        wanted = _decode(request.body)
    except msgspec.MsgspecError as refusal:
        raise InvalidJsonError(str(refusal)) from None
    if not 0 < len(wanted) <= FOLLOWED_MAX:
        raise InvalidJsonError(f"1 to {FOLLOWED_MAX} streams can be followed at once, not {len(wanted)}")
    path, times = Counter(one.path for one in wanted).most_common(1)[0]
    if times > 1:
        raise InvalidJsonError(f"{path!r} is named {times} times; a stream is followed once on a connection")
    return Search(request, _started(streams, wanted), lambda start: start, turns=searches, settle=settle)


def _started(streams: Streams, wanted: list[Wanted]) -> Generator[None, None, SseStart]:
    feeds: list[FeedStart] = []
    opening: list[bytes] = []
    for number, one in enumerate(wanted):
        if number % SLICE_COUNT == 0:
            if number:
                yield
            streams.load([other.path for other in wanted[number : number + SLICE_COUNT]])
        label = b"id:" + quote(one.path).encode("ascii") + b"\n"
        try:
            feed = _start_one(streams, one, label)
        except StreamError as refusal:
            opening.append(label + event_of("refused", refusal))
            continue
        feeds.append(feed)
        opening.append(label + _introduced(feed))
    return SseStart(tuple(feeds), None, (*EVENT_STREAM, answers.SUPPORTED), b"".join(opening))


def _start_one(streams: Streams, wanted: Wanted, label: bytes) -> FeedStart:
    start, path = parse_start(wanted.offset), parse_path(quote(wanted.path))
    check_cursor(streams.head(path), start or 0, wanted.cursor)
    return FeedStart(*streams.open_at(path, start), label)


def _introduced(feed: FeedStart) -> bytes:
    content_type = decode_record(feed.head.record).content_type
    described = {"contentType": content_type}
    if encoding_of(content_type) is Encoding.BASE64:
        described["encoding"] = "base64"
    return b"event: stream\ndata:" + orjson.dumps(described) + b"\n\n"

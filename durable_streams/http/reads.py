"""HEAD and GET on a stream: metadata, catch-up, long-poll, and the start of server-sent events (§5.5 to §5.8)."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from durable_streams.http import answers
from durable_streams.http.errors import answer_of
from durable_streams.http.extensions.follow_many import EVENT_STREAM
from durable_streams.http.messages import Answer, FeedStart, Pending, SseStart
from durable_streams.http.outgoing import SMALL_MAX_BYTES
from durable_streams.http.search import Search
from durable_streams.http.whole import WholeBody
from durable_streams.protocol import headers as names
from durable_streams.protocol import read as rules
from durable_streams.protocol.cursor import mark_of, next_cursor
from durable_streams.protocol.errors import InvalidQueryError, ReplacedError, StreamError
from durable_streams.protocol.expiry import format_expires_at
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.offsets import parse_start
from durable_streams.protocol.response_fields import ETAG
from durable_streams.protocol.sse import LAST_EVENT_ID, Encoding, encoding_of, parse_event_id
from durable_streams.streams.pages import TAIL_MESSAGES_MAX

if TYPE_CHECKING:
    from durable_streams.http.messages import Fields, Request, Settle
    from durable_streams.http.outgoing import Outgoing
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.read import Page, Whole
    from durable_streams.runtime import Runtime
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.service import Streams
    from durable_streams.streams.tail import Frame

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_SIZE = re.compile(r"[0-9]{1,16}", re.ASCII)
LONG_POLL, SSE = "long-poll", "sse"


class Asked(NamedTuple):
    """What a request for a catch-up or a long-poll says beside where to begin.

    relative: the same URL will mean other bytes later (``now``, ``tail``), so nothing may keep the answer.
    cursor: what the client echoes, on a long-poll. max_bytes: it wants a page, at most so large (an extension, §11.1).
    if_none_match: the field's value, on a catch-up.
    """

    relative: bool
    cursor: str | None
    max_bytes: int | None
    if_none_match: str | None


class Reads:
    """Answers HEAD and GET.

    Args:
        streams: the use cases.
        runtime: clock and chance for cursors; how long a long-poll waits.
        outgoing: where pages are counted, and found if they are on their way already.
        cache_scope: ``public`` or ``private`` (§10.1).
    """

    def __init__(
        self, streams: Streams, runtime: Runtime, outgoing: Outgoing, *, searches: Turns, cache_scope: str
    ) -> None:
        self._streams, self._clock, self._chance = streams, runtime.clock, runtime.chance
        self._outgoing, self._searches = outgoing, searches
        self._cache_scope, self.long_poll_timeout_s = cache_scope, runtime.bounds.long_poll_timeout_ms / 1000
        self._paged = runtime.bounds.max_chunk_bytes is not None
        self._waiting: dict[_Waiter, float] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._shared: tuple[Frame | None, dict[tuple[int, Asked], Answer]] = (None, {})

    def head(self, path: str) -> Answer:
        """Metadata; does not slide the TTL (§5.5)."""
        head = self._streams.head(path)
        record = decode_record(head.record)
        fields = [*answers.type_of(record.content_type), answers.next_offset(head.tail)]
        if record.ttl_s is not None:
            fields.append((names.STREAM_TTL, str(record.ttl_s)))
        if record.expires_at_ms is not None:
            fields.append((names.STREAM_EXPIRES_AT, format_expires_at(record.expires_at_ms)))
        if record.producer_required:
            fields.append((names.STREAM_PRODUCER_REQUIRED, "true"))
        if record.write_fenced:
            fields.append((names.STREAM_WRITE_FENCE, "true"))
        if head.closed:
            fields.append(answers.CLOSED)
        return Answer(200, (*fields, answers.NO_STORE, answers.SUPPORTED))

    def get(self, path: str, request: Request, settle: Settle) -> Answer | SseStart | Pending:
        """What there is, a wait for more, or a live connection, by ``live`` (§5.6, §5.7, §5.8)."""
        live = _single(request, "live")
        if live not in {None, LONG_POLL, SSE}:
            raise InvalidQueryError("live", "must be long-poll or sse")
        start, tail_count = _parse_position(request, required=live is not None)
        resumed = self._resumed(path, request) if live == SSE else None
        if resumed is not None and (start is None or resumed >= start):
            start, tail_count = resumed, None
        cursor = _single(request, "cursor")
        if start and cursor is not None:
            rules.check_cursor(self._streams.head(path), start, cursor)
        if tail_count is None:
            return self._read(path, start, request, relative=start is None, settle=settle)
        steps = self._streams.last_messages(path, tail_count)
        begin_at = partial(self._read, path, request=request, relative=True, settle=settle)
        return Search(request, steps, begin_at, turns=self._searches, settle=settle)

    def _resumed(self, path: str, request: Request) -> int | None:
        """Return where an ``EventSource`` goes on that was cut: it sends its first URL again, and how far it came.

        The URL may name a place before that, or one that has moved meanwhile, as ``now`` does.
        """
        event_id = request.headers.get(LAST_EVENT_ID)
        if not event_id:
            return None
        position, incarnation = parse_event_id(event_id)
        rules.check_incarnation(self._streams.head(path), position, lambda sid: sid == incarnation)
        return position

    def _read(
        self, path: str, start: int | None, request: Request, *, relative: bool, settle: Settle
    ) -> Answer | SseStart | Pending:
        live = _single(request, "live")
        if live == SSE:
            return self._start_sse(path, start, request)
        asked = _asked(request, live, relative=relative)
        if live == LONG_POLL:
            return self._long_poll(path, start, asked, settle=settle)
        return self._catch_up(path, start, asked)

    def _catch_up(self, path: str, start: int | None, asked: Asked) -> Answer:
        """§5.6: everything up to the tail of this moment, or a page where request or operator ask for pages."""
        head, position = self._streams.open_at(path, start)
        limit = self._streams.page_max_bytes
        if head.tail - position > limit and asked.max_bytes is None and not self._paged:
            return self._whole(head, position, asked)
        page = self._streams.page(head, position, asked.max_bytes)
        if start is None:
            return Answer(200, (*self._page_fields(page), answers.NO_STORE, answers.SUPPORTED), rules.body_of(page))
        fields, unchanged = self._validated(head, page, asked)
        return Answer(304, fields) if unchanged else self._page_answer((*fields, answers.SUPPORTED), page)

    def _page_answer(self, fields: Fields, page: Page) -> Answer:
        """Answer with a page; a large one counts while it is on its way, once for all who are sent it.

        Raises:
            OverloadedError: clients hold too much already.
        """
        if len(page.payload) < SMALL_MAX_BYTES:
            return Answer(200, fields, rules.body_of(page))
        self._outgoing.check()
        parcel = self._outgoing.shared(rules.etag(page), lambda: rules.body_of(page))
        return Answer(200, fields, parcel.payload, parcel=parcel)

    def _whole(self, head: Head, position: int, asked: Asked) -> Answer:
        whole = rules.Whole(head.sid, position, head.tail, head.closed, decode_record(head.record).content_type)
        fields, unchanged = self._validated(head, whole, asked)
        if unchanged:
            return Answer(304, fields)
        body = WholeBody(self._streams, head, whole, outgoing=self._outgoing)
        first = body.first()
        rest = body if body.left_bytes else None
        return Answer(200, (*fields, answers.SUPPORTED), first.payload, rest, first)

    def _validated(self, head: Head, page: Page | Whole, asked: Asked) -> tuple[Fields, bool]:
        """Return the fields of a catch-up answer, and whether the client has it already (§10.1)."""
        tag = rules.etag(page)
        fields = (*self._page_fields(page), (ETAG, tag), self._cache_field(head, page, relative=asked.relative))
        return fields, rules.matches_etag(asked.if_none_match, tag)

    def _page_fields(self, page: Page | Whole) -> Fields:
        fields = [*answers.type_of(page.content_type), answers.next_offset(page.end)]
        if page.up_to_date:
            fields.append(answers.UP_TO_DATE)
        if page.closed:
            fields.append(answers.CLOSED)
        return tuple(fields)

    def _cache_field(self, head: Head, page: Page | Whole, *, relative: bool) -> tuple[str, str]:
        if relative:
            return answers.NO_STORE
        return ("Cache-Control", rules.cache_control(page, self._cache_scope, self._streams.remaining_ms(head)))

    def _long_poll(self, path: str, start: int | None, asked: Asked, *, settle: Settle) -> Answer | Pending:
        """§5.7: a page of what is there at once, else of what the next commit brings, else 204 after the timeout.

        Pages, however much there is: who polls asks again, and one answer is made for all who wait for the same.
        """
        head, position = self._streams.open_at(path, start)
        page = self._streams.page(head, position, asked.max_bytes)
        if page.start != page.end or page.closed:
            return self.long_poll_answer(head, page, asked)
        # Registered in the same turn of the loop in which the tail was read: no append can slip between.
        waiter = _Waiter(self, head, page, asked=asked, settle=settle)
        self._streams.follow(head, encoding_of(page.content_type), waiter)
        self._wait(waiter)
        return waiter

    def _wait(self, waiter: _Waiter) -> None:
        """All wait equally long, so who came first is late first: one timer for all of them, not one each."""
        loop = asyncio.get_running_loop()
        self._waiting[waiter] = loop.time() + self.long_poll_timeout_s
        if self._alarm is None:
            self._alarm = loop.call_later(self.long_poll_timeout_s, self._ring)

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        self._alarm, now_s = None, loop.time()
        while self._waiting:
            waiter, late_s = next(iter(self._waiting.items()))
            if late_s > now_s:
                self._alarm = loop.call_at(late_s, self._ring)
                return
            waiter.time_out()

    def long_poll_answer(self, head: Head, page: Page, asked: Asked) -> Answer:
        """Return 200 with bytes, or 204 for a wait that brought none (§5.7)."""
        fields = (*self._page_fields(page), (names.STREAM_CURSOR, self._cursor(asked.cursor, head.sid)))
        if page.start == page.end:
            return Answer(204, (*fields, answers.NO_STORE))
        fields = (*fields, (ETAG, rules.etag(page)), self._cache_field(head, page, relative=asked.relative))
        return self._page_answer((*fields, answers.SUPPORTED), page)

    def answer_to(self, frame: Frame, head: Head, start: int, *, asked: Asked) -> Answer:
        """Return what a commit brought after ``start``; made once for all who wait for the same.

        Read by offset: a page obeys the page bound, a frame does not.
        """
        if self._shared[0] is not frame:
            self._shared = (frame, {})
            asyncio.get_running_loop().call_soon(self._share_no_more)
        shared = self._shared[1]
        answer = shared.get((start, asked))
        if answer is None:
            answer = shared[start, asked] = self._answer_after(head, start, asked)
        return answer

    def _answer_after(self, head: Head, start: int, asked: Asked) -> Answer:
        try:
            fresh = self._streams.touched_head(head.path)
            if fresh.sid != head.sid:
                raise ReplacedError(head.path)
            page = self._streams.page(fresh, start, asked.max_bytes)
            return self.long_poll_answer(fresh, page, asked)
        except StreamError as refusal:
            return answer_of(refusal)

    def _share_no_more(self) -> None:
        self._shared = (None, {})

    def forget(self, waiter: _Waiter, sid: int) -> None:
        """Take a waiter off the tail."""
        self._waiting.pop(waiter, None)
        self._streams.unfollow(sid, waiter)

    def release_waiting(self) -> None:
        """Answer all waiting long-polls as if their time were up; for shutting down."""
        for waiter in tuple(self._waiting):
            waiter.time_out()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def check_room(self) -> None:
        """Raise ``OverloadedError`` where no further live reader can be taken on."""
        self._outgoing.check()

    def _start_sse(self, path: str, start: int | None, request: Request) -> SseStart:
        self.check_room()
        head, position = self._streams.open_at(path, start)
        fields = [*EVENT_STREAM]
        if encoding_of(decode_record(head.record).content_type) is Encoding.BASE64:
            fields.append((names.STREAM_SSE_DATA_ENCODING, "base64"))
        return SseStart((FeedStart(head, position),), _single(request, "cursor"), (*fields, answers.SUPPORTED))

    def _cursor(self, echoed: str | None, sid: int) -> str:
        return next_cursor(self._clock.now_ms() / 1000, echoed, self._chance.jitter_s(), mark=mark_of(sid))


class _Waiter(Pending):
    """A long-poll that waits at the tail for one frame. Implements ``Follower``."""

    __slots__ = ("_asked", "_empty", "_head", "_reads", "_settle")

    def __init__(self, reads: Reads, head: Head, empty: Page, *, asked: Asked, settle: Settle) -> None:
        self._reads, self._head, self._empty = reads, head, empty
        self._asked, self._settle = asked, settle

    def on_frame(self, frame: Frame) -> None:
        """Answer with what the commit brought."""
        start = self._empty.start
        if frame.end <= start and not frame.closed:
            return  # we came between that commit and its frame
        self.abandon()
        self._settle(self._reads.answer_to(frame, self._head, start, asked=self._asked))

    def on_gone(self, why: StreamError) -> None:
        """Answer as a request that comes now would be (§5.4)."""
        self.abandon()
        self._settle(answer_of(why))

    def time_out(self) -> None:
        """Answer that nothing came: 204 at the client's own offset."""
        self.abandon()
        self._settle(self._reads.long_poll_answer(self._head, self._empty, self._asked))

    def abandon(self) -> None:
        """Stop waiting."""
        self._reads.forget(self, self._head.sid)


def _single(request: Request, name: str) -> str | None:
    values = [value for key, value in request.query if key == name]
    if len(values) > 1:
        raise InvalidQueryError(name, "must appear once")
    return values[0] if values else None


def _asked(request: Request, live: str | None, *, relative: bool) -> Asked:
    limit = _single(request, "max-bytes")
    if limit is not None and (_SIZE.fullmatch(limit) is None or int(limit) == 0):
        raise InvalidQueryError("max-bytes", "must be a number of bytes, at least 1")
    max_bytes = None if limit is None else int(limit)
    if live is None:
        return Asked(relative, None, max_bytes, request.headers.get("If-None-Match"))
    return Asked(relative, _single(request, "cursor"), max_bytes, None)


def _parse_position(request: Request, *, required: bool) -> tuple[int | None, int | None]:
    """Return (start, N): a byte position or ``None`` for the tail, and N if ``tail=N`` was asked for instead."""
    offset, tail = _single(request, "offset"), _single(request, "tail")
    if tail is not None:
        if offset is not None:
            raise InvalidQueryError("tail", "says where to begin, as offset does; give one of them")
        if _COUNT.fullmatch(tail) is None or int(tail) > TAIL_MESSAGES_MAX:
            raise InvalidQueryError("tail", f"must be a number of messages from 0 to {TAIL_MESSAGES_MAX}")
        return 0, int(tail)
    if offset is None:
        if required:
            raise InvalidQueryError("offset", "is required for live reads")
        return 0, None
    return parse_start(offset), None

"""HEAD and GET on a stream: metadata, pages, long-poll, and the start of server-sent events (§5.5 to §5.8)."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from durable_streams.http import answers
from durable_streams.http.messages import Answer, SseStart
from durable_streams.protocol import headers as names
from durable_streams.protocol import read as rules
from durable_streams.protocol.cursor import next_cursor
from durable_streams.protocol.errors import InvalidQueryError, NotFoundError
from durable_streams.protocol.expiry import format_expires_at
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.offsets import parse_start
from durable_streams.protocol.sse import Encoding, encoding_of
from durable_streams.reader import TAIL_MESSAGES_MAX

if TYPE_CHECKING:
    from durable_streams.http.messages import Fields, Request
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.read import Page
    from durable_streams.runtime import Runtime
    from durable_streams.streams import Streams
    from durable_streams.tail import Frame

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
LONG_POLL, SSE = "long-poll", "sse"


class Reads:
    """Answers HEAD and GET.

    Args:
        streams: the use cases.
        runtime: clock and chance for cursors; how long a long-poll waits.
        cache_scope: ``public`` or ``private`` (§10.1).
    """

    def __init__(self, streams: Streams, runtime: Runtime, *, cache_scope: str) -> None:
        self._streams, self._clock, self._chance = streams, runtime.clock, runtime.chance
        self._cache_scope, self._long_poll_timeout_s = cache_scope, runtime.bounds.long_poll_timeout_ms / 1000
        self._waiting: set[_Waiter] = set()

    def head(self, path: str) -> Answer:
        """Metadata; does not slide the TTL (§5.5)."""
        head = self._streams.head(path)
        record = decode_record(head.record)
        fields = [("Content-Type", record.content_type), answers.next_offset(head.tail)]
        if record.ttl_s is not None:
            fields.append((names.STREAM_TTL, str(record.ttl_s)))
        if record.expires_at_ms is not None:
            fields.append((names.STREAM_EXPIRES_AT, format_expires_at(record.expires_at_ms)))
        if head.closed:
            fields.append(answers.CLOSED)
        return Answer(200, (*fields, answers.NO_STORE, answers.SUPPORTED))

    async def get(self, path: str, request: Request) -> Answer | SseStart:
        """A page, a wait for one, or a live connection, by ``live`` (§5.6, §5.7, §5.8)."""
        live = _single(request, "live")
        if live not in {None, LONG_POLL, SSE}:
            raise InvalidQueryError("live", "must be long-poll or sse")
        start, tail_count = _parse_position(request, required=live is not None)
        if tail_count is not None:
            head = self._streams.head(path)
            start = self._streams.reader.tail_start(head, tail_count)
        if live == SSE:
            return self._start_sse(path, start, request)
        if live == LONG_POLL:
            return await self._long_poll(path, start, request)
        return self._catch_up(path, start, request, relative=tail_count is not None)

    def _catch_up(self, path: str, start: int | None, request: Request, *, relative: bool) -> Answer:
        """§5.6. ``relative``: the same URL will mean other bytes later (``now``, ``tail``), so nothing may keep it."""
        head, page = self._streams.read(path, start)
        if start is None:
            return Answer(200, (*self._page_fields(page), answers.NO_STORE, answers.SUPPORTED), rules.body_of(page))
        tag = rules.etag(page)
        fields = (*self._page_fields(page), ("ETag", tag), self._cache_field(head, page, relative=relative))
        if rules.matches_etag(request.headers.get("If-None-Match"), tag):
            return Answer(304, fields)
        return Answer(200, (*fields, answers.SUPPORTED), rules.body_of(page))

    def _page_fields(self, page: Page) -> Fields:
        fields = [("Content-Type", page.content_type), answers.next_offset(page.end)]
        if page.up_to_date:
            fields.append(answers.UP_TO_DATE)
        if page.closed:
            fields.append(answers.CLOSED)
        return tuple(fields)

    def _cache_field(self, head: Head, page: Page, *, relative: bool) -> tuple[str, str]:
        if relative:
            return answers.NO_STORE
        return ("Cache-Control", rules.cache_control(page, self._cache_scope, self._streams.remaining_ms(head)))

    async def _long_poll(self, path: str, start: int | None, request: Request) -> Answer:
        """§5.7: what is there at once, else what the next commit brings, else 204 after the timeout."""
        head, page = self._streams.read(path, start)
        if page.start == page.end and not page.closed:
            page = await self._wait(head, page)
            if page.start != page.end:
                self._streams.touched_head(path)
        fields = (*self._page_fields(page), (names.STREAM_CURSOR, self._cursor(_single(request, "cursor"))))
        if page.start == page.end:
            return Answer(204, (*fields, answers.NO_STORE))
        fields = (*fields, ("ETag", rules.etag(page)), self._cache_field(head, page, relative=start is None))
        return Answer(200, (*fields, answers.SUPPORTED), rules.body_of(page))

    async def _wait(self, head: Head, empty: Page) -> Page:
        waiter = _Waiter()
        # Registered in the same turn of the loop in which the tail was read: no append can slip between.
        self._streams.hub.follow(head, encoding_of(empty.content_type), waiter)
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(self._long_poll_timeout_s):
                frame = await waiter.frame
        except TimeoutError:
            return empty
        finally:
            self._waiting.discard(waiter)
            self._streams.hub.unfollow(head.sid, waiter)
        if frame is None:
            return empty
        fresh = self._streams.touched_head(head.path)
        if fresh.sid != head.sid:
            raise NotFoundError(head.path)
        return self._streams.reader.page(fresh, empty.start)

    def release_waiting(self) -> None:
        """Answer all waiting long-polls as if their time were up; for shutting down."""
        for waiter in tuple(self._waiting):
            waiter.release()

    def _start_sse(self, path: str, start: int | None, request: Request) -> SseStart:
        head = self._streams.touched_head(path)
        position = rules.resolve_start(head, start)
        if start is not None:
            self._streams.reader.check_aligned(head, position)
        fields = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")]
        if encoding_of(decode_record(head.record).content_type) is Encoding.BASE64:
            fields.append((names.STREAM_SSE_DATA_ENCODING, "base64"))
        return SseStart(head, position, _single(request, "cursor"), (*fields, answers.SUPPORTED))

    def _cursor(self, echoed: str | None) -> str:
        return next_cursor(self._clock.now_ms() / 1000, echoed, self._chance.jitter_s())


class _Waiter:
    """A follower that wants one frame."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        self.frame: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()

    def on_frame(self, frame: Frame) -> None:
        """Wake up."""
        if not self.frame.done():
            self.frame.set_result(frame)

    def on_gone(self) -> None:
        """The stream was deleted while waiting (§5.4)."""
        if not self.frame.done():
            self.frame.set_exception(NotFoundError("the stream was deleted"))

    def release(self) -> None:
        """Stop waiting."""
        if not self.frame.done():
            self.frame.set_result(None)


def _single(request: Request, name: str) -> str | None:
    values = [value for key, value in request.query if key == name]
    if len(values) > 1:
        raise InvalidQueryError(name, "must appear once")
    return values[0] if values else None


def _parse_position(request: Request, *, required: bool) -> tuple[int | None, int | None]:
    """Return (start, N): a byte position or ``None`` for the tail, and N if ``tail=N`` was asked for instead."""
    offset, tail = _single(request, "offset"), _single(request, "tail")
    if tail is not None:
        if offset is not None:
            raise InvalidQueryError("tail", "and offset exclude each other")
        if _COUNT.fullmatch(tail) is None or int(tail) > TAIL_MESSAGES_MAX:
            raise InvalidQueryError("tail", f"must be a number of messages from 0 to {TAIL_MESSAGES_MAX}")
        return 0, int(tail)
    if offset is None:
        if required:
            raise InvalidQueryError("offset", "is required for live reads")
        return 0, None
    return parse_start(offset), None

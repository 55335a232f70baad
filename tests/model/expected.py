"""What an answer must be, and the comparison: status, every header of the protocol, and the body."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.streams import Stream
    from tests.model.wire import Reply

ON_EVERY_ANSWER = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "cross-origin",
    "access-control-allow-origin": "*",
}
PROBLEM = "application/problem+json"
PAGE_MAX_BYTES = 64
"""What the server reads at once: the bound of a page, and of a long-poll's answer."""
CURSOR_EPOCH_S, CURSOR_INTERVAL_S, CURSOR_JITTER_MAX_S = 1_728_432_000, 20, 3600
CURSOR_MARKS = 1_000_000


@dataclass(frozen=True)
class Expected:
    """An answer as far as the specification fixes it.

    fields: headers of the protocol with their values; any other `Stream-` or `Producer-` header is a failure.
    at: the stream and position that `Stream-Next-Offset` must stand for.
    expires_at_ms: the instant in `Stream-Expires-At`.
    echoed: the cursor sent, `""` for none; `None` if no cursor is due.
    page_from: the body is `at`'s stream from here on (catch-up, long-poll); its end decides the rest.
    page_max_bytes: how much of it; `None` for everything up to the tail.
    """

    status: tuple[int, ...]
    fields: dict[str, str] = field(default_factory=dict)
    at: tuple[Stream, int] | None = None
    content_type: str | None = None
    cache_control: str | None = None
    expires_at_ms: int | None = None
    echoed: str | None = None
    page_from: int | None = None
    page_max_bytes: int | None = None
    location: str | None = None
    body: bytes | None = None


def refused(*status: int, **fields: str) -> Expected:
    """A refusal: problem+json, never stored by a cache."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Expected(status, named, content_type=PROBLEM, cache_control="no-store")


class Judge:
    """Compares, and remembers every entity tag ever seen: one page has one tag, another page another (§10.1).

    Pages of the same bytes are others if one says that it ends at the tail, or that the stream is closed there.
    """

    def __init__(self) -> None:
        self._tags: dict[object, str] = {}

    def check(self, reply: Reply, expected: Expected, *, now_ms: int) -> None:
        assert reply.status in expected.status, f"{reply.status} {reply.body!r}, not {expected.status}"
        for name, value in ON_EVERY_ANSWER.items():
            assert reply.headers.get(name) == value, name
        if expected.content_type == PROBLEM:
            problem = json.loads(reply.body) if reply.body else {"status": reply.status, "code": "bodiless"}
            assert problem["status"] == reply.status
            assert problem["code"]
        seen = {name: value for name, value in reply.headers.items() if name.startswith(("stream-", "producer-"))}
        seen.pop("stream-extensions", None)
        if expected.page_from is not None:
            expected = self._complete_page(reply, expected, now_ms)
        if expected.at is not None:
            stream, position = expected.at
            stream.tokens.learn(position, seen.pop("stream-next-offset"))
        if expected.echoed is not None:
            assert expected.at is not None
            _check_cursor(seen.pop("stream-cursor"), expected.at[0], expected.echoed, now_ms=now_ms)
        if expected.expires_at_ms is not None:
            told = datetime.fromisoformat(seen.pop("stream-expires-at"))
            assert told.timestamp() * 1000 == expected.expires_at_ms
        assert seen == expected.fields
        assert reply.headers.get("location") == expected.location
        if expected.body is not None:
            assert reply.body == expected.body
        if expected.content_type is not None:
            assert reply.headers.get("content-type") == expected.content_type
        if expected.cache_control is not None:
            assert reply.headers.get("cache-control") == expected.cache_control

    def _complete_page(self, reply: Reply, expected: Expected, now_ms: int) -> Expected:
        """A page ends where the server likes, within its bound and between messages; what it says follows from that.

        Where no page was asked for, it ends at the tail.
        """
        assert expected.at is not None
        assert expected.page_from is not None
        stream, start = expected.at[0], expected.page_from
        rest = stream.units[start:]
        count = _whole_messages(reply.body, rest) if stream.is_json else len(reply.body)
        stored_bytes = len(reply.body) - 1 if stream.is_json else count  # brackets for the last comma
        if expected.page_max_bytes is None:
            assert count == len(rest), "an answer that stops before the tail"
        else:
            assert count <= 1 or stored_bytes <= expected.page_max_bytes
        if not stream.is_json:
            assert reply.body == b"".join(rest[:count])
        assert count or not rest, "an empty page before the tail"
        end = start + count
        fields = dict(expected.fields)
        if end == stream.tail:
            fields["stream-up-to-date"] = "true"
            if stream.closed:
                fields["stream-closed"] = "true"
        self._check_tag(reply, (stream, start, end, end == stream.tail, stream.closed and end == stream.tail))
        cache_control = expected.cache_control
        if cache_control is None:
            cache_control = "no-store" if not count else _kept_for_ever(stream)
            if cache_control is None:
                _check_kept_in_time(reply, stream, now_ms)
        return replace(
            expected,
            fields=fields,
            at=(stream, end),
            content_type=stream.content_type,
            cache_control=cache_control,
        )

    def _check_tag(self, reply: Reply, page: object) -> None:
        tag = reply.headers["etag"]
        assert self._tags.setdefault(page, tag) == tag, "a page changed its entity tag"
        assert [one for one, known in self._tags.items() if known == tag] == [page], "two pages share an entity tag"

    def tags_from(self, stream: Stream, start: int) -> Sequence[str]:
        """Tags seen of pages from `start`, oldest first."""
        return [tag for page, tag in self._tags.items() if isinstance(page, tuple) and page[:2] == (stream, start)]


def _kept_for_ever(stream: Stream) -> str | None:
    if stream.lifetime.ttl_s is None and stream.lifetime.expires_at_ms is None:
        return "private, max-age=60, stale-while-revalidate=300"
    return None


def _check_kept_in_time(reply: Reply, stream: Stream, now_ms: int) -> None:
    """A cache must not keep a page longer than the stream lives."""
    directives = dict(part.strip().partition("=")[::2] for part in reply.headers["cache-control"].split(","))
    assert "private" in directives
    if stream.lifetime.expires_at_ms is not None:
        left_ms = stream.lifetime.expires_at_ms - now_ms
    else:
        assert stream.lifetime.ttl_s is not None
        left_ms = stream.touched_ms[1] + stream.lifetime.ttl_s * 1000 - now_ms
    assert 0 <= int(directives["max-age"]) <= min(60, left_ms // 1000)


def _whole_messages(body: bytes, rest: Sequence[bytes]) -> int:
    """Compare an array with the messages sent, numerals and key order included; return how many it holds."""
    received = _lossless(body)
    assert isinstance(received, list)
    assert received == [_lossless(message) for message in rest[: len(received)]]
    return len(received)


def _lossless(text: bytes) -> object:
    """Parse so that `1.0` differs from `1`, and doubled or reordered keys show."""
    return json.loads(
        text,
        parse_int=lambda numeral: ("number", numeral),
        parse_float=lambda numeral: ("number", numeral),
        object_pairs_hook=lambda pairs: ("object", pairs),
    )


def _check_cursor(cursor: str, stream: Stream, echoed: str, *, now_ms: int) -> None:
    """§10.1: it counts intervals, and is always past what the client echoed; the rest is the incarnation's own."""
    interval, mark = divmod(int(cursor), CURSOR_MARKS)
    assert stream.cursor is None or int(stream.cursor) % CURSOR_MARKS == mark, "a cursor changed its mark"
    stream.cursor = cursor
    current = (now_ms // 1000 - CURSOR_EPOCH_S) // CURSOR_INTERVAL_S
    if not echoed or int(echoed) < current * CURSOR_MARKS + mark:
        assert interval == current
    else:
        assert int(echoed) < int(cursor)
        assert interval <= int(echoed) // CURSOR_MARKS + CURSOR_JITTER_MAX_S // CURSOR_INTERVAL_S

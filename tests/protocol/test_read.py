from __future__ import annotations

import itertools
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.cursor import mark_of, next_cursor
from durable_streams.protocol.errors import GoneError, OffsetBeyondTailError, ReplacedError
from durable_streams.protocol.head import CLOSED, SOFT_DELETED, Fork, Head, Record, Segment, encode_record
from durable_streams.protocol.read import (
    NO_STORE,
    Page,
    Whole,
    body_of,
    cache_control,
    check_cursor,
    check_incarnation,
    etag,
    matches_etag,
    page_bytes,
    part_of,
    resolve_start,
    segments_of,
)

HEAD = Head("a/b", 0xAB, 1, 10, 0, 0, 0, 0, encode_record(Record("text/plain")))
PAGE = Page(0xAB, 4, 10, b"abcdef", up_to_date=True, closed=False, content_type="text/plain")
WHOLE = Whole(0xAB, 4, 10, closed=False, content_type="text/plain")
CHAIN = Record(
    "text/plain",
    fork=Fork("s", 3, 4, 0, asked_offset=True, inherited_expiry=False, lineage=(Segment(1, 4), Segment(2, 6))),
)


@pytest.mark.parametrize(("start", "position"), [(0, 0), (4, 4), (10, 10), (None, 10)])
@pytest.mark.parametrize("state", [0, CLOSED])
def test_a_read_starts_where_asked_or_at_the_tail(start: int | None, position: int, state: int) -> None:
    assert resolve_start(HEAD._replace(state=state), start) == position


def test_a_read_past_the_tail_is_refused() -> None:
    with pytest.raises(OffsetBeyondTailError) as refused:
        resolve_start(HEAD, 11)
    assert (refused.value.offset, refused.value.tail) == (11, 10)


@pytest.mark.parametrize("start", [0, 11, None])
def test_a_soft_deleted_stream_is_gone_wherever_a_read_starts(start: int | None) -> None:
    with pytest.raises(GoneError):
        resolve_start(HEAD._replace(state=SOFT_DELETED | CLOSED), start)


@pytest.mark.parametrize(
    ("record", "position", "sid", "right"),
    [
        (Record("text/plain"), 4, 9, True),
        (Record("text/plain"), 4, 8, False),
        (Record("text/plain"), 0, 8, True),  # nothing is before it
        (CHAIN, 9, 9, True),
        (CHAIN, 4, 1, True),
        (CHAIN, 5, 1, False),
        (CHAIN, 6, 2, True),
        (CHAIN, 7, 2, False),
        (CHAIN, 6, 3, True),  # its source, which has no byte of its own before the base
        (CHAIN, 7, 3, False),
        (CHAIN, 6, 4, False),
    ],
)
def test_an_offset_is_right_for_its_incarnation_and_for_forks_up_to_where_they_leave_it(
    record: Record, position: int, sid: int, *, right: bool
) -> None:
    head = HEAD._replace(sid=9, record=encode_record(record))
    cursor = next_cursor(1_800_000_000, None, 1, mark=mark_of(sid))
    with nullcontext() if right else pytest.raises(ReplacedError):
        check_incarnation(head, position, lambda named: named == sid)
    with nullcontext() if right else pytest.raises(ReplacedError):
        check_cursor(head, position, cursor)
    check_cursor(head, position, None)
    check_cursor(head, position, "3600000")


@pytest.mark.parametrize(
    ("record", "segments"),
    [
        (Record("text/plain"), ((9, 0, 8),)),
        (CHAIN, ((1, 0, 4), (2, 4, 6), (9, 6, 8))),
    ],
)
def test_a_stream_is_its_ancestors_shares_and_its_own(
    record: Record, segments: tuple[tuple[int, int, int], ...]
) -> None:
    assert segments_of(record, 9, 8) == segments


@pytest.mark.parametrize(
    ("content_type", "max_bytes", "size"),
    [
        ("text/plain", 100, 12),
        ("text/plain", 12, 12),
        ("text/plain", 5, 5),
        ("application/json", 12, 12),
        ("application/json", 11, 8),
        ("application/json", 8, 8),
        ("application/json", 7, 2),
        ("application/json; x=y", 1, 2),
    ],
)
def test_a_page_holds_what_fits_in_whole_messages(content_type: str, max_bytes: int, size: int) -> None:
    assert page_bytes(content_type, b'1,"3,5",[2],', max_bytes) == size


@pytest.mark.parametrize(
    ("content_type", "payload", "body"),
    [
        ("application/json", b"1,2,", b"[1,2]"),
        ("application/json", b"", b"[]"),
        ("text/plain", b"1,2,", b"1,2,"),
        ("text/plain", b"", b""),
    ],
)
def test_the_body_is_the_bytes_or_an_array_of_messages(content_type: str, payload: bytes, body: bytes) -> None:
    """§9.1.5; §8 for the empty ones."""
    assert body_of(PAGE._replace(content_type=content_type, payload=payload)) == body


@given(
    st.sampled_from(["application/json", "text/plain"]),
    st.lists(st.sampled_from([b"1,", b'"a,b",', b"[[],{}],", b" 2 ,", b'"' + b"x" * 20 + b'",']), min_size=1),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_the_parts_of_a_whole_answer_are_its_body_wherever_it_is_cut(
    content_type: str, stored_messages: list[bytes], sizes: list[int]
) -> None:
    """§9.1.5: one array, however its bytes come; and as long as was said before the first of them."""
    start, stored = 11, b"".join(stored_messages)
    whole = Whole(1, start, start + len(stored), closed=False, content_type=content_type)
    page = Page(1, whole.start, whole.end, stored, up_to_date=True, closed=False, content_type=content_type)
    parts, at = [], 0
    for size in itertools.cycle(sizes):
        parts.append(part_of(whole, start + at, stored[at : at + size]))
        at += size
        if at >= len(stored):
            break

    assert b"".join(parts) == body_of(page)
    assert sum(map(len, parts)) == whole.body_bytes
    assert all(parts)


def test_pages_share_a_tag_only_if_nothing_a_client_sees_differs() -> None:
    """§10.1: the tag changes with the bytes, the incarnation, being up to date, and the closing of the stream."""
    pages = [
        PAGE._replace(sid=sid, start=start, end=end, up_to_date=up_to_date, closed=closed)
        for sid, start, end, (up_to_date, closed) in itertools.product(
            (1, 0x11), (1, 11), (11, 111), ((False, False), (True, False), (True, True))
        )
    ]
    tags = [etag(page) for page in pages]

    assert len(set(tags)) == len(pages)
    assert all(tag[0] == tag[-1] == '"' and '"' not in tag[1:-1] and "," not in tag for tag in tags)


def test_the_markers_of_a_tag() -> None:
    assert etag(PAGE._replace(up_to_date=False)) == '"ab:4:10"'
    assert etag(PAGE) == '"ab:4:10:u"'
    assert etag(PAGE._replace(closed=True)) == '"ab:4:10:c"'


def test_a_whole_answer_has_the_tag_of_a_page_that_says_the_same() -> None:
    assert etag(WHOLE) == etag(PAGE)
    assert etag(WHOLE._replace(closed=True)) == etag(PAGE._replace(closed=True))
    assert cache_control(WHOLE, "public", 5_000) == cache_control(PAGE, "public", 5_000)


@pytest.mark.parametrize(
    ("if_none_match", "matches"),
    [
        (None, False),
        ("", False),
        ('"ab:4:10:u"', True),
        ('W/"ab:4:10:u"', True),
        ('"x", "ab:4:10:u"', True),
        ('"x",W/"ab:4:10:u" ,"y"', True),
        ("*", True),
        ('"ab:4:10"', False),
        ('"ab:4:10:c"', False),
        ('"ab:4:1"', False),
        ("ab:4:10:u", False),
        ('w/"ab:4:10:u"', False),
    ],
)
def test_if_none_match(if_none_match: str | None, *, matches: bool) -> None:
    """RFC 9110 §13.1.2: a list, compared weakly."""
    assert matches_etag(if_none_match, etag(PAGE)) is matches


@pytest.mark.parametrize(
    ("remaining_ms", "max_age_s", "stale_s"),
    [
        (None, 60, 300),
        (10**9, 60, 300),
        (360_000, 60, 300),
        (359_999, 60, 299),
        (61_000, 60, 1),
        (60_000, 60, 0),
        (2_500, 2, 0),
        (999, 0, 0),
        (0, 0, 0),
        (-5_000, 0, 0),
    ],
)
@pytest.mark.parametrize("scope", ["public", "private"])
def test_no_cache_keeps_a_page_beyond_the_stream(
    *, scope: str, remaining_ms: int | None, max_age_s: int, stale_s: int
) -> None:
    expected = f"{scope}, max-age={max_age_s}, stale-while-revalidate={stale_s}"
    assert cache_control(PAGE, scope, remaining_ms) == expected


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_keeps_the_empty_answer_at_the_tail(*, closed: bool) -> None:
    assert cache_control(PAGE._replace(start=10, payload=b"", closed=closed), "public", None) == NO_STORE

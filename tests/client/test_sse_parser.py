from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.client.sse_parser import EventTooLargeError, SseEvent, SseParser

SESSION = (
    b": heartbeat\n\n"
    b"event: data\ndata: [\ndata: 1,\ndata:2\ndata: ]\n\n"
    b'event: control\ndata: {"streamNextOffset":"7"}\n\n'
    b"\r\n\r\n"
    b"event: data\r\ndata: a\r\ndata:\r\ndata:  b\r\n\r\n"
    b"data: by cr\rid: 4\rretry: 5\rjunk\r\rdata: \xc3\xa9\n\n"
    b"event: empty\n\n"
    b"event: data\ndata: never ended\n"
)
EVENTS = [
    SseEvent("data", b"[\n1,\n2\n]"),
    SseEvent("control", b'{"streamNextOffset":"7"}'),
    SseEvent("data", b"a\n\n b"),
    SseEvent("message", b"by cr"),
    SseEvent("message", b"\xc3\xa9"),
]


def parsed(chunks: list[bytes]) -> list[SseEvent]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def reference(document: bytes) -> list[SseEvent]:
    """The standard's algorithm over a whole document, written down as it stands there."""
    events = []
    kind, lines = b"", list[bytes]()
    complete = re.split(rb"\r\n|\r|\n", document.removeprefix(b"\xef\xbb\xbf"))[:-1]
    for line in complete:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if lines:
                events.append(SseEvent(kind.decode("utf-8", "replace") or "message", b"\n".join(lines)))
            kind, lines = b"", []
        elif name == b"event":
            kind = value
        elif name == b"data":
            lines.append(value)
    return events


def test_a_session_in_one_piece() -> None:
    assert parsed([SESSION]) == EVENTS


def test_a_session_byte_by_byte() -> None:
    assert parsed([SESSION[i : i + 1] for i in range(len(SESSION))]) == EVENTS


@pytest.mark.parametrize("first", range(len(SESSION)))
def test_a_session_in_two_pieces_at_every_byte(first: int) -> None:
    assert parsed([SESSION[:first], SESSION[first:]]) == EVENTS


def test_three_pieces_at_every_pair_of_bytes_around_line_ends() -> None:
    document = b"data: a\r\n\r\ndata: b\r\rdata: c\n\n"
    expected = [SseEvent("message", text) for text in (b"a", b"b", b"c")]
    for first in range(len(document)):
        for second in range(first, len(document)):
            assert parsed([document[:first], document[first:second], document[second:]]) == expected


@given(
    st.lists(st.sampled_from([b"data", b"event", b":", b" ", b"x", b"\r", b"\n", b"\xef\xbb\xbf", b"\xff"])), st.data()
)
def test_any_document_in_any_pieces(tokens: list[bytes], draw: st.DataObject) -> None:
    document = b"".join(tokens)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(document)), max_size=6)))
    bounds = [0, *cuts, len(document)]
    chunks = [document[a:b] for a, b in pairwise(bounds)]
    assert parsed(chunks) == reference(document)


def test_an_event_is_there_as_soon_as_its_blank_line_is() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\r\n\r") == [SseEvent("message", b"a")]
    assert parser.feed(b"\n") == []


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert parsed([b"\xef", b"\xbb", b"\xbfdata: a\n\n"]) == [SseEvent("message", b"a")]


def test_an_event_that_never_ends_is_refused() -> None:
    parser = SseParser(max_bytes=100)
    parser.feed(b"data: " + b"x" * 60)
    with pytest.raises(EventTooLargeError):
        parser.feed(b"x" * 60)


def test_many_lines_count_together() -> None:
    parser = SseParser(max_bytes=100)
    for _ in range(11):
        parser.feed(b"data: xxxxxxxx\n")
    with pytest.raises(EventTooLargeError):
        parser.feed(b"data: xxxxxxxx\n")


def test_the_limit_is_for_each_event_alone() -> None:
    parser = SseParser(max_bytes=100)
    for _ in range(20):
        assert len(parser.feed(b"data: xxxxxxxx\n\n")) == 1


@given(st.lists(st.integers(0, 60), max_size=8))
def test_a_field_of_ones_own_is_an_event_by_itself(cuts: list[int]) -> None:
    whole = b'data: a\nerror: {"code":1}\n\nerror: x\ndata: b\n\n'
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    parser = SseParser(own_fields=frozenset({b"error"}))
    events = [event for begin, end in pairwise(places) for event in parser.feed(whole[begin:end])]
    own = [SseEvent("error", b'{"code":1}'), SseEvent("error", b"x")]
    assert [event for event in events if event.event == "error"] == own
    assert [event for event in events if event.event != "error"] == [
        SseEvent("message", b"a"),
        SseEvent("message", b"b"),
    ]
    assert SseParser().feed(whole) == [SseEvent("message", b"a"), SseEvent("message", b"b")]

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.protocol.json_mode import flatten, wrap
from durable_streams.protocol.json_scan import (
    DEPTH_MAX,
    FIRST_COUNT,
    boundaries,
    end_of_first,
    first_ends,
    first_part,
    is_boundary,
    last_part,
    paired,
    skip,
    start_of_last,
)
from tests.protocol.json_texts import Body, bodies, values

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

T = TypeVar("T")
AROUND = [(b"[", b"]"), (b'{"a":', b"}")]
FAR_DEEPER = 100_000
"""More levels than any interpreter has for a parser that recurses."""


def beneath(calls: int, look: Callable[[], T]) -> T:
    """Return what ``look`` returns, called beneath so many calls of Python."""
    return look() if calls == 0 else beneath(calls - 1, look)


def ends_by_json(stored: bytes) -> list[int]:
    """Return the end of every message, found by Python's own parser; one character for each byte."""
    text, scan = stored.decode("latin-1"), json.JSONDecoder().raw_decode
    ends, position = [], 0
    while position < len(text):
        _, position = scan(text, len(text) - len(text[position:].lstrip(" \t\n\r")))
        position = text.index(",", position) + 1
        ends.append(position)
    return ends


@given(bodies)
@example(Body("", ['"a,b"']))
@example(Body("", ['{"k":"x},y"}']))
@example(Body("", ['["],",{}]']))
@example(Body("", [r'"\",\\"', r'{"\\":["}"]}']))
def test_a_prefix_is_whole_exactly_at_a_boundary(body: Body) -> None:
    """What an offset is judged by: no comma, bracket or quotation mark inside a message may pass for its end."""
    whole = [size for size in range(len(body.stored) + 1) if is_boundary(body.stored[:size])]

    assert whole == [0, *body.ends]


@given(bodies, bodies)
def test_messages_are_counted_from_either_end(first: Body, second: Body) -> None:
    joined = Body("", [*first.stored_texts, *second.stored_texts])
    edges = [0, *joined.ends]
    total = len(joined.ends)

    for count in range(1, total + 2):
        found = min(count, total)
        assert end_of_first(joined.stored, count) == (edges[found], found)
        assert start_of_last(joined.stored, count) == (edges[total - found], found)


@given(bodies)
def test_the_first_ends_are_those_of_all_when_they_are_few(body: Body) -> None:
    assert first_ends(body.stored) == body.ends


def test_only_the_first_ends_are_told() -> None:
    stored = b' "a,b" ,' * (FIRST_COUNT + 1)

    assert first_ends(stored) == [8 * (number + 1) for number in range(FIRST_COUNT)]
    assert first_ends(b"1,") == [2]


@given(values, st.binary(max_size=3), st.integers(0, 60))
def test_a_cut_or_altered_text_is_a_value_only_if_a_scanner_says_so(text: str, alien: bytes, place: int) -> None:
    """The parser that skips is as strict about structure as the scanner that looks at every token."""
    altered = text.encode()[:place] + alien
    try:
        skip(b"[" + altered + b"]")
    except msgspec.DecodeError:
        return

    assert [*boundaries(altered + b",")][-1] == len(altered) + 1


@given(st.lists(bodies, min_size=1, max_size=4))
def test_every_boundary_is_found_and_no_other(appends: list[Body]) -> None:
    joined = Body("", [text for append in appends for text in append.stored_texts])

    assert list(boundaries(joined.stored)) == joined.ends == ends_by_json(joined.stored)


@pytest.mark.parametrize("unfinished", [b'"a,b', b'["a],b', b"[1,2", b"12", rb'"\",'])
def test_there_is_no_boundary_in_an_unfinished_message(unfinished: bytes) -> None:
    assert list(boundaries(b'"",' + unfinished)) == [3]


@given(bodies, st.integers(800, 850), st.sampled_from(AROUND))
def test_deep_messages_are_told_apart_as_the_standard_library_does(
    body: Body, depth: int, around: tuple[bytes, bytes]
) -> None:
    opening, closing = around
    stored = body.stored + opening * depth + b"1" + closing * depth + b" , " + body.stored
    edges = [0, *ends_by_json(stored)]
    total = len(edges) - 1

    assert first_ends(stored) == list(boundaries(stored)) == edges[1:]
    for count in range(1, total + 2):
        found = min(count, total)
        assert end_of_first(stored, count) == (edges[found], found)
        assert start_of_last(stored, count) == (edges[total - found], found)
    assert is_boundary(stored)
    assert not is_boundary(stored[: len(body.stored) + depth * len(opening)] + b",")


@pytest.mark.parametrize("leaf", [b"[]", b'["\\ud800"]', b'{"":"\\uDFFF"}'])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("calls", [0, 500])
def test_the_deepest_that_is_stored_can_be_looked_at(leaf: bytes, around: tuple[bytes, bytes], calls: int) -> None:
    """However much is beneath: where the parser has no levels left for it, too."""
    opening, closing = around
    deepest = flatten(b"[1," + opening * (DEPTH_MAX - 2) + leaf + closing * (DEPTH_MAX - 2) + b" ]")

    assert beneath(calls, lambda: start_of_last(deepest, 1)) == (2, 1)
    assert beneath(calls, lambda: end_of_first(deepest, 3)) == (len(deepest), 2)
    assert beneath(calls, lambda: first_ends(deepest)) == [2, len(deepest)]
    assert beneath(calls, lambda: is_boundary(deepest))
    assert not beneath(calls, lambda: is_boundary(deepest[:-2] + b","))
    beneath(calls, lambda: skip(b"[" + deepest[:-1] + b"]"))


def test_what_was_stored_deeper_can_be_looked_at() -> None:
    """Any depth: there may be streams from before there was a limit, or a lower one."""
    deep = b"[" * FAR_DEEPER + b"]" * FAR_DEEPER + b","
    stored = b"1," + deep + b" 2 ,"

    assert start_of_last(stored, 2) == (2, 2)
    assert end_of_first(stored, 2) == (2 + len(deep), 2)
    assert first_ends(stored) == [2, 2 + len(deep), len(stored)]
    assert is_boundary(stored)
    assert not is_boundary(deep[:-2] + b",")


def test_what_is_far_deeper_is_not_valid_to_anybody() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        skip(b"[" * FAR_DEEPER)


def test_nothing_touches_the_interpreters_limit() -> None:
    """It is the whole process's, and other threads scan at the same time."""
    called: list[object] = []

    def note(_frame: FrameType, event: str, function: object) -> None:
        if event == "c_call":
            called.append(function)

    deep = b"[" * DEPTH_MAX + b'"\\ud800"' + b"]" * DEPTH_MAX + b","
    sys.setprofile(note)
    try:
        for look in (is_boundary, first_ends):
            beneath(500, lambda look=look: look(deep))  # type: ignore[misc]
    finally:
        sys.setprofile(None)

    assert called
    assert sys.setrecursionlimit not in called


@pytest.mark.parametrize(("opening", "closing"), AROUND)
def test_everybody_can_parse_a_page_with_the_deepest_message(opening: bytes, closing: bytes) -> None:
    """Python's own parser with a client's calls below it, and ours, which the limit has to stay below too."""
    page = wrap(opening * DEPTH_MAX + b"1" + closing * DEPTH_MAX + b",")
    parsed: list[object] = []
    client = threading.Thread(target=lambda: parsed.append(beneath(80, lambda: json.loads(page))))
    client.start()
    client.join()

    assert len(parsed) == 1
    orjson.loads(page)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(b"[" * 1025 + b"]" * 1025)


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\uDBFF", rb"\uDc00\uD800", rb"\\ud800", rb"\n"])
def test_surrogates_are_put_out_of_the_way_in_place(escape: bytes) -> None:
    assert len(paired(escape)) == len(escape)
    skip(b'"' + paired(escape) + b'"')


def test_nothing_stored() -> None:
    assert list(boundaries(b"")) == []
    assert is_boundary(b"")
    assert start_of_last(b"", 1) == end_of_first(b"", 1) == (0, 0)


STORED = b'"a,1",{"b":[1,2,{"c":","}]}, [ 3 ] ,"\\"x,\\"",4,'
ENDS = [end for end in range(1, len(STORED) + 1) if is_boundary(STORED[:end])]


def test_a_part_is_whole_messages_from_either_end() -> None:
    """However it is cut: inside strings, escapes and containers too."""
    for size in range(1, len(STORED) + 2):
        first, last = first_part(STORED, size), last_part(STORED, size)
        assert STORED.startswith(first)
        assert len(first) in ENDS
        assert STORED.endswith(last)
        assert len(STORED) - len(last) in {0, *ENDS}


def test_a_part_is_about_as_large_as_asked_for_and_else_it_is_all() -> None:
    many = b"1," * 1_000
    assert first_part(many, 101) == last_part(many, 101) == b"1," * 50
    one = b'"' + b"x," * 1_000 + b'",'
    assert first_part(one, 100) is last_part(one, 100) is one
    none = b'"' + b"x" * 1_000 + b'",'
    assert first_part(none, 100) is last_part(none, 100) is none

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.protocol.json_mode import boundaries, flatten
from durable_streams.protocol.json_scan import (
    DEPTH_MAX,
    FIRST_COUNT,
    end_of_first,
    first_ends,
    is_boundary,
    paired,
    skip,
    start_of_last,
)
from tests.protocol.json_texts import Body, bodies, values


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


@pytest.mark.parametrize("leaf", [b"[]", b'["\\ud800"]', b'{"":"\\uDFFF"}'])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_deepest_that_is_stored_can_be_looked_at(leaf: bytes, opening: bytes, closing: bytes) -> None:
    deepest = flatten(b"[1," + opening * (DEPTH_MAX - 2) + leaf + closing * (DEPTH_MAX - 2) + b" ]")
    limit = sys.getrecursionlimit()

    assert start_of_last(deepest, 1) == (2, 1)
    assert end_of_first(deepest, 3) == (len(deepest), 2)
    assert is_boundary(deepest)
    assert not is_boundary(deepest[:-2] + b",")
    assert sys.getrecursionlimit() == limit


def test_what_is_far_deeper_is_not_looked_at() -> None:
    limit = sys.getrecursionlimit()

    with pytest.raises(RecursionError):
        skip(b"[" * 100_000)
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\uDBFF", rb"\uDc00\uD800", rb"\\ud800", rb"\n"])
def test_surrogates_are_put_out_of_the_way_in_place(escape: bytes) -> None:
    assert len(paired(escape)) == len(escape)
    skip(b'"' + paired(escape) + b'"')


def test_nothing_stored() -> None:
    assert is_boundary(b"")
    assert start_of_last(b"", 1) == end_of_first(b"", 1) == (0, 0)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.conditions import (
    ANY,
    CONDITIONS,
    check_tail,
    parse_if_match,
    parse_must_not_exist,
    refuse_conditions,
)
from durable_streams.protocol.errors import InvalidHeaderError, TailMovedError
from durable_streams.protocol.offsets import format_offset

TAG = st.text("ab*,W/-_0é€", max_size=10)
GAP = st.sampled_from(["", " ", "\t", " \t "])


def tags(value: str) -> frozenset[str] | None:
    return parse_if_match({"If-Match": value})


def holds(value: str, tail: int) -> bool:
    try:
        check_tail(tags(value), tail, closed=False)
    except TailMovedError:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("*", ANY),
        (" * ", ANY),
        ('"a"', {"a"}),
        ('"a", "b"', {"a", "b"}),
        ('"a","b" ,\t"c"', {"a", "b", "c"}),
        (', ,"a",,', {"a"}),
        ('"a, b"', None),
        ('"a,b"', {"a,b"}),
        ('""', {""}),
        ('W/"a"', frozenset()),
        ('W/"a", "b"', {"b"}),
        ('"*"', {"*"}),
    ],
)
def test_a_list_of_tags(value: str, parsed: frozenset[str] | None) -> None:
    """RFC 9110 §8.8.3: a tag holds no blank."""
    if parsed is None:
        with pytest.raises(InvalidHeaderError):
            tags(value)
    else:
        assert tags(value) == parsed


@given(st.lists(st.tuples(st.booleans(), TAG, GAP, GAP), min_size=1, max_size=5))
def test_every_list_is_read_back(elements: list[tuple[bool, str, str, str]]) -> None:
    written = [f'{before}{"W/" if weak else ""}"{tag}"{after}' for weak, tag, before, after in elements]
    assert tags(",".join(written)) == frozenset(tag for weak, tag, *_ in elements if not weak)


@pytest.mark.parametrize(
    "value", ["", " ", ",", "a", '"a', 'a"', '"a" "b"', '"a"b', '"a", b', "*, *", '*, "a"', 'w/"a"']
)
def test_what_is_no_list_of_tags(value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        tags(value)
    assert refused.value.name == "If-Match"


@given(st.integers(0, 10**16 - 1), st.integers(0, 10**16 - 1))
def test_a_tail_matches_its_own_offset_only(tail: int, other: int) -> None:
    assert holds(f'"{format_offset(tail)}"', tail)
    assert holds(f'"{format_offset(other)}"', tail) == (other == tail)
    assert holds(f'"x", "{format_offset(tail)}"', tail)
    assert holds("*", tail)
    assert not holds(f'W/"{format_offset(tail)}"', tail), "weak tags never match (RFC 9110 §8.8.3.2)"


@pytest.mark.parametrize("value", ['"-1"', '"now"', '"*"', '"0"', '"x"'])
def test_what_is_no_offset_matches_nothing(value: str) -> None:
    assert not holds(value, 0)


def test_a_tail_that_moved_is_told() -> None:
    check_tail(None, 3, closed=False)
    with pytest.raises(TailMovedError) as moved:
        check_tail(frozenset({"x"}), 3, closed=True)
    assert (moved.value.tail, moved.value.closed) == (3, True)


@pytest.mark.parametrize("name", ["Producer-Id", "Producer-Epoch", "Producer-Seq"])
def test_a_producer_excludes_a_condition(name: str) -> None:
    assert parse_if_match({name: "1"}) is None
    with pytest.raises(InvalidHeaderError):
        parse_if_match({"If-Match": "*", name: "1"})


def test_a_creation_may_ask_that_there_be_nothing() -> None:
    assert not parse_must_not_exist({})
    assert parse_must_not_exist({"If-None-Match": " *"})
    with pytest.raises(InvalidHeaderError):
        parse_must_not_exist({"If-None-Match": '"a"'})


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_that_is_not_evaluated_is_refused(name: str) -> None:
    refuse_conditions({name: "x"}, name)
    refuse_conditions({"Content-Type": "x"})
    with pytest.raises(InvalidHeaderError) as refused:
        refuse_conditions({name: "x"}, *(other for other in CONDITIONS if other != name))
    assert refused.value.name == name

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.protocol.cursor import (
    CURSOR_EPOCH_S,
    INTERVAL_S,
    JITTER_MAX_S,
    MARK_DIGITS,
    mark_of,
    marked,
    next_cursor,
)

INTERVAL = 3_000_000
NOW_S = CURSOR_EPOCH_S + INTERVAL * INTERVAL_S + 7.5
MARK = 123
SID = 1_795_000_000_000 << 20 | 0x5A5A5

marks = st.integers(0, 999_982)


def cursor(interval: int, mark: int = MARK) -> str:
    """Return the cursor that stands for an interval."""
    return str(interval * 10**MARK_DIGITS + mark)


def test_the_interval_is_counted_from_9_october_2024() -> None:
    assert next_cursor(1_728_432_000, None, 1, mark=0) == "0"
    assert next_cursor(1_728_432_019.999, None, 1, mark=MARK) == "123"
    assert next_cursor(1_728_432_020, None, 1, mark=MARK) == "1000123"


@pytest.mark.parametrize("echoed", [None, "", "abc", "-5", "1.5", "99٣", "9" * 16, "999", "0", cursor(INTERVAL - 1)])
def test_what_is_behind_or_no_cursor_gets_the_interval(echoed: str | None) -> None:
    assert next_cursor(NOW_S, echoed, JITTER_MAX_S, mark=MARK) == cursor(INTERVAL)


@pytest.mark.parametrize(
    ("echoed", "jitter_s", "interval"),
    [
        (INTERVAL, 1, INTERVAL + 1),
        (INTERVAL, 19, INTERVAL + 1),
        (INTERVAL, 40, INTERVAL + 2),
        (INTERVAL, 3600, INTERVAL + 180),
        (INTERVAL + 5000, 1, INTERVAL + 5001),
    ],
)
def test_what_is_not_behind_is_passed_by_the_jitter(echoed: int, jitter_s: int, interval: int) -> None:
    assert next_cursor(NOW_S, cursor(echoed), jitter_s, mark=MARK) == cursor(interval)
    assert next_cursor(NOW_S, cursor(echoed, 999_999), jitter_s, mark=MARK) == cursor(interval)


def test_a_clock_before_the_epoch_still_gives_a_cursor_that_can_be_echoed() -> None:
    assert next_cursor(CURSOR_EPOCH_S - 100, None, 1, mark=0) == "0"
    assert next_cursor(CURSOR_EPOCH_S - 100, "0", 1, mark=0) == cursor(1, 0)


@given(
    st.lists(
        st.tuples(st.floats(0, 4e9), st.integers(1, JITTER_MAX_S), marks),
        min_size=1,
        max_size=20,
    ),
    st.none() | st.integers(0, 10**14).map(str),
)
def test_a_client_that_echoes_never_sees_one_twice_or_a_smaller_one(
    answers: list[tuple[float, int, int]], echoed: str | None
) -> None:
    """§10.1 Monotonic Progression, even if the clock is set back, or the stream replaced, between two answers."""
    for now_s, jitter_s, mark in answers:
        given_out = next_cursor(now_s, echoed, jitter_s, mark=mark)
        assert re.fullmatch("[0-9]+", given_out)
        assert echoed is None or int(given_out) > int(echoed)
        assert int(given_out) // 10**MARK_DIGITS >= (now_s - CURSOR_EPOCH_S) // INTERVAL_S
        echoed = given_out


@given(marks, st.integers(1, JITTER_MAX_S), st.none() | st.integers(0, 10**14).map(str))
def test_every_cursor_has_its_incarnations_mark(mark: int, jitter_s: int, echoed: str | None) -> None:
    assert marked(next_cursor(NOW_S, echoed, jitter_s, mark=mark)) == mark


@pytest.mark.parametrize("echoed", [None, "", "x", "0", "3600000", "999999999999", "9" * 16])
def test_what_no_clock_of_ours_can_have_given_has_no_mark(echoed: str | None) -> None:
    """A plain interval number, as other servers give it, says nothing about an incarnation."""
    assert marked(echoed) is None


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
@example(SID, SID + 1)
@example(SID, SID + (1 << 20))
def test_marks_tell_incarnations_apart(one: int, other: int) -> None:
    """By their time as by their chance; those that share one are a fixed distance apart, a million pairs to one."""
    assert 0 <= mark_of(one) < 10**MARK_DIGITS
    assert (mark_of(one) == mark_of(other)) == ((one - other) % 999_983 == 0)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.cursor import CURSOR_EPOCH_S, INTERVAL_S, JITTER_MAX_S, next_cursor

NOW_S = CURSOR_EPOCH_S + 1000 * INTERVAL_S + 7.5


def test_the_interval_is_counted_from_9_october_2024() -> None:
    assert next_cursor(1_728_432_000, None, 1) == "0"
    assert next_cursor(1_728_432_019.999, None, 1) == "0"
    assert next_cursor(1_728_432_020, None, 1) == "1"


@pytest.mark.parametrize("echoed", [None, "", "abc", "-5", "1.5", "99٣", "9" * 16, "999", "0"])
def test_what_is_behind_or_no_cursor_gets_the_interval(echoed: str | None) -> None:
    assert next_cursor(NOW_S, echoed, JITTER_MAX_S) == "1000"


@pytest.mark.parametrize(
    ("echoed", "jitter_s", "cursor"),
    [("1000", 1, "1001"), ("1000", 19, "1001"), ("1000", 40, "1002"), ("1000", 3600, "1180"), ("5000", 1, "5001")],
)
def test_what_is_not_behind_is_passed_by_the_jitter(echoed: str, jitter_s: int, cursor: str) -> None:
    assert next_cursor(NOW_S, echoed, jitter_s) == cursor


def test_a_clock_before_the_epoch_still_gives_a_cursor_that_can_be_echoed() -> None:
    assert next_cursor(CURSOR_EPOCH_S - 100, None, 1) == "0"
    assert next_cursor(CURSOR_EPOCH_S - 100, "0", 1) == "1"


@given(
    st.lists(
        st.tuples(st.floats(0, 4e9), st.integers(1, JITTER_MAX_S)),
        min_size=1,
        max_size=20,
    ),
    st.none() | st.integers(0, 10**9).map(str),
)
def test_a_client_that_echoes_never_sees_one_twice_or_a_smaller_one(
    answers: list[tuple[float, int]], echoed: str | None
) -> None:
    """§10.1 Monotonic Progression, even if the clock is set back between two answers."""
    for now_s, jitter_s in answers:
        cursor = next_cursor(now_s, echoed, jitter_s)
        assert echoed is None or int(cursor) > int(echoed)
        assert int(cursor) >= (now_s - CURSOR_EPOCH_S) // INTERVAL_S
        echoed = cursor

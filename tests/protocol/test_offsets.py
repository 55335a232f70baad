from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidOffsetError
from durable_streams.protocol.offsets import NOW, START, format_offset, parse_anchor, parse_offset, parse_start

positions = st.integers(0, 10**16 - 1)


@given(positions, positions)
def test_the_order_of_tokens_is_the_order_of_positions(one: int, other: int) -> None:
    """§8: sortable as text, and no two positions share a token."""
    assert (format_offset(one) < format_offset(other)) == (one < other)
    assert (format_offset(one) == format_offset(other)) == (one == other)


@given(positions)
def test_a_token_names_one_position_and_is_safe_in_a_url(position: int) -> None:
    token = format_offset(position)

    assert parse_offset(token) == parse_start(token) == parse_anchor(token) == position
    assert len(token) < 256
    assert token.isalnum()
    assert token.isascii()
    assert token not in {START, NOW}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "0",
        "-1",
        "now",
        "1" * 15,
        "1" * 17,
        "000000000000000a",
        " 000000000000001",
        "0000000000000001\n",
        "-000000000000001",
        "+000000000000001",
        "0x00000000000001",
        "\u0661" * 16,
        "0000000000000001_0000000000000000",
        "0000000000000000_000000000000000",
        "000000000000000_0000000000000000",
        "0000000000000000_",
        "_0000000000000000",
        "0000000000000000-0000000000000000",
        "0000000000000000_0000000000000000_0000000000000000",
        "0000000000000000_now",
        "0000000000000000_-1",
        "0000000000000000_000000000000000\u0661",
        "\udcff",
        "9" * 10_000,
    ],
)
def test_what_was_never_minted_is_refused(token: str) -> None:
    with pytest.raises(InvalidOffsetError) as refused:
        parse_offset(token)
    assert len(str(refused.value)) < 200
    str(refused.value).encode()


@given(positions)
def test_the_reference_servers_form_names_the_position_of_its_second_half(position: int) -> None:
    token = f"{'0' * 16}_{position:016d}"

    assert parse_offset(token) == parse_start(token) == parse_anchor(token) == position


def test_sentinels() -> None:
    assert parse_start("-1") == parse_anchor("-1") == 0
    assert parse_start("now") is None
    with pytest.raises(InvalidOffsetError):
        parse_anchor("now")


@pytest.mark.parametrize("token", ["NOW", "-0", "-2", "", "now "])
def test_what_looks_like_a_sentinel_and_is_none(token: str) -> None:
    with pytest.raises(InvalidOffsetError):
        parse_start(token)

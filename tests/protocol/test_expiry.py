from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.expiry import (
    EXPIRES_AT_MIN_MS,
    STREAM_EXPIRES_AT,
    STREAM_TTL,
    TTL_MAX_S,
    deadline_ms,
    format_expires_at,
    is_expired,
    is_over,
    parse_expires_at,
    parse_ttl,
)
from durable_streams.protocol.head import Record

LATEST_MS = 253_402_300_799_999
"""31 December 9999, 23:59:59.999 UTC."""


@pytest.mark.parametrize(("value", "ttl_s"), [("0", 0), ("1", 1), ("3600", 3600), (str(TTL_MAX_S), 2**53 - 1)])
def test_a_ttl_is_a_plain_number(value: str, ttl_s: int) -> None:
    assert parse_ttl(value) == ttl_s


@pytest.mark.parametrize(
    "value",
    ["", " 1", "1 ", "-1", "+3600", "03600", "00", "3600.0", "3.6e3", "1e3", "0x10", "1_000", "٣", "1\n", "abc", "inf"],
)
def test_any_other_form_of_ttl_is_refused(value: str) -> None:
    """§5.1, its examples among them."""
    with pytest.raises(InvalidHeaderError) as refused:
        parse_ttl(value)
    assert refused.value.name == STREAM_TTL


@pytest.mark.parametrize("value", [str(TTL_MAX_S + 1), "9" * 17, "9" * 5_000])
def test_a_ttl_beyond_every_clock_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeaderError):
        parse_ttl(value)


@pytest.mark.parametrize(
    ("value", "expires_at_ms"),
    [
        ("2030-01-31T12:00:00Z", 1_896_091_200_000),
        ("2030-01-31t12:00:00z", 1_896_091_200_000),
        ("2030-01-31T12:00:00.5Z", 1_896_091_200_500),
        ("2030-01-31T12:00:00.123999999Z", 1_896_091_200_123),
        ("2030-01-31T14:30:00+02:30", 1_896_091_200_000),
        ("2030-01-31T12:00:00-00:00", 1_896_091_200_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("9999-12-31T23:59:59.999Z", LATEST_MS),
    ],
)
def test_an_expiry_is_an_rfc_3339_timestamp(value: str, expires_at_ms: int) -> None:
    assert parse_expires_at(value) == expires_at_ms


@pytest.mark.parametrize("value", ["1970-01-01T00:00:00Z", "1960-05-05T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_the_distant_past_is_one_moment(value: str) -> None:
    """0 means *no deadline* in a head, and no key of the store is negative."""
    assert parse_expires_at(value) == EXPIRES_AT_MIN_MS == 1
    assert is_expired(Record("text/plain", expires_at_ms=1), 0, 1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "tomorrow",
        "1896091200",
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-01-31 12:00:00Z",
        "2030-01-31T12:00Z",
        "2030-01-31T12:00:00.Z",
        "2030-01-31T12:00:00,5Z",
        "2030-01-31T12:00:00+0200",
        "2030-01-31T12:00:00+24:00",
        "2030-01-31T12:00:00+05:60",
        "2030-01-31T24:00:00Z",
        "2030-01-31T12:60:00Z",
        "2030-01-31T12:00:60Z",
        "2030-02-30T12:00:00Z",
        "2030-13-01T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2030-W05-4T12:00:00Z",
        "+2030-01-31T12:00:00Z",
        "2030-01-31T12:00:00Z\n",
        "٢٠٣٠-01-31T12:00:00Z",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_any_other_form_of_expiry_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_expires_at(value)
    assert refused.value.name == STREAM_EXPIRES_AT


@given(st.integers(EXPIRES_AT_MIN_MS, LATEST_MS))
def test_what_head_shows_is_what_was_set(expires_at_ms: int) -> None:
    assert parse_expires_at(format_expires_at(expires_at_ms)) == expires_at_ms


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - the zone is drawn beside it
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_zones_shift_the_moment(local: datetime, offset_minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))

    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_expires_at(moment.isoformat()) == expected


def test_format() -> None:
    assert format_expires_at(1_896_091_200_007) == "2030-01-31T12:00:00.007Z"


@pytest.mark.parametrize(
    ("record", "deadline"),
    [
        (Record("a/b"), None),
        (Record("a/b", ttl_s=0), 5_000),
        (Record("a/b", ttl_s=3), 8_000),
        (Record("a/b", expires_at_ms=4_000), 4_000),
    ],
)
def test_a_ttl_counts_from_the_last_touch_and_an_expiry_does_not(record: Record, deadline: int | None) -> None:
    assert deadline_ms(record, 5_000) == deadline
    assert not is_expired(record, 5_000, (deadline or 10**15) - 1)
    assert is_expired(record, 5_000, deadline or 10**15) is (deadline is not None)


def test_the_longest_ttl_has_a_deadline_the_store_can_hold() -> None:
    latest = deadline_ms(Record("a/b", ttl_s=TTL_MAX_S), LATEST_MS)

    assert latest is not None
    assert latest < 2**63


@pytest.mark.parametrize(
    ("record", "followed", "over"),
    [
        (Record("text/plain", ttl_s=1), False, True),
        (Record("text/plain", ttl_s=1), True, False),
        (Record("text/plain", expires_at_ms=1_000), False, True),
        (Record("text/plain", expires_at_ms=1_000), True, True),
        (Record("text/plain"), False, False),
    ],
)
def test_a_live_reader_keeps_a_ttl_from_running_out_and_no_expiry(
    record: Record, *, followed: bool, over: bool
) -> None:
    assert is_over(record, 0, 1_000, followed=lambda: followed) is over


def test_nobody_is_asked_for_readers_before_the_deadline() -> None:
    def asked() -> bool:
        raise AssertionError("asked")

    assert not is_over(Record("text/plain", ttl_s=1), 0, 999, followed=asked)

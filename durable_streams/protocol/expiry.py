"""Expiry: sliding TTL and absolute deadlines (§4, §5.1).

A stream has at most one of the two. A TTL slides with every read and write, not with HEAD; a live reader keeps it
alive.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import InvalidHeaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.protocol.head import Record

STREAM_TTL: Final = "Stream-TTL"
STREAM_EXPIRES_AT: Final = "Stream-Expires-At"
TTL_MAX_S: Final = 2**53 - 1
EXPIRES_AT_MIN_MS: Final = 1
"""Every timestamp up to 1970 means this one: it has passed, and 0 stands for *never* in a head."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LATEST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_TTL = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_HH_MM = r"([01]\d|2[0-3]):[0-5]\d"
_RFC3339 = re.compile(rf"\d{{4}}-\d\d-\d\d[Tt]{_HH_MM}:[0-5]\d(\.\d+)?([Zz]|[+-]{_HH_MM})", re.ASCII)


def parse_ttl(value: str) -> int:
    """Return the seconds of a ``Stream-TTL``: decimal, no sign, leading zero, point or exponent (§5.1).

    Raises:
        InvalidHeaderError: any other form, or more than ``TTL_MAX_S``.
    """
    # §5.1: "MUST be a non-negative integer in decimal notation without leading zeros, plus signs, decimal points, or
    # scientific notation".
    if _TTL.fullmatch(value) is None or len(value) > len(str(TTL_MAX_S)) or int(value) > TTL_MAX_S:
        raise InvalidHeaderError(STREAM_TTL, "must be a whole number of seconds, such as 3600")
    return int(value)


def parse_expires_at(value: str) -> int:
    """Return the Unix milliseconds of an RFC 3339 timestamp, ``EXPIRES_AT_MIN_MS`` at least (§5.1).

    Digits below a millisecond are cut off. Leap seconds are refused: Unix time has none.

    Raises:
        InvalidHeaderError: any other form, no real date, or one after the year 9999 in UTC.
    """
    if _RFC3339.fullmatch(value) is not None:
        try:
            expires_at_ms = (datetime.fromisoformat(value.upper()) - _EPOCH) // _MILLISECOND
        except ValueError:  # such as 30 February
            expires_at_ms = _LATEST_MS + 1
        if expires_at_ms <= _LATEST_MS:
            return max(EXPIRES_AT_MIN_MS, expires_at_ms)
    raise InvalidHeaderError(STREAM_EXPIRES_AT, "must be an RFC 3339 timestamp, such as 2030-01-31T12:00:00Z")


def format_expires_at(expires_at_ms: int) -> str:
    """Return the RFC 3339 form in UTC with milliseconds."""
    seconds, millis = divmod(expires_at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def deadline_ms(record: Record, touched_ms: int) -> int | None:
    """Return when the stream expires, in Unix milliseconds, or ``None`` for never.

    Args:
        record: the stream's, with its TTL or expiry.
        touched_ms: its last read or write, Unix milliseconds; looked at for a TTL only.
    """
    # §5.1: "Each read or write operation resets the expiry countdown to this value." An expiry is absolute.
    if record.ttl_s is not None:
        return touched_ms + record.ttl_s * 1000
    return record.expires_at_ms


def is_expired(record: Record, touched_ms: int, now_ms: int) -> bool:
    """Whether the deadline has come."""
    deadline = deadline_ms(record, touched_ms)
    return deadline is not None and now_ms >= deadline


def is_over(record: Record, touched_ms: int, now_ms: int, *, followed: Callable[[], bool]) -> bool:
    """Whether the stream has ended: a live reader keeps a TTL from running out, and no expiry (§5.1).

    Args:
        record: the stream's.
        touched_ms: its last read or write, Unix milliseconds.
        now_ms: Unix milliseconds.
        followed: whether a live reader holds it; asked only of a TTL that has run out.
    """
    # §5.1: "a stream with active live readers will not expire, even if no new data is being produced".
    return is_expired(record, touched_ms, now_ms) and (record.ttl_s is None or not followed())

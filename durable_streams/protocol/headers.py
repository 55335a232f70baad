"""Header names of the protocol, and how their values are read (§4.1, §5, §13.2).

Invariant: a value that is present and malformed is refused; it is never taken for absent, save where the spec says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.expiry import STREAM_EXPIRES_AT as STREAM_EXPIRES_AT  # noqa: PLC0414 says: re-exported
from durable_streams.protocol.expiry import STREAM_TTL as STREAM_TTL  # noqa: PLC0414 same
from durable_streams.protocol.expiry import parse_expires_at, parse_ttl
from durable_streams.protocol.producer import ProducerTriple

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAM_CLOSED: Final = "Stream-Closed"
STREAM_CURSOR: Final = "Stream-Cursor"
STREAM_EXTENSIONS: Final = "Stream-Extensions"
STREAM_FORKED_FROM: Final = "Stream-Forked-From"
STREAM_FORK_OFFSET: Final = "Stream-Fork-Offset"
STREAM_FORK_SUB_OFFSET: Final = "Stream-Fork-Sub-Offset"
STREAM_NEXT_OFFSET: Final = "Stream-Next-Offset"
STREAM_PRODUCER_REQUIRED: Final = "Stream-Producer-Required"
STREAM_SEQ: Final = "Stream-Seq"
STREAM_SSE_DATA_ENCODING: Final = "Stream-SSE-Data-Encoding"
STREAM_UP_TO_DATE: Final = "Stream-Up-To-Date"
STREAM_WRITE_FENCE: Final = "Stream-Write-Fence"
STREAM_WRITE_TOKEN: Final = "Stream-Write-Token"  # noqa: S105 the header's name
PRODUCER_ID: Final = "Producer-Id"
PRODUCER_EPOCH: Final = "Producer-Epoch"
PRODUCER_SEQ: Final = "Producer-Seq"
PRODUCER_EXPECTED_SEQ: Final = "Producer-Expected-Seq"
PRODUCER_RECEIVED_SEQ: Final = "Producer-Received-Seq"

INTEGER_MAX: Final = 2**53 - 1
"""Largest integer a JavaScript client can hold exactly (§5.2.1)."""
PRODUCER_ID_MAX_BYTES: Final = 400
"""Bound of a producer id in UTF-8: it is part of a key."""
STREAM_SEQ_MAX_BYTES: Final = 1024

_INTEGER = re.compile(r"[0-9]{1,16}", re.ASCII)


def parse_integer(name: str, value: str) -> int:
    """Return a non-negative decimal integer up to ``INTEGER_MAX``.

    Raises:
        InvalidHeaderError: anything else.
    """
    if _INTEGER.fullmatch(value) is None or int(value) > INTEGER_MAX:
        raise InvalidHeaderError(name, f"must be a whole number from 0 to {INTEGER_MAX}")
    return int(value)


def parse_closed(headers: Mapping[str, str]) -> bool:
    """Whether ``Stream-Closed`` is ``true`` in any case; every other value counts as absent (§4.1)."""
    return headers.get(STREAM_CLOSED, "").lower() == "true"


def parse_flag(headers: Mapping[str, str], name: str) -> bool:
    """Return whether a restriction is asked for: ``true``, or absent for no.

    Raises:
        InvalidHeaderError: any other value; a restriction misspelt must not be taken for none.
    """
    value = headers.get(name)
    if value is None:
        return False
    if value.lower() != "true":
        raise InvalidHeaderError(name, "must be true, or absent")
    return True


def parse_triple(headers: Mapping[str, str]) -> ProducerTriple | None:
    """Return the producer triple, or ``None`` if no producer header is there (§5.2.1).

    Raises:
        InvalidHeaderError: only some of the three, an empty or overlong id, or a malformed number.
    """
    producer_id = headers.get(PRODUCER_ID)
    epoch, seq = headers.get(PRODUCER_EPOCH), headers.get(PRODUCER_SEQ)
    if producer_id is None and epoch is None and seq is None:
        return None
    if producer_id is None or epoch is None or seq is None:
        raise InvalidHeaderError(PRODUCER_ID, f"comes together with {PRODUCER_EPOCH} and {PRODUCER_SEQ}, or not at all")
    _bounded(PRODUCER_ID, producer_id, PRODUCER_ID_MAX_BYTES)
    return ProducerTriple(producer_id, parse_integer(PRODUCER_EPOCH, epoch), parse_integer(PRODUCER_SEQ, seq))


def parse_stream_seq(headers: Mapping[str, str]) -> str | None:
    """Return ``Stream-Seq``, an opaque non-empty string (§5.2).

    Raises:
        InvalidHeaderError: empty, overlong, or not UTF-8.
    """
    value = headers.get(STREAM_SEQ)
    if value is not None:
        _bounded(STREAM_SEQ, value, STREAM_SEQ_MAX_BYTES)
    return value


def parse_expiry(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return (TTL in seconds, expiry in Unix milliseconds); at most one of them is set (§5.1).

    Raises:
        InvalidHeaderError: a malformed value, or both at once.
    """
    ttl, expires_at = headers.get(STREAM_TTL), headers.get(STREAM_EXPIRES_AT)
    if ttl is not None and expires_at is not None:
        raise InvalidHeaderError(STREAM_TTL, "Stream-TTL and Stream-Expires-At exclude each other")
    return (
        None if ttl is None else parse_ttl(ttl),
        None if expires_at is None else parse_expires_at(expires_at),
    )


def _bounded(name: str, value: str, max_bytes: int) -> None:
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidHeaderError(name, "must be UTF-8") from None
    if not 0 < size <= max_bytes:
        raise InvalidHeaderError(name, f"must have 1 to {max_bytes} bytes")

"""Offsets: the byte position in the stream, sixteen digits, zero padded (§8).

Sortable as text, dense, the same on every engine, and the same in a fork and its source.

The reference server writes an offset in two halves, ``<16 digits>_<16 digits>``, the second of which is the byte
position while the first is zero; clients written against it hold its first offset as a constant. That form is read
wherever an offset is, and never minted.
"""

from __future__ import annotations

import re
from typing import Final

from durable_streams.protocol.errors import InvalidOffsetError

OFFSET_DIGITS: Final = 16
START: Final = "-1"
"""Sentinel: the stream's beginning (§8)."""
NOW: Final = "now"
"""Sentinel: the current tail (§8)."""

_OFFSET = re.compile(rf"(?:0{{{OFFSET_DIGITS}}}_)?([0-9]{{{OFFSET_DIGITS}}})", re.ASCII)


def format_offset(position: int) -> str:
    """Return the token for a byte position, 0 ≤ position < 10^16. Never a sentinel (§8 Reserved Values)."""
    return f"{position:016d}"


def parse_offset(token: str) -> int:
    """Return the byte position of a minted token, or of the reference server's form of it.

    Raises:
        InvalidOffsetError: the token is neither, sentinels included.
    """
    found = _OFFSET.fullmatch(token)
    if found is None:
        msg = f"{token[:64]!r} is not an offset of this server"
        raise InvalidOffsetError(msg)
    return int(found[1])


def parse_anchor(token: str) -> int:
    """Return the byte position of a fork offset, where ``-1`` is 0 and ``now`` means nothing (§4.2).

    Raises:
        InvalidOffsetError: as ``parse_offset``.
    """
    return 0 if token == START else parse_offset(token)


def parse_start(token: str) -> int | None:
    """Return where a read starts: ``-1`` is 0 and ``now`` is ``None``, for the tail (§8 Sentinel Values).

    Raises:
        InvalidOffsetError: neither a sentinel nor as ``parse_offset`` takes it.
    """
    return None if token == NOW else parse_anchor(token)

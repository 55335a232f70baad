"""Offsets: the byte position in the stream, sixteen digits, zero padded (§8).

Sortable as text, dense, the same on every engine, and the same in a fork and its source.
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
ZEROS: Final = frozenset({START, "0000000000000000_0000000000000000"})
"""What may stand for the beginning where a fork offset is expected: the sentinel, and the beginning as the reference
server spells it, which clients written against that server hold as a constant."""

_OFFSET = re.compile(rf"[0-9]{{{OFFSET_DIGITS}}}", re.ASCII)


def format_offset(position: int) -> str:
    """Return the token for a byte position, 0 ≤ position < 10^16. Never a sentinel (§8 Reserved Values)."""
    return f"{position:016d}"


def parse_offset(token: str) -> int:
    """Return the byte position of a minted token.

    Raises:
        InvalidOffsetError: the token is none this server mints, sentinels included.
    """
    if _OFFSET.fullmatch(token) is None:
        msg = f"{token[:64]!r} is not an offset of this server"
        raise InvalidOffsetError(msg)
    return int(token)


def parse_start(token: str) -> int | None:
    """Return where a read starts: ``-1`` is 0 and ``now`` is ``None``, for the tail (§8 Sentinel Values).

    Raises:
        InvalidOffsetError: neither a sentinel nor a minted token.
    """
    if token == START:
        return 0
    if token == NOW:
        return None
    return parse_offset(token)

"""Cursors: the token that keeps shared caches from serving one empty live answer for ever (§10.1).

A cursor is a decimal number that only grows: the current interval, and in its last ``MARK_DIGITS`` digits a mark of the
stream's incarnation. Clients echo it, so an offset that comes with one can be told from one of an earlier stream at the
same path (``docs/adr/0012``).
"""

from __future__ import annotations

import re
from typing import Final

CURSOR_EPOCH_S: Final = 1_728_432_000
"""9 October 2024, 00:00 UTC (§10.1)."""
INTERVAL_S: Final = 20
JITTER_MAX_S: Final = 3600
MARK_DIGITS: Final = 6
_MARKS: Final = 10**MARK_DIGITS
_MARK_PRIME: Final = 999_983
"""Largest prime below ``_MARKS``: all bits of an incarnation id, time and chance, have a share in its mark."""
_MARKED_FROM: Final = 1_000_000 * _MARKS
"""From the interval of May 2025 on. Plain interval numbers, as other servers give them, are far below."""
_CURSOR = re.compile(r"[0-9]{1,15}", re.ASCII)


def mark_of(sid: int) -> int:
    """Return the mark of an incarnation: two differ, but for one pair in a million."""
    return sid % _MARK_PRIME


def next_cursor(now_s: float, echoed: str | None, jitter_s: int, *, mark: int) -> str:
    """Return the cursor of a live answer: the current interval, or past the client's own if that is not behind it.

    Args:
        now_s: Unix seconds.
        echoed: the request's ``cursor``; ``None`` or no number counts as absent.
        jitter_s: a random number of seconds, 1 to ``JITTER_MAX_S``, used only on a collision.
        mark: of the stream's incarnation.
    """
    cursor = max(0, int(now_s - CURSOR_EPOCH_S) // INTERVAL_S) * _MARKS + mark
    number = _number(echoed)
    if number is None or number < cursor:
        return str(cursor)
    return str((number // _MARKS + max(1, jitter_s // INTERVAL_S)) * _MARKS + mark)


def marked(echoed: str | None) -> int | None:
    """Return the mark in an echoed cursor, ``None`` for one without: absent, no number, or of another server."""
    number = _number(echoed)
    return None if number is None or number < _MARKED_FROM else number % _MARKS


def _number(echoed: str | None) -> int | None:
    return None if echoed is None or _CURSOR.fullmatch(echoed) is None else int(echoed)

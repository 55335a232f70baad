"""Cursors: the token that keeps shared caches from serving one empty live answer for ever (§10.1)."""

from __future__ import annotations

import re
from typing import Final

CURSOR_EPOCH_S: Final = 1_728_432_000
"""9 October 2024, 00:00 UTC (§10.1)."""
INTERVAL_S: Final = 20
JITTER_MAX_S: Final = 3600
_CURSOR = re.compile(r"[0-9]{1,15}", re.ASCII)


def next_cursor(now_s: float, echoed: str | None, jitter_s: int) -> str:
    """Return the cursor of a live answer: the current interval, or past the client's own if that is not behind it.

    Args:
        now_s: Unix seconds.
        echoed: the request's ``cursor``; ``None`` or no number counts as absent.
        jitter_s: a random number of seconds, 1 to ``JITTER_MAX_S``, used only on a collision.
    """
    interval = max(0, int(now_s - CURSOR_EPOCH_S) // INTERVAL_S)
    if echoed is None or _CURSOR.fullmatch(echoed) is None or int(echoed) < interval:
        return str(interval)
    return str(int(echoed) + max(1, jitter_s // INTERVAL_S))

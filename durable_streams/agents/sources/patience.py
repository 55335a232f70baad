"""How long a model's server asks to be left alone, in all the forms in which servers say so. Pure.

======================================================  ===========================================
``retry-after-ms``                                      milliseconds
``Retry-After``                                         seconds, also with a fraction; or a date
``x-ratelimit-reset-*``, if nothing of that remains     a duration such as ``1m30.5s`` or ``120ms``
``x-ratelimit-reset``                                   seconds from now, or Unix seconds or milliseconds
======================================================  ===========================================
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_COUNTED: Final = ("requests", "tokens")
UNIX_S_MIN: Final = 1_000_000_000
"""A number of seconds from here on is a moment, not a wait; a thousand times as much is milliseconds."""


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Return how long to wait, in seconds from now, 0 or more; ``None`` if nothing says so.

    Args:
        headers: of the refusal; names are looked up as they are written here.
        now_s: Unix seconds.
    """
    wait_ms = _number(headers.get("retry-after-ms", ""))
    if wait_ms is not None:
        return wait_ms / 1000
    told = headers.get("Retry-After", "").strip()
    wait_s = _number(told)
    if wait_s is None and told:
        wait_s = _until(told, now_s)
    if wait_s is not None:
        return wait_s
    resets = [
        _duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in _COUNTED
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    known = [one for one in resets if one is not None]
    return max(known) if known else _reset(headers.get("x-ratelimit-reset", ""), now_s)


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _until(text: str, now_s: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return _duration(text)


def _duration(text: str) -> float | None:
    pieces = _DURATION.findall(text.strip())
    if pieces and "".join(f"{number}{unit}" for number, unit in pieces) == text.strip():
        return sum(float(number) * _UNIT_S[unit] for number, unit in pieces)
    return _number(text)


def _reset(text: str, now_s: float) -> float | None:
    number = _number(text)
    if number is None:
        return _duration(text)
    if number >= UNIX_S_MIN * 1000:
        number /= 1000
    return max(0.0, number - now_s) if number >= UNIX_S_MIN else number

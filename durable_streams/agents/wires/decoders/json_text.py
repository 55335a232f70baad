"""JSON as providers send it: whole numbers exact, halves of characters kept until their other half comes.

Theory. ``orjson`` reads nearly everything, and refuses or rounds the rest: whole numbers beyond 64 bits, a surrogate
without its other half, bytes that are no UTF-8. Those are read by the standard library. A byte that is no UTF-8 by
itself, as a supplier that counts bytes makes of a character, becomes two halves of surrogate pairs which never stand
together in a text, so that ``Joiner`` can put it together with its neighbours in the next delta.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Final, NoReturn

import orjson

from durable_streams.agents.plain import whole

_APART: Final = "durable-streams-apart"
_MARK: Final = "\udbff"
"""Before a byte that stands apart; the byte itself is a first half as well."""
_BASE: Final = 0xDB00 - 0x80
_RUN: Final = re.compile("(?:\udbff[\udb00-\udb7f])+")
_ESCAPED: Final = re.compile(r"\\u[dD]")
"""Begins an escaped half of a surrogate pair."""
_DIGITS: Final = b"".join(b"0" if bytes([byte]).isdigit() else b" " for byte in range(256))
"""Makes every digit a zero: five times faster than looking for digits by a regular expression."""
_LONG: Final = b"0" * 19
"""So many digits may be more than 64 bits, which ``orjson`` would round."""


class NotJsonError(ValueError):
    """A text that is no JSON; its message says where."""


def _apart(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _marked(error.object[error.start : error.end]), error.end


codecs.register_error(_APART, _apart)


def parsed(text: bytes) -> object:
    """Return the value of a JSON text, whole numbers exact.

    Raises:
        NotJsonError: it is none, or holds a number that JSON does not have.
    """
    if _LONG not in text.translate(_DIGITS):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # the standard library says what is wrong, if anything is
    try:
        return json.loads(text.decode("utf-8", _APART), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as fault:
        raise NotJsonError(str(fault) or "nested too deep") from fault


def parsed_text(text: str) -> object:
    """Return the same of a text; half a surrogate pair in it, or in a value, is U+FFFD.

    Raises:
        NotJsonError: as ``parsed``.
    """
    value = parsed(whole(text).encode())
    if not _ESCAPED.search(text):
        return value
    escaped = written(value)
    return value if whole(escaped) is escaped else parsed(whole(escaped).encode())


def written(value: object) -> str:
    """Return a value that was read as JSON as its text, whole numbers exact."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is no number of JSON")


class Joiner:
    """Joins characters whose bytes came in different deltas of one part; what stays apart is U+FFFD."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def take(self, part: str, text: str) -> str:
        """Return what can be said of a part's next text; a last character that is not whole yet is held back."""
        if text.isascii() and not self._held:
            return text
        text = self._held.pop(part, "") + text
        run = _RUN.search(text)
        if run is None:
            return text
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        said = []
        end = 0
        for run in _RUN.finditer(text):
            decoded = decoder.decode(_bytes(run[0]), final=run.end() < len(text))
            said += [text[end : run.start()], decoded]
            end = run.end()
        held = decoder.getstate()[0]
        if held:
            self._held[part] = _marked(held)
        return "".join([*said, text[end:]])

    def rest(self, part: str) -> str:
        """Return what stands for a character whose other bytes never came."""
        return "\ufffd" if self._held.pop(part, "") else ""


def _marked(apart: bytes) -> str:
    return "".join(f"{_MARK}{chr(_BASE + byte)}" for byte in apart)


def _bytes(run: str) -> bytes:
    return bytes(ord(one) - _BASE for one in run if one != _MARK)

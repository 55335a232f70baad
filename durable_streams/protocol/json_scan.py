"""Looking for the ends of stored messages at the speed of a parser, whatever the messages hold.

Owns: where messages begin and end in ``stored`` bytes (``json_mode``) that are known to be whole and valid. Must not
know: whether a body is valid; how messages came to be stored. Invariant: the cost is a few nanoseconds a byte and some
fifty a message: a parser skips what is inside them, and makes no object of it.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

DEPTH_MAX: Final = 1000
"""Deepest nesting accepted, so that a reader that parses a page (one level deeper) with a common parser can."""
_ROOM: Final = DEPTH_MAX + 100
"""Levels of recursion that the parser may need: some interpreters count them as they count calls."""

FIRST_COUNT: Final = 1024
"""Messages whose ends ``first_ends`` tells."""

_text = msgspec.json.Decoder(msgspec.Raw).decode
_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_first = msgspec.json.Decoder(
    msgspec.defstruct(
        "First", [(f"message_{number}", msgspec.Raw, msgspec.Raw()) for number in range(FIRST_COUNT)], array_like=True
    )
).decode
_GAP = re.compile(rb"[ \t\n\r]*+,?+[ \t\n\r]*+")


def skip(text: bytes) -> None:
    """Check that bytes are one JSON value by their structure; not their UTF-8, nor how large numbers are.

    Raises:
        msgspec.DecodeError: they are not.
        RecursionError: they may be, but are nested deeper than ``DEPTH_MAX``.
    """
    _leniently(_text, text)


def is_boundary(stored: bytes) -> bool:
    """Whether ``stored``, which starts at a message and may stop anywhere, ends at the end of one."""
    if not stored:
        return True
    if not stored.endswith(b","):
        return False
    try:
        skip(_array(stored))
    except msgspec.DecodeError:
        return False
    return True


def start_of_last(stored: bytes, count: int) -> tuple[int, int]:
    """Return where the last ``count`` messages begin, and how many there are from there on: fewer if all are taken.

    Args:
        stored: whole messages.
        count: at least 1; this many are walked over one by one.
    """
    texts = _texts_of(stored)
    if len(texts) <= count:
        return 0, len(texts)
    backwards = stored[::-1]
    end = _past(backwards, reversed(texts[-count:]))
    return len(stored) - backwards.index(b",", end), count


def end_of_first(stored: bytes, count: int) -> tuple[int, int]:
    """Return where the first ``count`` messages end, and how many they are: fewer if all are taken.

    Args:
        stored: whole messages.
        count: at least 1; this many are walked over one by one.
    """
    texts = _texts_of(stored)
    if len(texts) <= count:
        return len(stored), len(texts)
    return stored.index(b",", _past(stored, islice(texts, count))) + 1, count


def first_ends(stored: bytes) -> list[int]:
    """Return the ends of the first ``FIRST_COUNT`` messages, commas included, or of all if there are fewer.

    However many follow, nothing is made of them.
    """
    texts = msgspec.structs.astuple(_leniently(_first, _array(stored)))
    ends, end = [], 0
    for text in takewhile(len, texts):
        end = stored.index(b",", _past(stored, (text,), end)) + 1
        ends.append(end)
    return ends


def paired(text: bytes) -> bytes:
    """Return the text with other escapes, of the same length, in place of those of surrogates."""
    return text.replace(rb"\ud", rb"\ue").replace(rb"\uD", rb"\uE")


def _texts_of(stored: bytes) -> list[msgspec.Raw]:
    """Return the text of every message, without the whitespace around it."""
    return _leniently(_texts, _array(stored))


def _array(stored: bytes) -> bytes:
    return b"".join((b"[", memoryview(stored)[:-1], b"]"))


def _past(stored: bytes, texts: Iterable[msgspec.Raw], position: int = 0) -> int:
    """Return the end of the last of these texts; commas and whitespace are between them, and nothing else."""
    gaps = _GAP.match
    for text in texts:
        gap = gaps(stored, position)
        position = (gap.end() if gap else position) + len(text)
    return position


def _leniently(decode: Callable[[bytes], T], text: bytes) -> T:
    """Decode what is deep, or holds escapes of lone surrogates: JSON (RFC 8259 §8.2), but not to the parser."""
    try:
        return decode(text)
    except (msgspec.DecodeError, RecursionError):
        with _room():
            return decode(paired(text))


@contextmanager
def _room() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _ROOM)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)

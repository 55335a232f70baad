"""Looking for the ends of stored messages at the speed of a parser, whatever the messages hold.

Owns: where messages begin and end in ``stored`` bytes (``json_mode``) that are known to be whole and valid. Must not
know: whether a body is valid; how messages came to be stored. Invariant: the cost is a few nanoseconds a byte and some
fifty a message: a parser skips what is inside them, and makes no object of it.

That parser recurses, and the interpreter bounds it together with the calls below it: the limit is the process's, other
threads scan at the same time, and so nothing here changes it. What the parser has no levels left for is looked at token
by token instead (``boundaries``), ten times as slow and at any depth.
"""

from __future__ import annotations

import re
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

DEPTH_MAX: Final = 900
"""Deepest nesting accepted. A page is an array around messages, one level more, and whoever gets it has to parse it:
Python's own ``json`` stops at its recursion limit of 1000 less the calls below it, orjson at 1024."""
FIRST_COUNT: Final = 1024
"""Messages whose ends ``first_ends`` tells."""
PART_GUESS_COUNT: Final = 8
"""Commas tried as an end of a part."""

_text = msgspec.json.Decoder(msgspec.Raw).decode
_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_first = msgspec.json.Decoder(
    msgspec.defstruct(
        "First", [(f"message_{number}", msgspec.Raw, msgspec.Raw()) for number in range(FIRST_COUNT)], array_like=True
    )
).decode
_GAP = re.compile(rb"[ \t\n\r]*+,?+[ \t\n\r]*+")
_WHITESPACE: Final = b" \t\n\r"

_TOKEN = re.compile(
    rb"""
    [\[{][^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\]}]  # a container that holds no other: one token
    | "[^"\\]*+(?:\\.[^"\\]*+)*+"
    | [\[\]{},"]  # a quotation mark is matched alone only if its string does not end
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING: Final = frozenset(b"[{")
_COMMA: Final = ord(",")
_QUOTE: Final = ord('"')


def skip(text: bytes) -> None:
    """Check that bytes are one JSON value by their structure; not, as a rule, their UTF-8 or how large numbers are.

    Raises:
        msgspec.DecodeError: they are not.
        orjson.JSONDecodeError: they are not, or are nested deeper than 1024.
    """
    try:
        _leniently(_text, text)
    except RecursionError:
        orjson.loads(paired(text))  # makes an object of every value, and counts its levels by itself


def is_boundary(stored: bytes) -> bool:
    """Whether ``stored``, which starts at a message and may stop anywhere, ends at the end of one."""
    if not stored:
        return True
    if not stored.endswith(b","):
        return False
    try:
        _leniently(_text, _array(stored))
    except msgspec.DecodeError:
        return False
    except RecursionError:
        return any(end == len(stored) for end in boundaries(stored))
    return True


def first_part(stored: bytes, max_bytes: int) -> bytes:
    """Return whole messages from the beginning of ``stored``, about ``max_bytes`` where an end is soon found, or all.

    Telling messages apart costs as much as there are of them, so of many a part is taken first.
    """
    end = max_bytes
    for _ in range(PART_GUESS_COUNT if len(stored) > max_bytes else 0):
        end = stored.rfind(b",", 0, end)
        if end < 0:
            break
        if is_boundary(stored[: end + 1]):
            return stored[: end + 1]
    return stored


def last_part(stored: bytes, max_bytes: int) -> bytes:
    """Return whole messages from the end of ``stored``, about ``max_bytes`` where a beginning is soon found, or all.

    What begins inside a message is no array of values: inside a string it has an odd number of quotation marks, inside
    a container a closing bracket too many.
    """
    begin = len(stored) - max_bytes
    for _ in range(PART_GUESS_COUNT if begin > 0 else 0):
        begin = stored.find(b",", begin) + 1
        if not 0 < begin < len(stored):
            break
        if is_boundary(stored[begin:]):
            return stored[begin:]
    return stored


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
    try:
        texts = msgspec.structs.astuple(_leniently(_first, _array(stored)))
    except RecursionError:
        return [*islice(boundaries(stored), FIRST_COUNT)]
    ends, end = [], 0
    for text in takewhile(len, texts):
        end = stored.index(b",", _past(stored, (text,), end)) + 1
        ends.append(end)
    return ends


def boundaries(stored: bytes, start: int = 0) -> Iterator[int]:
    """Yield the end of every message in ``stored``, comma included, in order; nothing is too deep for it.

    A message begins at ``start``; ``stored`` may stop anywhere, inside a string as well.

    Cost: about one regular-expression token per flat message, three per nested one.
    """
    depth = 0
    for match in _TOKEN.finditer(stored, start):
        if match.end() - match.start() > 1:
            continue
        token = stored[match.start()]
        if token == _COMMA:
            if depth == 0:
                yield match.end()
        elif token in _OPENING:
            depth += 1
        elif token == _QUOTE:
            return  # ``stored`` stops inside this string: what looks like structure behind it is text
        else:
            depth -= 1


def paired(text: bytes) -> bytes:
    """Return the text with other escapes, of the same length, in place of those of surrogates."""
    return text.replace(rb"\ud", rb"\ue").replace(rb"\uD", rb"\uE")


def _texts_of(stored: bytes) -> Sequence[msgspec.Raw | bytes]:
    """Return the text of every message, without the whitespace around it."""
    try:
        return _leniently(_texts, _array(stored))
    except RecursionError:
        edges = pairwise((0, *boundaries(stored)))
        return [stored[start : end - 1].strip(_WHITESPACE) for start, end in edges]


def _array(stored: bytes) -> bytes:
    return b"".join((b"[", memoryview(stored)[:-1], b"]"))


def _past(stored: bytes, texts: Iterable[msgspec.Raw | bytes], position: int = 0) -> int:
    """Return the end of the last of these texts; commas and whitespace are between them, and nothing else."""
    gaps = _GAP.match
    for text in texts:
        gap = gaps(stored, position)
        position = (gap.end() if gap else position) + len(text)
    return position


def _leniently(decode: Callable[[bytes], T], text: bytes) -> T:
    """Decode, escapes of lone surrogates too: JSON (RFC 8259 §8.2), but not to the parser."""
    try:
        return decode(text)
    except msgspec.DecodeError:
        return decode(paired(text))

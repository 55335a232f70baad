"""JSON mode: messages stored as the client's own bytes, each followed by a comma (§9.1).

Flattening one array level is cutting its brackets; reading a range is ``[`` + bytes + ``]`` without the last comma.
Nothing is ever re-serialised: a 20-digit integer, ``1.0`` or a duplicate key comes back exactly as it was sent.
Invariant: every offset a JSON stream hands out stands at the start of a message or at the tail.
"""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING, Final, NoReturn

import orjson

from durable_streams.protocol.errors import EmptyBatchError, InvalidJsonError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH_MAX: Final = 1000
"""Deepest nesting accepted, so that a reader that parses a page (one level deeper) with a common parser can."""
_PARSER_DEPTH_MAX: Final = 1024
"""Deepest nesting that orjson accepts."""
LARGE_BYTES: Final = 256 * 1024
"""From here on it pays to keep the collector away from a body being checked."""
_WHITESPACE: Final = b" \t\n\r"

_TOKEN = re.compile(
    rb"""
    [\[{][^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\]}]  # a container that holds no other: one token
    | "[^"\\]*+(?:\\.[^"\\]*+)*+"
    | [\[\]{},"]  # a quotation mark is matched alone only if its string does not end
    """,
    re.VERBOSE | re.DOTALL,
)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_OPENING: Final = frozenset(b"[{")
_COMMA: Final = ord(",")
_QUOTE: Final = ord('"')


def flatten(body: bytes) -> bytes:
    """Return the stored form of one request body: its messages, each followed by a comma (§9.1.2).

    One array level is flattened; any other value, ``null`` included, is one message.

    Raises:
        InvalidJsonError: not one JSON text in UTF-8, ``NaN`` or ``Infinity``, a number beyond the range of a double
            (RFC 8259 §6 lets us), or nested deeper than ``DEPTH_MAX``.
        EmptyBatchError: ``[]`` (§9.1.3).
    """
    _check(body)
    text = body.strip(_WHITESPACE)
    if not text.startswith(b"["):
        return text + b","
    messages = text[1:-1].strip(_WHITESPACE)
    if not messages:
        msg = "an empty array appends nothing"
        raise EmptyBatchError(msg)
    return messages + b","


def flatten_initial(body: bytes) -> bytes:
    """Return the stored form of a body given at creation, where ``[]`` is valid and means no message (§9.1.3).

    Raises:
        InvalidJsonError: as ``flatten``.
    """
    try:
        return flatten(body)
    except EmptyBatchError:
        return b""


def wrap(stored: bytes) -> bytes:
    """Return a range of stored messages as one JSON array (§9.1.5)."""
    return b"".join((b"[", memoryview(stored)[:-1], b"]"))  # one copy: pages are a megabyte


def _check(body: bytes) -> None:
    if len(body) < LARGE_BYTES or not gc.isenabled():
        _check_text(body)
        return
    # Millions of small values at once would have the collector look at all of them again and again, and find nothing:
    # it would take most of the time. They are gone before it is let in again.
    gc.disable()
    try:
        _check_text(body)
    finally:
        gc.enable()


def _check_text(body: bytes) -> None:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as refusal:
        # Lone surrogate escapes are JSON (RFC 8259 §8.2) and browsers send them; only the parser minds. With any other
        # escape in their place everything else is judged as ever.
        body, replaced = _SURROGATE_ESCAPE.subn(rb"\\u0020", body)
        if not replaced:
            _refuse(str(refusal))
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError as second:
            _refuse(str(second))
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _is_too_deep(body):
        _refuse(f"nested deeper than {DEPTH_MAX}")


def _refuse(why: str) -> NoReturn:
    msg = f"the body is not valid JSON: {why}"
    raise InvalidJsonError(msg)


def _is_too_deep(body: bytes) -> bool:
    """Whether a valid text is deeper than ``DEPTH_MAX``: then the parser refuses it this much further down."""
    further = _PARSER_DEPTH_MAX - DEPTH_MAX
    try:
        orjson.loads(b"[" * further + body + b"]" * further)
    except orjson.JSONDecodeError:
        return True
    return False


def boundaries(stored: bytes) -> Iterator[int]:
    """Yield the end of every message in ``stored``, comma included, in order.

    ``stored`` starts at a message and may stop anywhere, inside a string as well.

    Cost: about one regular-expression token per flat message, three per nested one.
    """
    depth = 0
    for match in _TOKEN.finditer(stored):
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


def cut(stored: bytes, max_bytes: int) -> int:
    """Return the length of the longest run of whole messages within ``max_bytes``, and of one message at least."""
    last = 0
    for end in boundaries(stored):
        if end > max_bytes and last:
            break
        last = end
        if end >= max_bytes:
            break
    return last

"""JSON mode: messages stored as the client's own bytes, each followed by a comma (§9.1).

Flattening one array level is cutting its brackets; reading a range is ``[`` + bytes + ``]`` without the last comma.
Nothing is ever re-serialised: a 20-digit integer, ``1.0`` or a duplicate key comes back exactly as it was sent.
Invariant: every offset a JSON stream hands out stands at the start of a message or at the tail.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import EmptyBatchError
from durable_streams.protocol.json_check import check

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def flatten(body: bytes) -> bytes:
    """Return the stored form of one request body: its messages, each followed by a comma (§9.1.2).

    One array level is flattened; any other value, ``null`` included, is one message.

    Raises:
        InvalidJsonError: see ``json_check``.
        EmptyBatchError: ``[]`` (§9.1.3).
    """
    check(body)
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


def boundaries(stored: bytes, start: int = 0) -> Iterator[int]:
    """Yield the end of every message in ``stored``, comma included, in order.

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

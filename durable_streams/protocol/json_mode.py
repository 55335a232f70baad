"""JSON mode: messages stored as the client's own bytes, each followed by a comma (§9.1).

Flattening one array level is cutting its brackets; reading a range is ``[`` + bytes + ``]`` without the last comma.
Nothing is ever re-serialised: a 20-digit integer, ``1.0`` or a duplicate key comes back exactly as it was sent.
Invariant: every offset a JSON stream hands out stands at the start of a message or at the tail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import EmptyArrayError
from durable_streams.protocol.json_check import check, check_by_passes
from durable_streams.protocol.json_scan import boundaries

if TYPE_CHECKING:
    from collections.abc import Generator

_WHITESPACE: Final = b" \t\n\r"


def flatten(body: bytes) -> bytes:
    """Return the stored form of one request body: its messages, each followed by a comma (§9.1.2).

    One array level is flattened; any other value, ``null`` included, is one message.

    Raises:
        InvalidJsonError: see ``json_check``.
        EmptyArrayError: ``[]`` (§9.1.3).
    """
    check(body)
    return _flat(body)


def flatten_by_passes(body: bytes) -> Generator[None, None, bytes]:
    """Return what ``flatten`` does, and stop between the passes over a large body. Raises as ``flatten``."""
    yield from check_by_passes(body)
    return _flat(body)


def _flat(body: bytes) -> bytes:
    text = body.strip(_WHITESPACE)
    if not text.startswith(b"["):
        return text + b","
    messages = text[1:-1].strip(_WHITESPACE)
    if not messages:
        msg = "an empty array appends nothing"
        raise EmptyArrayError(msg)
    return messages + b","


def flatten_initial(body: bytes) -> bytes:
    """Return the stored form of a body given at creation, where ``[]`` is valid and means no message (§9.1.3).

    Raises:
        InvalidJsonError: as ``flatten``.
    """
    try:
        return flatten(body)
    except EmptyArrayError:
        return b""


def wrap(stored: bytes) -> bytes:
    """Return a range of stored messages as one JSON array (§9.1.5)."""
    return b"".join((b"[", memoryview(stored)[:-1], b"]"))  # one copy: pages are a megabyte


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

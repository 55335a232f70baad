"""Stream paths: what may name a stream below the root (§12.2, §6).

A path is root-relative text such as ``chat/42``; one to 480 bytes of UTF-8 after percent-decoding, because it is a key
of the embedded store.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from durable_streams.protocol.errors import InvalidPathError, PathTooLongError, ReservedPathError

PATH_MAX_BYTES: Final = 480
RESERVED: Final = "__ds"
"""First segment of all control paths (§6)."""


@lru_cache(maxsize=16_384)  # an eighth of what an append over many streams takes
def parse_path(encoded: str) -> str:
    """Return the stream path for the percent-encoded, root-relative part of a URL path.

    Decoded exactly once, so that ``%2F`` and ``/`` name the same stream and ``%252F`` another.

    Raises:
        PathTooLongError: more than ``PATH_MAX_BYTES`` after decoding.
        ReservedPathError: the first segment is ``__ds``.
        InvalidPathError: empty, not UTF-8, a control character, or an empty, ``.`` or ``..`` segment.
    """
    # Servers hand over bytes that are not UTF-8 as lone surrogates: let them through to the check below.
    raw = unquote_to_bytes(encoded.encode("utf-8", "surrogatepass"))
    if len(raw) > PATH_MAX_BYTES:
        raise PathTooLongError(len(raw), PATH_MAX_BYTES)
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        msg = "the path is not UTF-8"
        raise InvalidPathError(msg) from None
    if any(character < " " or character == "\x7f" for character in path):
        msg = "the path holds a control character"
        raise InvalidPathError(msg)
    segments = path.split("/")
    if segments[0] == RESERVED:
        msg = f"paths under {RESERVED} are reserved"
        raise ReservedPathError(msg)
    if any(segment in {"", ".", ".."} for segment in segments):
        msg = "the path has an empty, '.' or '..' segment"
        raise InvalidPathError(msg)
    return path

"""Content codings of request bodies: streams hold what a body means, not how it travelled (§4.2, RFC 9110 §8.4).

Owns: undoing gzip and deflate within a bound. Must not know: what the bytes are for.
Invariant: a body that was cut short is refused, never taken for a shorter one.
"""

from __future__ import annotations

import zlib
from typing import Final

from durable_streams.protocol.errors import BodyTooLargeError, InvalidHeaderError

CONTENT_ENCODING: Final = "Content-Encoding"
_WINDOW_BITS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def decode_body(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return the decoded body.

    Args:
        body: as received.
        coding: the value of ``Content-Encoding``.
        max_bytes: most bytes that the decoded body may have.

    Raises:
        InvalidHeaderError: a coding other than gzip, deflate and identity, or bytes that are not in it, whole.
        BodyTooLargeError: more than ``max_bytes``.
    """
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        raise InvalidHeaderError(CONTENT_ENCODING, "must be gzip, deflate or identity")
    unpacker = zlib.decompressobj(bits)
    try:
        decoded = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidHeaderError(CONTENT_ENCODING, f"the body is not {name}") from None
    if len(decoded) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidHeaderError(CONTENT_ENCODING, f"the body is not one whole {name} stream")
    return decoded

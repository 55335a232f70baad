"""Content codings of request bodies: streams hold what a body means, not how it travelled (§4.2, RFC 9110 §8.4).

Owns: undoing gzip and deflate within a bound. Must not know: what the bytes are for.
Invariant: a body that was cut short is refused, never taken for a shorter one.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import BodyTooLargeError, InvalidHeaderError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_ENCODING: Final = "Content-Encoding"
UNPACKED_MAX_BYTES: Final = 256 * 1024
"""What is unpacked at a time: a few bytes may stand for a thousand times as many."""
_WINDOW_BITS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class Unpacker:
    """Unpacks a body as it arrives. ``name``: a coding of ``_WINDOW_BITS``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inflater = zlib.decompressobj(_WINDOW_BITS[name])
        self._begun = False

    @classmethod
    def of(cls, coding: str | None) -> Unpacker | None:
        """Return what unpacks a body of this value of ``Content-Encoding``, or ``None`` if nothing is coded.

        Raises:
            InvalidHeaderError: a coding other than gzip, deflate and identity.
        """
        name = (coding or "").strip().lower()
        if name in {"", "identity"}:
            return None
        if name not in _WINDOW_BITS:
            raise InvalidHeaderError(CONTENT_ENCODING, "must be gzip, deflate or identity")
        return cls(name)

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what ``packed`` adds to the unpacked body, ``UNPACKED_MAX_BYTES`` at a time.

        Raises:
            InvalidHeaderError: bytes that are not in this coding, or go on behind its end.
        """
        self._begun = self._begun or bool(packed)
        full = False
        while packed or full:
            try:
                unpacked = self._inflater.decompress(packed, UNPACKED_MAX_BYTES)
            except zlib.error:
                raise InvalidHeaderError(CONTENT_ENCODING, f"the body is not {self._name}") from None
            if self._inflater.unused_data:
                raise self._not_whole()
            packed, full = self._inflater.unconsumed_tail, len(unpacked) == UNPACKED_MAX_BYTES
            if unpacked:
                yield unpacked

    def finish(self) -> None:
        """Check that the body was whole, or empty. Raises ``InvalidHeaderError``."""
        if self._begun and not self._inflater.eof:
            raise self._not_whole()

    def _not_whole(self) -> InvalidHeaderError:
        return InvalidHeaderError(CONTENT_ENCODING, f"the body is not one whole {self._name} stream")


def decode_body(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return the unpacked body.

    Args:
        body: as received, whole.
        coding: the value of ``Content-Encoding``.
        max_bytes: most bytes that the unpacked body may have.

    Raises:
        InvalidHeaderError: a coding other than gzip, deflate and identity, or bytes that are not in it, whole.
        BodyTooLargeError: more than ``max_bytes``.
    """
    unpacker = Unpacker.of(coding)
    if unpacker is None:
        return body
    parts: list[bytes] = []
    size_bytes = 0
    for part in unpacker.feed(body):
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > max_bytes:
            raise BodyTooLargeError(max_bytes)
    unpacker.finish()
    return b"".join(parts)

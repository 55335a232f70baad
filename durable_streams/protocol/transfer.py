"""How a body whose length nobody knows yet is framed: by chunks, or by the end of its connection (RFC 9112 §6, §7.1).

Invariant: a framed piece is whole, so that it can be made once and sent to many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


def chunk(*pieces: bytes) -> bytes:
    """Return one chunk with all the pieces; nothing for nothing, as a chunk without bytes is the last one."""
    size = sum(map(len, pieces))
    return b"".join((b"%x\r\n" % size, *pieces, b"\r\n")) if size else b""


def as_is(*pieces: bytes) -> bytes:
    """Return the pieces joined."""
    return b"".join(pieces)


class Transfer(NamedTuple):
    """One way to send such a body.

    fields: header fields that announce it; the connection ends with the body in either case.
    framed: makes of pieces what is written. end: what is written last.
    """

    fields: tuple[tuple[str, str], ...]
    framed: Callable[..., bytes]
    end: bytes


_LAST: Final = ("Connection", "close")

CHUNKED: Final = Transfer((("Transfer-Encoding", "chunked"), _LAST), chunk, b"0\r\n\r\n")
"""For HTTP/1.1: every piece is complete as it arrives, and a body that has ended differs from one that was cut."""
UNTIL_CLOSE: Final = Transfer((_LAST,), as_is, b"")
"""For HTTP/1.0, which knows no chunks (RFC 9112 §6.1)."""

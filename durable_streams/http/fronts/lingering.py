"""Lingering: a refusal is read by its client although more bytes of what was refused are on their way (RFC 9112 §9.6).

Owns: connections on which the last answer has been written. Must not know: what it was.

Who closes while bytes arrive makes his kernel send a reset, upon which the client's may throw away the answer, and most
clients do not even look for one once they cannot send. So our side is shut, what comes is dropped, and the connection
ends when the client has shut its own, or after ``LINGER_S``.
"""

from __future__ import annotations

import asyncio
from typing import Final

LINGER_S: Final = 5.0


class Lingering(asyncio.Protocol):
    """Makes the transport its own; its former protocol gets no further call.

    Args:
        transport: everything that is to be sent has been handed to it.
        lingering: of whom this is one until the connection ends; whoever has it may cut them all.
    """

    def __init__(self, transport: asyncio.Transport, lingering: set[Lingering]) -> None:
        self._transport, self._lingering = transport, lingering
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self.cut)
        lingering.add(self)
        transport.set_protocol(self)
        transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Drop it."""

    def eof_received(self) -> bool:
        """The client has read the answer, or has gone: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """It is over."""
        self._timer.cancel()
        self._lingering.discard(self)

    def cut(self) -> None:
        """End it now."""
        self._transport.abort()

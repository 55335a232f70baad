"""Clients that have shut their side of the connection: answered all the same, unless they have gone altogether.

Owns: telling the two apart. Must not know: what is answered.

A client that sends a request and shuts its side (``nc``, a pipe, ``shutdown(SHUT_WR)``) waits for the answer; one that
closes its socket has gone. On the wire both are the same FIN. The difference shows when something is sent: the kernel
of one that has gone answers with a reset. So a client whose answer takes its time is sent a few bytes that mean
nothing, now and then, and is dropped once its kernel has said that nobody is there.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Means nothing to a client that has sent all it had, and may come before any answer (RFC 9110 §15.2)."""


class GoneWatch:
    """Drops a client that has shut its side once it is known to have gone. The loop's thread only.

    Args:
        transport: of a connection whose peer has sent its end.
        probe: sends something that means nothing where it may stand, or does nothing where it may not.
        pause_s: until the first look; it also is the time between two looks. Probes get rarer: before the first look,
            and each time the number of looks has doubled.
    """

    __slots__ = ("_looks", "_pause_s", "_probe", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, probe: Callable[[], None], pause_s: float) -> None:
        self._transport, self._probe, self._pause_s, self._looks = transport, probe, pause_s, 0
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._look)

    def stop(self) -> None:
        """The connection has ended, or is somebody else's."""
        self._timer.cancel()

    def _look(self) -> None:
        if is_reset(self._transport):
            self._transport.abort()
            return
        if self._transport.is_closing():
            return  # what was written still goes out
        if self._looks & (self._looks - 1) == 0:
            self._probe()
        self._looks += 1
        self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._look)


def is_reset(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer's kernel has said that nobody is there.

    A loop no longer reads from a connection whose peer has sent its end: it would find out at the next write but one.
    """
    peer = transport.get_extra_info("socket")
    if peer is None or peer.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(peer.fileno(), 0)
    return bool(poll.poll(0))

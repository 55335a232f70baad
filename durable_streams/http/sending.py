"""Sending to peers that may be slow, or dead: how much is still unsent, and for how long nothing was taken.

Owns: telling a slow peer from a dead one. Must not know: what is sent.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
from typing import Final

_QUEUED: Final = getattr(termios, "TIOCOUTQ", None)


def unsent_bytes(transport: asyncio.WriteTransport) -> int:
    """Return how many bytes the peer has not acknowledged: the transport's own, and the kernel's where it tells.

    The kernel takes more from a transport only when a third of its own buffer, megabytes, has drained: by the transport
    alone, a slow peer would look dead for minutes.
    """
    queued = array.array("i", [0])
    peer = transport.get_extra_info("socket")
    if peer is not None and _QUEUED is not None:
        try:
            fcntl.ioctl(peer.fileno(), _QUEUED, queued)
        except (OSError, ValueError):
            queued[0] = 0  # closed meanwhile, or no such question on this system
    return transport.get_write_buffer_size() + queued[0]


class StallWatch:
    """Cuts a peer from which nothing was acknowledged for ``timeout_s`` while bytes wait for it."""

    __slots__ = ("_last_bytes", "_timeout_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.WriteTransport, timeout_s: float) -> None:
        self._transport, self._timeout_s = transport, timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._last_bytes = 0

    def start(self) -> None:
        """Begin to watch, or go on."""
        if self._timer is None:
            self._watch()

    def stop(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        self._last_bytes = unsent_bytes(self._transport)
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._look)

    def _look(self) -> None:
        waiting_bytes = unsent_bytes(self._transport)
        if waiting_bytes and waiting_bytes == self._last_bytes:
            self._timer = None
            self._transport.abort()
        else:
            self._watch()

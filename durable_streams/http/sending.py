"""Sending to peers that may be slow, or dead: how much is still unsent, and for how long nothing was taken.

Owns: telling a slow peer from a dead one; sending a long body at the pace of its peer. Must not know: what is sent.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.http.messages import BodySource

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

    def moved(self) -> None:
        """The peer made room for more, which was written: as much may be unsent now as at the last look."""
        self._last_bytes = -1

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


class Pump:
    """Sends what a body source holds at the pace of the peer: a piece a turn of the loop, none into a full transport.

    So a reader costs about a piece and the transport's own buffer, however much it is sent, and many share the loop.

    Args:
        transport: where to. Cut when the source can bring no more, so that the peer sees a body that was cut.
        source: at least one piece.
        done: called once, when everything has been handed to the transport.
    """

    __slots__ = ("_done", "_loop", "_paused", "_source", "_transport", "_turn")

    def __init__(self, transport: asyncio.WriteTransport, source: BodySource, done: Callable[[], None]) -> None:
        self._transport, self._source, self._done = transport, source, done
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Handle | None = None
        self._paused = False

    def resume(self) -> None:
        """Begin, or go on: the transport has room."""
        self._paused = False
        if self._turn is None:
            self._turn = self._loop.call_soon(self._send)

    def pause(self) -> None:
        """The transport is full: a turn that was to come brings nothing."""
        self._paused = True

    def stop(self) -> None:
        """The connection has ended."""
        self._paused = True
        if self._turn is not None:
            self._turn.cancel()

    def _send(self) -> None:
        self._turn = None
        if self._paused or self._transport.is_closing():
            return
        piece = self._source.take()
        if piece is None:
            self._transport.abort()
            return
        self._transport.write(piece)
        if not self._source.left_bytes:
            self._done()
        elif not self._paused:
            self._turn = self._loop.call_soon(self._send)

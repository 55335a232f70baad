"""Sending to peers that may be slow, or dead: how much is still unsent, and whether it is taken fast enough.

Owns: telling a slow peer from one that holds what it is sent; sending a long body at the pace of its peer. Must not
know: what is sent.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
from typing import TYPE_CHECKING, Final

from durable_streams.runtime.turns import TURN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.http.messages import BodySource
    from durable_streams.http.outgoing import Outgoing, Parcel
    from durable_streams.runtime.turns import Turns

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
    """Cuts a peer that takes less than ``least_bytes`` in ``window_s`` while bytes wait for it."""

    __slots__ = ("_last_bytes", "_least_bytes", "_timer", "_transport", "_window_s")

    def __init__(self, transport: asyncio.WriteTransport, window_s: float, least_bytes: int) -> None:
        self._transport, self._window_s, self._least_bytes = transport, window_s, least_bytes
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

    def wrote(self, count: int) -> None:
        """So many bytes more wait for the peer than did at the last look, but for what it took."""
        self._last_bytes += count

    def _watch(self) -> None:
        self._last_bytes = unsent_bytes(self._transport)
        self._timer = asyncio.get_running_loop().call_later(self._window_s, self._look)

    def _look(self) -> None:
        waiting_bytes = unsent_bytes(self._transport)
        if waiting_bytes and self._last_bytes - waiting_bytes < self._least_bytes:
            self._timer = None
            self._transport.abort()
        else:
            self._watch()


class Pump:
    """Sends what a body source holds at the pace of the peer: a piece at a time, none into a full transport.

    So a reader costs about a piece and the transport's own buffer, however much it is sent; and many share the loop, a
    piece a turn among them all.

    Args:
        transport: where to. Cut when the source can bring no more, so that the peer sees a body that was cut.
        source: at least one piece.
        done: called once, with the last piece, when everything has been handed to the transport.
        outgoing: where the account is full, the next piece waits.
        turns: of the loop.
    """

    __slots__ = ("_done", "_is_due", "_outgoing", "_paused", "_piece", "_source", "_transport", "_turns")

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        source: BodySource,
        done: Callable[[Parcel], None],
        *,
        outgoing: Outgoing,
        turns: Turns,
    ) -> None:
        self._transport, self._source, self._done = transport, source, done
        self._outgoing, self._turns = outgoing, turns
        self._paused = self._is_due = False
        self._piece: Parcel | None = None

    def resume(self) -> None:
        """Begin, or go on: the transport has room, so what was handed to it has been sent."""
        self._paused, self._piece = False, None
        self._go_on()

    def pause(self) -> None:
        """The transport is full: a turn that was to come brings nothing."""
        self._paused = True

    def stop(self) -> None:
        """The connection has ended."""
        self._paused, self._piece = True, None
        self._outgoing.leave(self._go_on)

    def _go_on(self) -> None:
        if not (self._is_due or self._paused):
            self._is_due = True
            self._turns.add(self._send)

    def _send(self) -> int:
        self._is_due = False
        if self._paused or self._transport.is_closing():
            return 0
        if self._outgoing.is_full:
            self._outgoing.wait(self._go_on)
            return 0
        piece = self._source.take()
        if piece is None:
            self._transport.abort()
            return 0
        self._transport.write(piece.payload)
        if not self._source.left_bytes:
            self._done(piece)
        elif self._paused:
            self._piece = piece
        else:
            self._go_on()
        return TURN_BYTES

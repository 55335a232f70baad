"""Bodies on their way in: how much of them is held in memory over all connections, and how long more is waited for.

Owns: the count and its bound; the time since something came. Must not know: whose bodies they are. Invariant: what was
taken is given back, whatever becomes of its request.
"""

from __future__ import annotations

import asyncio
from typing import Final, Self

from durable_streams.protocol.errors import OverloadedError

FREE_BYTES: Final = 64 * 1024
"""Start of each body that does not count, so that a few large ones that stand still keep out large ones only."""


class ArrivingBodies:
    """The loop's thread only.

    Args:
        max_bytes: most bytes of all bodies that have begun to arrive and are not whole.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def body(self) -> ArrivingBody:
        """Return the account of one body; a context manager, at whose end all of it is given back."""
        return ArrivingBody(self)

    def take(self, count: int) -> None:
        """Count bytes. Raises ``OverloadedError`` if there are too many, and then counts none."""
        if self.held_bytes + count > self._max_bytes:
            raise OverloadedError("too many large bodies are arriving at once")
        self.held_bytes += count


class ArrivingBody:
    """One body, part after part."""

    __slots__ = ("_all", "_counted_bytes", "parts", "size_bytes")

    def __init__(self, everybody: ArrivingBodies) -> None:
        self._all, self._counted_bytes = everybody, 0
        self.parts: list[bytes] = []
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._all.held_bytes -= self._counted_bytes
        self.parts.clear()

    def add(self, part: bytes) -> None:
        """Hold one more part. Raises ``OverloadedError`` if it is one too many."""
        size_bytes = self.size_bytes + len(part)
        counted_bytes = max(0, size_bytes - FREE_BYTES)
        self._all.take(counted_bytes - self._counted_bytes)
        self._counted_bytes, self.size_bytes = counted_bytes, size_bytes
        self.parts.append(part)


class Patience:
    """Ends a wait that lasts longer than ``idle_s``, by way of the ``asyncio.Timeout`` around all waits of one body.

    One timer while the body lasts: one for each wait would cost as much as appending what it brings.
    """

    def __init__(self, timeout: asyncio.Timeout, idle_s: float) -> None:
        self._timeout, self._idle_s, self._loop = timeout, idle_s, asyncio.get_running_loop()
        self._since_s: float | None = None
        self._timer = self._loop.call_later(idle_s, self._look)

    def begin(self) -> None:
        """A wait begins."""
        self._since_s = self._loop.time()

    def end(self) -> None:
        """The wait is over."""
        self._since_s = None

    def lose(self) -> None:
        """End the wait that is under way, if there is one."""
        if self._since_s is not None:
            self._timeout.reschedule(0)

    def stop(self) -> None:
        """The body has ended, whole or not: there is no wait left to end."""
        self._since_s = None
        self._timer.cancel()

    def _look(self) -> None:
        now_s = self._loop.time()
        late_s = (now_s if self._since_s is None else self._since_s) + self._idle_s
        if late_s <= now_s:
            self.lose()
        else:
            self._timer = self._loop.call_at(late_s, self._look)

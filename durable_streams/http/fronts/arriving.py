"""What is on its way in: how much of it is held in memory over all connections, and how long more is waited for.

Owns: the counts and their bounds; the time since something came. Must not know: whose bytes they are. Invariant: what
was taken is given back, whatever becomes of its request.

Whatever is held of a request that is not taken on yet counts: a body that is not whole, a line of an upload that has
not ended, what came behind a request that is still to be answered. The start of each counts by itself, so that large
ones that stand still keep out large ones only.
"""

from __future__ import annotations

import asyncio
from typing import Final, Self

from durable_streams.http.parts import Parts
from durable_streams.protocol.errors import OverloadedError

FREE_BYTES: Final = 64 * 1024
"""Start of each body that does not count against ``--arriving-bytes``, but beside it."""
STARTS_MAX_BYTES: Final = 32 * 1024 * 1024
"""All those starts together."""
UNREAD_MAX_BYTES: Final = 48 * 1024 * 1024
"""What was read of connections and not looked at yet, because its turn has not come or an answer is under way."""


class ArrivingBodies:
    """The loop's thread only.

    Args:
        max_bytes: most bytes of all bodies that have begun to arrive and are not whole, behind their starts.

    ``held_bytes``, ``started_bytes``: what is held now behind the starts, and of them. ``unread_bytes``: what was read
    of connections before a request took it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = self.started_bytes = self.unread_bytes = 0

    def body(self) -> ArrivingBody:
        """Return the account of one body; a context manager, at whose end all of it is given back."""
        return ArrivingBody(self)

    def read(self, count: int) -> None:
        """Count what was read, or with less than 0 what was taken. Raises ``OverloadedError``, and counts nothing."""
        if count > 0 and self.unread_bytes + count > UNREAD_MAX_BYTES:
            raise OverloadedError("too much is arriving at once")
        self.unread_bytes += count

    def change(self, before_bytes: int, after_bytes: int) -> None:
        """Count that of one body so much is held now where it was so much before.

        Raises:
            OverloadedError: it is too much; then nothing has changed. Less is never too much.
        """
        start = min(after_bytes, FREE_BYTES) - min(before_bytes, FREE_BYTES)
        rest = max(0, after_bytes - FREE_BYTES) - max(0, before_bytes - FREE_BYTES)
        if rest > 0 and self.held_bytes + rest > self._max_bytes:
            raise OverloadedError("too many large bodies are arriving at once")
        if start > 0 and self.started_bytes + start > STARTS_MAX_BYTES:
            raise OverloadedError("too many bodies are arriving at once")
        self.held_bytes += rest
        self.started_bytes += start


class ArrivingBody:
    """What is held for one request. ``parts``: of a body that is held as it arrives."""

    __slots__ = ("_all", "_counted_bytes", "parts")

    def __init__(self, everybody: ArrivingBodies) -> None:
        self._all, self._counted_bytes = everybody, 0
        self.parts = Parts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.hold(0)
        self.parts.clear()

    @property
    def size_bytes(self) -> int:
        """What has been added."""
        return self.parts.size_bytes

    def hold(self, size_bytes: int) -> None:
        """Count so much from now on. Raises ``OverloadedError`` if that is too much, and then counts as before."""
        self._all.change(self._counted_bytes, size_bytes)
        self._counted_bytes = size_bytes

    def add(self, part: bytes) -> None:
        """Hold one more part. Raises ``OverloadedError`` if it is one too many."""
        self.hold(self.parts.size_bytes + len(part))
        self.parts.add(part)


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

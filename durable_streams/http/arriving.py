"""Bodies on their way in, over all connections: how much of them is held in memory.

Owns: the count and its bound. Must not know: whose bodies they are. Invariant: what was taken is given back, whatever
becomes of its request.
"""

from __future__ import annotations

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

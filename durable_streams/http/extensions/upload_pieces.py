"""Cutting what arrives of an upload into the bodies of its appends.

Owns: lines of JSON streams, pieces of all others; what is held of one that is not whole.
Must not know: what becomes of the bodies.
Invariants: joined, pieces are what arrived, whatever the cuts; of lines, only blank ones are left out. What is held has
a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import BodyTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS_MAX: Final = 4096
"""Parts of an unfinished line that are kept apart: each costs more than its bytes."""
_BLANK: Final = b" \t\r\n"


class _Held:
    """Bytes that are not whole yet; joined only when they are, or many small parts would cost the square."""

    __slots__ = ("_parts", "size_bytes")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def add(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self.size_bytes += len(part)
            if len(self._parts) >= PARTS_MAX:
                self._parts = [b"".join(self._parts)]

    def take(self) -> bytes:
        whole, self._parts, self.size_bytes = b"".join(self._parts), [], 0
        return whole


class Lines:
    """NDJSON: a body for each line that is not blank. ``max_bytes``: of one line."""

    def __init__(self, max_bytes: int) -> None:
        self._held, self._max_bytes = _Held(), max_bytes

    def feed(self, arrived: bytes, *, flushed: bool) -> Iterator[bytes]:  # noqa: ARG002 a line ends with its newline
        """Yield the lines that end in ``arrived``. Raises ``BodyTooLargeError``."""
        *ends, rest = arrived.split(b"\n")
        for end in ends:
            yield from self._whole(end)
        self._hold(rest)

    def finish(self) -> Iterator[bytes]:
        """Yield the last line, which needs no newline."""
        yield from self._whole(b"")

    def _whole(self, end: bytes) -> Iterator[bytes]:
        self._hold(end)
        line = self._held.take()
        if line.strip(_BLANK):
            yield line

    def _hold(self, part: bytes) -> None:
        self._held.add(part)
        if self._held.size_bytes > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)


class Pieces:
    """Any bytes: a body for each chunk that the client flushes, and for as much as one append may have."""

    def __init__(self, max_bytes: int) -> None:
        self._held, self._max_bytes = _Held(), max_bytes

    def feed(self, arrived: bytes, *, flushed: bool) -> Iterator[bytes]:
        """Yield what is full; and what is held, if the client ended a chunk here."""
        position = 0
        while self._held.size_bytes + len(arrived) - position >= self._max_bytes:
            end = position + self._max_bytes - self._held.size_bytes
            self._held.add(arrived[position:end])
            yield self._held.take()
            position = end
        self._held.add(arrived[position:])
        if flushed:
            yield from self.finish()

    def finish(self) -> Iterator[bytes]:
        """Yield what is held."""
        if self._held.size_bytes:
            yield self._held.take()

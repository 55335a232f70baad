"""Cutting what arrives of an upload into the bodies of its appends.

Owns: lines of JSON streams, pieces of all others; what is held of one that is not whole.
Must not know: what becomes of the bodies.
Invariants: joined, pieces are what arrived, whatever the cuts; of lines, only blank ones are left out. What is held has
a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.http.parts import Parts
from durable_streams.protocol.errors import BodyTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK: Final = b" \t\r\n"


class Lines:
    """NDJSON: a body for each line that is not blank. ``max_bytes``: of one line."""

    def __init__(self, max_bytes: int) -> None:
        self._held, self._max_bytes = Parts(), max_bytes

    @property
    def held_bytes(self) -> int:
        """What is held of a line that has not ended."""
        return self._held.size_bytes

    def feed(self, arrived: bytes, *, flushed: bool) -> Iterator[bytes]:  # noqa: ARG002 a line ends with its newline
        """Yield the lines that end in ``arrived``. Raises ``BodyTooLargeError``."""
        *lines, rest = arrived.split(b"\n")
        if lines and self._held.size_bytes:
            self._hold(lines[0])
            lines[0] = self._held.take()
        for line in lines:
            if line.strip(_BLANK):
                yield self._checked(line)
        self._hold(rest)

    def finish(self) -> Iterator[bytes]:
        """Yield the last line, which needs no newline."""
        line = self._held.take()
        if line.strip(_BLANK):
            yield line

    def _hold(self, part: bytes) -> None:
        self._held.add(part)
        if self._held.size_bytes > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)

    def _checked(self, line: bytes) -> bytes:
        if len(line) > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)
        return line


class Pieces:
    """Any bytes: a body for each chunk that the client flushes, and for as much as one append may have."""

    def __init__(self, max_bytes: int) -> None:
        self._held, self._max_bytes = Parts(), max_bytes

    @property
    def held_bytes(self) -> int:
        """What is held of a piece that is not full."""
        return self._held.size_bytes

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

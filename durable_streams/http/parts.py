"""Bytes that arrive in parts and are wanted as one: joined once, however small the parts.

Must not know: whose bytes they are. Invariant: whatever the parts, adding costs a few copies of each byte, and what is
kept beside the bytes is a fraction of them.
"""

from __future__ import annotations

from typing import Final

PARTS_MAX: Final = 1024
"""Parts that are kept apart: each costs more than its bytes."""


class Parts:
    """Parts in order. ``size_bytes``: of all of them."""

    __slots__ = ("_joined", "_loose", "size_bytes")

    def __init__(self) -> None:
        self._joined: list[bytes] = []
        self._loose: list[bytes] = []
        self.size_bytes = 0

    def add(self, part: bytes) -> None:
        """Keep one more part."""
        if not part:
            return
        self._loose.append(part)
        self.size_bytes += len(part)
        if len(self._loose) >= PARTS_MAX:
            self._joined.append(b"".join(self._loose))
            self._loose = []

    def take(self) -> bytes:
        """Return all parts as one, and keep none."""
        parts = [*self._joined, *self._loose]
        self.clear()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def clear(self) -> None:
        """Keep none."""
        self._joined, self._loose, self.size_bytes = [], [], 0

"""Chunks waiting to be appended, with neighbouring deltas joined.

Must not know: streams, time. Invariant: nothing is reordered, and what was taken never changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.agents.codecs.chunk_names import DELTA, INPUT_DELTA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable_streams.agents.codecs.base import Chunk, Codec

_TEXT_FIELDS: Final = (DELTA, INPUT_DELTA, "text")
"""Where a chunk has its text; the last is that of raw text."""
_CHUNK_BYTES: Final = 64
"""Rough size of a chunk around its text; sizes here only decide when to send."""


class Coalescer:
    """A buffer of chunks.

    Args:
        codec: knows which chunks can be joined.
        max_chunk_bytes: joined deltas stay about below this.
    """

    def __init__(self, codec: Codec, max_chunk_bytes: int) -> None:
        self._codec = codec
        self._max_chunk_bytes = max_chunk_bytes
        self._chunks: list[Chunk] = []
        self._last_bytes = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Put chunks behind the others, joining what can be joined."""
        for chunk in chunks:
            size = _rough_bytes(chunk)
            joined = None
            if self._chunks and self._last_bytes + size <= self._max_chunk_bytes:
                joined = self._codec.merge(self._chunks[-1], chunk)
            if joined is None:
                self._chunks.append(chunk)
                self._last_bytes = 0
            else:
                self._chunks[-1] = joined
            self._last_bytes += size
            self.size_bytes += size

    def take(self) -> list[bytes]:
        """Remove everything and return it as messages."""
        messages = [self._codec.encode(chunk) for chunk in self._chunks]
        self._chunks = []
        self.size_bytes = self._last_bytes = 0
        return messages


def _rough_bytes(chunk: Chunk) -> int:
    for field in _TEXT_FIELDS:
        text = chunk.get(field)
        if isinstance(text, str):
            return _CHUNK_BYTES + len(text)
    return _CHUNK_BYTES * 4

"""Chunks waiting to be appended, with neighbouring deltas joined.

Must not know: streams, time. Invariant: nothing is reordered, and what was taken never changes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from durable_streams.agents.codecs.chunk_names import DELTA, INPUT_DELTA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable_streams.agents.codecs.base import Chunk, Codec

_TEXT_FIELDS: Final = (DELTA, INPUT_DELTA, "text", "url")
"""Where a chunk has its text, or a file its bytes; ``text`` is that of raw text."""
_CHUNK_BYTES: Final = 64
"""Rough size of a chunk around its text; sizes of text here only decide when to send."""


class Coalescer:
    """A buffer of chunks.

    Args:
        codec: knows which chunks can be joined.
        max_chunk_bytes: joined deltas stay about below this.
    """

    def __init__(self, codec: Codec, max_chunk_bytes: int) -> None:
        self._codec = codec
        self._max_chunk_bytes = max_chunk_bytes
        self._held: deque[_Held] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Put chunks behind the others, joining what can be joined."""
        for chunk in chunks:
            size = _text_bytes(chunk)
            if size is None:
                # Of a value nothing tells the size but its bytes.
                message = self._codec.encode(chunk)
                self._held.append(_Held(message, len(message)))
                self.size_bytes += len(message)
            elif not self._join(chunk, size):
                self._held.append(_Held(chunk, size))
                self.size_bytes += size

    def take(self, max_bytes: int) -> list[bytes]:
        """Remove from the front what is not above ``max_bytes`` together, or one that is by itself, and return it."""
        messages: list[bytes] = []
        taken_bytes = 0
        while self._held:
            held = self._held[0]
            message = held.chunk if isinstance(held.chunk, bytes) else self._codec.encode(held.chunk)
            taken_bytes += len(message) + 1
            if messages and taken_bytes > max_bytes:
                break
            messages.append(message)
            self.size_bytes -= self._held.popleft().size_bytes
        return messages

    def _join(self, chunk: Chunk, size: int) -> bool:
        last = self._held[-1] if self._held else None
        if last is None or isinstance(last.chunk, bytes) or last.size_bytes + size > self._max_chunk_bytes:
            return False
        joined = self._codec.merge(last.chunk, chunk)
        if joined is None:
            return False
        last.chunk = joined
        last.size_bytes += size
        self.size_bytes += size
        return True


@dataclass(slots=True)
class _Held:
    """A chunk, or its bytes if nothing can be joined to it."""

    chunk: Chunk | bytes
    size_bytes: int


def _text_bytes(chunk: Chunk) -> int | None:
    for field in _TEXT_FIELDS:
        text = chunk.get(field)
        if isinstance(text, str):
            return _CHUNK_BYTES + len(text)
    return None

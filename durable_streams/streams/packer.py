"""Packing: which streams hold runs of small chunks worth merging, and when.

Owns: which ranges to pack, in two bounded lists. Must not know: how chunks are merged (``engine/lmdb/pack.py``).
Invariant: a range to pack lies below the committed tail.

A run is a sequence of small chunks that follow one another in one stream. Each commit adds to a run. A run is ready to
be packed when it is long, or when its stream has not been appended to for a while. A page that was gathered from many
rows is ready at once. Nothing is lost with a restart: the next read of such a page notes it again.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from durable_streams.engine.base import PACKED_BYTES

CANDIDATES_MAX: Final = 16_384
"""Runs kept, one a stream. Beyond it the oldest run is dropped; its chunks stay small until they are read."""
COLD_MS: Final = 5_000
"""A run of ``ROWS_MIN`` rows is ready once its stream has not been appended to for this long."""
ROWS_MIN: Final = 16
"""A shorter run is not worth packing."""
ROWS_READ_MIN: Final = 64
"""A page gathered from this many rows is ready at once."""
LOOKS_MAX: Final = 256
"""Runs that one call of ``take`` looks at to find cold ones."""
RUN_BYTES: Final = 8 * PACKED_BYTES
"""A run of this length is ready while its stream still grows. An engine may have merged its rows already; then packing
finds little to do, or nothing."""
SMALL_BYTES: Final = PACKED_BYTES // 4
"""A larger chunk is part of no run."""


class _Run:
    """Small chunks ``[start, end)`` of one stream, not packed yet. noted_ms: when the last of them was committed."""

    __slots__ = ("end", "noted_ms", "rows", "start")

    def __init__(self, start: int, end: int, noted_ms: int) -> None:
        self.start, self.end, self.rows, self.noted_ms = start, end, 1, noted_ms


class Packer:
    """Is told of commits and reads, and hands out ranges to pack. The loop's thread only."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}
        self._ready: dict[int, tuple[int, int]] = {}

    def appended(self, sid: int, start: int, end: int, *, now_ms: int) -> None:
        """Add one committed chunk to its stream's run, or begin a run with it.

        Args:
            sid: the incarnation.
            start: the chunk's offset.
            end: the offset behind it.
            now_ms: Unix milliseconds.
        """
        if end - start > SMALL_BYTES:
            return
        run = self._runs.get(sid)
        if run is None or run.end > start:
            self._note(sid, _Run(start, end, now_ms))
            return
        run.end, run.noted_ms = end, now_ms
        run.rows += 1
        if run.end - run.start >= RUN_BYTES and run.rows >= ROWS_MIN:
            del self._runs[sid]
            self._make_ready(sid, run.start, run.end)

    def read(self, sid: int, start: int, end: int, *, rows: int) -> None:
        """Make the range of a page ready if it was gathered from many rows (``ROWS_READ_MIN``)."""
        if rows >= ROWS_READ_MIN and len(self._ready) < CANDIDATES_MAX:
            self._make_ready(sid, start, end)

    def forget(self, sid: int) -> None:
        """The incarnation has gone."""
        self._runs.pop(sid, None)
        self._ready.pop(sid, None)

    def take(self, now_ms: int) -> tuple[int, int, int] | None:
        """Return (sid, start, end) of a range to pack now, and forget it; ``None`` if there is none."""
        if not self._ready:
            self._look_for_cold(now_ms)
        if not self._ready:
            return None
        sid, (start, end) = self._ready.popitem()
        return sid, start, end

    def put_back(self, sid: int, start: int, end: int) -> None:
        """Go on with the rest of a range later."""
        self._make_ready(sid, start, end)

    def _look_for_cold(self, now_ms: int) -> None:
        """Make runs of cold streams ready. Looks at the first ``LOOKS_MAX`` runs; a warm one goes to the back."""
        for sid in tuple(islice(self._runs, LOOKS_MAX)):
            run = self._runs.pop(sid)
            if now_ms - run.noted_ms < COLD_MS:
                self._runs[sid] = run
            elif run.rows >= ROWS_MIN:
                self._make_ready(sid, run.start, run.end)

    def _note(self, sid: int, run: _Run) -> None:
        if len(self._runs) >= CANDIDATES_MAX:
            del self._runs[next(iter(self._runs))]
        self._runs.pop(sid, None)
        self._runs[sid] = run

    def _make_ready(self, sid: int, start: int, end: int) -> None:
        """Add a range to what is ready of its stream. A fast writer fills several runs before the first is packed."""
        known = self._ready.get(sid)
        self._ready[sid] = (start, end) if known is None else (min(start, known[0]), max(end, known[1]))

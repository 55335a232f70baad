"""Packing: which streams hold runs of small chunks worth merging, and when.

Owns: a bounded list of candidates; a restart forgets it, and the next read of such a stream notes it again.
Must not know: how chunks are merged. Invariant: a candidate's range lies below the committed tail.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from durable_streams.engine.base import PACKED_BYTES

CANDIDATES_MAX: Final = 16_384
"""Streams remembered; beyond it the one noted first is dropped and stays as it is until it is read."""
COLD_MS: Final = 5_000
"""A stream not appended to for this long is packed if ``ROWS_MIN`` rows are worth it."""
ROWS_MIN: Final = 16
ROWS_READ_MIN: Final = 64
"""A page that took this many rows to read is worth packing."""
LOOKS_MAX: Final = 256
"""Runs looked at in one round."""
RUN_BYTES: Final = 8 * PACKED_BYTES
"""Handed out while a stream grows. An engine may merge what it appends by itself: little is left to do, or nothing."""
SMALL_BYTES: Final = PACKED_BYTES // 4


class _Run:
    """Small chunks ``[start, end)`` of one stream, not packed yet."""

    __slots__ = ("end", "noted_ms", "rows", "start")

    def __init__(self, start: int, end: int, noted_ms: int) -> None:
        self.start, self.end, self.rows, self.noted_ms = start, end, 1, noted_ms


class Packer:
    """Notes what commits and reads see; hands out ranges to pack. The loop's thread only."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}
        self._ready: dict[int, tuple[int, int]] = {}

    def appended(self, sid: int, start: int, end: int, *, now_ms: int) -> None:
        """Note one committed chunk."""
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
        """Note a page that was gathered from ``rows`` rows."""
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
        """Look at the runs begun first; one still warm goes to the back, so that a round costs a few looks at most."""
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
        """Add a range to what is ready of its stream: a fast writer makes one after the other before any is packed."""
        known = self._ready.get(sid)
        self._ready[sid] = (start, end) if known is None else (min(start, known[0]), max(end, known[1]))

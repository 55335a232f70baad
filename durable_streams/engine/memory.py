"""The memory engine: everything in dictionaries, nothing survives the process.

Owns: the plainest possible implementation of the engine seam; the model that the LMDB engine is tested against.
Must not know: any rule of the protocol.
Invariant: every public method holds the one lock from its first look to its last change.
"""

from __future__ import annotations

import bisect
import heapq
import threading
from typing import TYPE_CHECKING

from durable_streams.engine.base import PACKED_BYTES, Chunk, Due, Mutation, Outcome, ProducerRow, Touch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.protocol.head import Head


class _Incarnation:
    """What is stored under one sid: its chunks by offset, the offsets in order, and its producer rows."""

    __slots__ = ("offsets", "payloads", "producers")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.payloads: dict[int, bytes] = {}
        self.producers: dict[str, ProducerRow] = {}

    def add(self, chunk: Chunk) -> None:
        if chunk.offset not in self.payloads:
            bisect.insort(self.offsets, chunk.offset)
        self.payloads[chunk.offset] = bytes(chunk.payload)

    def position(self, offset: int) -> int | None:
        """Return the index of the chunk that holds the byte at ``offset``."""
        index = bisect.bisect_right(self.offsets, offset) - 1
        if index < 0:
            return None
        found = self.offsets[index]
        return index if offset < found + len(self.payloads[found]) else None

    def pack(self, span: tuple[int, int], limit: int) -> int:
        """Merge consecutive chunks within ``span``; return where to go on."""
        first = self.position(span[0])
        if first is None:
            return span[1]
        looked: list[int] = []
        position = self.offsets[first]
        for offset in self.offsets[first : first + limit]:
            if offset != position or offset + len(self.payloads[offset]) > span[1]:
                break
            looked.append(offset)
            position = offset + len(self.payloads[offset])
        kept = looked[:1]
        for offset in looked[1:]:
            if len(self.payloads[kept[-1]]) + len(self.payloads[offset]) > PACKED_BYTES:
                kept.append(offset)
            else:
                self.payloads[kept[-1]] += self.payloads.pop(offset)
        self.offsets[first : first + len(looked)] = kept
        return position if len(looked) == limit else span[1]

    def remove(self, limit: int) -> int:
        """Remove up to ``limit`` rows, chunks first, in key order; return how many."""
        gone = self.offsets[:limit]
        del self.offsets[: len(gone)]
        for offset in gone:
            del self.payloads[offset]
        ids = sorted(self.producers, key=str.encode)[: limit - len(gone)]
        for producer_id in ids:
            del self.producers[producer_id]
        return len(gone) + len(ids)


class MemoryEngine:
    """Store streams in this process's memory. For tests, demonstrations and streams worth nothing after a restart."""

    name = "memory"
    durable = False
    shared = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: dict[str, Head] = {}
        self._paths: list[bytes] = []
        self._rows: dict[int, _Incarnation] = {}
        self._live: set[int] = set()
        self._dropped: set[int] = set()
        self._due: list[Due] = []

    def open(self) -> None:
        """Do nothing: there is nothing to open."""

    def close(self) -> None:
        """Do nothing: what was stored goes with the object."""

    def probe(self) -> None:
        """Do nothing: memory is there while the process is."""

    def load(self, paths: Sequence[str]) -> list[Head | None]:
        """Return the heads at these paths."""
        with self._lock:
            return [self._heads.get(path) for path in paths]

    def load_producers(self, keys: Sequence[tuple[int, str]]) -> list[ProducerRow | None]:
        """Return the rows of these (sid, producer id) pairs."""
        with self._lock:
            return [self._rows[sid].producers.get(name) if sid in self._rows else None for sid, name in keys]

    def scan_producers(self, sid: int, after: str, limit: int) -> list[ProducerRow]:
        """Return up to ``limit`` rows of ``sid`` after ``after``."""
        with self._lock:
            rows = self._rows[sid].producers if sid in self._rows else {}
            found = heapq.nsmallest(limit, (name for name in rows if name.encode() > after.encode()), key=str.encode)
            return [rows[name] for name in found]

    def commit(
        self, groups: Sequence[Sequence[Mutation]], *, on_written: Callable[[], None] | None = None
    ) -> list[Outcome]:
        """Apply each group whole or not at all, in order."""
        with self._lock:
            outcomes = [self._apply(group) for group in groups]
        if on_written is not None:
            on_written()
        return outcomes

    def _apply(self, group: Sequence[Mutation]) -> Outcome:
        if not self._admits(group):
            return Outcome.CONFLICT
        for mutation in group:
            self._replace(mutation)
        return Outcome.APPLIED

    def _admits(self, group: Sequence[Mutation]) -> bool:
        """Whether every mutation finds the head it expects, each seeing the ones before it in the group."""
        seen: dict[str, Head | None] = {}
        fresh: set[int] = set()
        for mutation in group:
            old = seen[mutation.path] if mutation.path in seen else self._heads.get(mutation.path)
            new = mutation.head
            if mutation.expected != (old and (old.sid, old.version)):
                return False
            if new and (old is None or new.sid != old.sid):
                if new.sid in fresh or new.sid in self._live or new.sid in self._dropped:
                    return False
                fresh.add(new.sid)
            seen[mutation.path] = new
        return True

    def _replace(self, mutation: Mutation) -> None:
        old, new = self._heads.pop(mutation.path, None), mutation.head
        if old:
            self._unindex(old)
            if new is None or new.sid != old.sid:
                self._live.discard(old.sid)
                self._dropped.add(old.sid)
        if new:
            self._put(new, mutation)

    def _unindex(self, head: Head) -> None:
        path = head.path.encode()
        del self._paths[bisect.bisect_left(self._paths, path)]
        if head.due_ms:
            self._due.remove(Due(head.due_ms, head.sid, head.path))

    def _put(self, head: Head, mutation: Mutation) -> None:
        self._heads[head.path] = head
        bisect.insort(self._paths, head.path.encode())
        if head.due_ms:
            bisect.insort(self._due, Due(head.due_ms, head.sid, head.path))
        self._live.add(head.sid)
        rows = self._rows.setdefault(head.sid, _Incarnation())
        for chunk in mutation.chunks:
            rows.add(chunk)
        for producer in mutation.producers:
            rows.producers[producer.producer_id] = producer
        for producer_id in mutation.forgotten:
            rows.producers.pop(producer_id, None)

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 - the seam's
        """Return consecutive chunks covering ``[start, end)`` from ``start`` on."""
        with self._lock:
            rows = self._rows.get(sid)
            index = rows.position(start) if rows and start < end else None
            if rows is None or index is None:
                return []
            return _pieces(rows, index, (start, end), max_bytes=max_bytes)

    def read_before(self, sid: int, end: int) -> Chunk | None:
        """Return the chunk that holds byte ``end - 1``, cut to stop at ``end``."""
        with self._lock:
            rows = self._rows.get(sid)
            index = rows.position(end - 1) if rows else None
            if rows is None or index is None:
                return None
            offset = rows.offsets[index]
            return Chunk(offset, rows.payloads[offset][: end - offset])

    def touch(self, touches: Sequence[Touch]) -> None:
        """Raise ``touched_ms`` where the incarnation still stands."""
        with self._lock:
            for path, sid, touched_ms in touches:
                head = self._heads.get(path)
                if head and head.sid == sid and head.touched_ms < touched_ms:
                    self._heads[path] = head._replace(touched_ms=touched_ms)

    def scan(self, prefix: str, after: str, limit: int) -> list[Head]:
        """Return up to ``limit`` heads under ``prefix`` and after ``after``."""
        start = prefix.encode()
        with self._lock:
            first = max(bisect.bisect_left(self._paths, start), bisect.bisect_right(self._paths, after.encode()))
            found = self._paths[first : first + limit]
            return [self._heads[path.decode()] for path in found if path.startswith(start)]

    def pack(self, sid: int, start: int, end: int, limit: int) -> int:  # noqa: PLR0917 - the seam's
        """Merge runs of small chunks within ``[start, end)``, up to ``limit`` rows."""
        with self._lock:
            rows = self._rows.get(sid)
            return end if rows is None else rows.pack((start, end), limit)

    def due(self, now_ms: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[Due]:
        """Return up to ``limit`` index rows behind ``after`` whose time has come, earliest first."""
        with self._lock:
            first = bisect.bisect_right(self._due, after, key=lambda row: row[:2])
            return [row for row in self._due[first : first + limit] if row.due_ms <= now_ms]

    def collect(self, limit: int) -> int:
        """Remove up to ``limit`` rows of dropped sids, lowest sid first."""
        removed = 0
        with self._lock:
            for sid in sorted(self._dropped):
                rows = self._rows.get(sid, _Incarnation())
                removed += rows.remove(limit - removed)
                if removed == limit:
                    break
                self._rows.pop(sid, None)
                self._dropped.remove(sid)
                removed += 1
        return removed


def _pieces(rows: _Incarnation, index: int, span: tuple[int, int], *, max_bytes: int) -> list[Chunk]:
    """Cut chunks from the one at ``index`` on to ``span`` until a gap, the end, or ``max_bytes``."""
    position, end = span
    pieces: list[Chunk] = []
    room = max_bytes
    for at in range(index, len(rows.offsets)):
        offset = rows.offsets[at]
        if position >= end or (pieces and offset != position):
            break
        piece = rows.payloads[offset][position - offset : end - offset]
        if pieces and len(piece) > room:
            break
        pieces.append(Chunk(position, piece))
        room -= len(piece)
        position += len(piece)
    return pieces

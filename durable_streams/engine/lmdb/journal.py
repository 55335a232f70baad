"""The journal: appends to many streams as one row, until there is enough of them to be worth their places.

Owns: which commits are journaled, the layout of a journal row, and the overlay: what the journal holds, in memory.
Must not know: transactions.
Invariants:
1. The journal row of a commit is durable before the overlay shows its heads; chunks beyond a head are nobody's yet.
2. The pieces of an incarnation in the overlay follow one another without a gap and lie beyond all its stored chunks.
3. The other databases by themselves are one earlier committed state; the overlay on top of them is the present one.

Why: a commit that appends 100 bytes to each of 64 streams puts a chunk into each of 64 leaf pages. It writes and syncs
64 pages of 4 KiB. As one row of the journal it is 4 pages. When the overlay is full, its rows go to their places in one
transaction, and by then many of them share a page. After a crash the journal is read back into the overlay.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from durable_streams.engine.base import PACKED_BYTES, Chunk
from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.rows import decode_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_streams.engine.lmdb.keys import Buffer
    from durable_streams.engine.lmdb.plan import Plan, Rows
    from durable_streams.engine.lmdb.rows import Stamp

JOURNAL_MAX_BYTES: Final = 2 << 20
"""An overlay of this size is full: its rows go to their places."""
LARGE_FACTOR: Final = 4
"""An overlay is full at this fraction of its size, a fourth, if its streams have ``PIECES_MEAN_MIN`` pieces each."""
PIECES_MEAN_MIN: Final = 8
"""Pieces a stream, on average, from which on they fill enough of a page for it to be written."""
ROW_MEAN_BYTES: Final = 200
"""What a row adds to the size of the overlay beside the stream's own bytes."""
CHUNK_MEAN_MAX_BYTES: Final = 2048
"""A commit whose chunks are larger on average is not journaled. They fill pages, and would be written twice."""

_ENTRY = struct.Struct(">BHI")
"""Kind, size of the key, size of the row; key and row follow."""
_HEAD, _CHUNK, _PRODUCER = range(3)


def encode_entries(plan: Plan) -> bytes:
    """Encode the rows of a plan that ``Overlay.takes``, as one row of the journal."""
    parts: list[bytes] = []
    for kind, rows in ((_HEAD, plan.heads), (_CHUNK, plan.chunks), (_PRODUCER, plan.producers)):
        for key, row in rows.items():
            if row is None:
                raise AssertionError("the journal holds no deletions")
            parts += (_ENTRY.pack(kind, len(key), len(row)), key, row)
    return b"".join(parts)


def decode_entries(row: Buffer) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield kind, key and row of each entry. Raises ``LayoutError``."""
    position = 0
    while position < len(row):
        try:
            kind, key_bytes, row_bytes = _ENTRY.unpack_from(row, position)
        except struct.error as error:
            raise keys.LayoutError(str(error)) from error
        start = position + _ENTRY.size
        position = start + key_bytes + row_bytes
        if kind not in {_HEAD, _CHUNK, _PRODUCER} or position > len(row):
            message = f"journal entry of kind {kind} and {key_bytes} + {row_bytes} bytes at {start - _ENTRY.size}"
            raise keys.LayoutError(message)
        yield kind, bytes(row[start : start + key_bytes]), bytes(row[start + key_bytes : position])


class Pieces:
    """The newest bytes of one incarnation, in consecutive chunks. Only ever added to, so readers need no lock."""

    __slots__ = ("_offsets", "_payloads", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._offsets: list[int] = []
        self._payloads: list[bytes] = []

    def add(self, payload: bytes) -> None:
        """Put a chunk behind the last."""
        self._payloads.append(payload)
        self._offsets.append(self.end)
        self.end += len(payload)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all of them."""
        return map(Chunk._make, zip(self._offsets, self._payloads, strict=True))

    def merged(self, max_bytes: int) -> Iterator[Chunk]:
        """Yield them joined to chunks of up to ``max_bytes``; one that is larger stays alone."""
        first = 0
        joined_bytes = 0
        for index, payload in enumerate(self._payloads):
            if joined_bytes and joined_bytes + len(payload) > max_bytes:
                yield Chunk(self._offsets[first], b"".join(self._payloads[first:index]))
                first, joined_bytes = index, 0
            joined_bytes += len(payload)
        if joined_bytes:
            yield Chunk(self._offsets[first], b"".join(self._payloads[first:]))

    def read(self, start: int, end: int, max_bytes: int, *, found: list[Chunk]) -> None:
        """Add to ``found`` the chunks from ``start`` to ``end``.

        Args:
            start: the offset of the first byte; the first chunk is cut to begin there.
            end: the offset behind the last byte; the last chunk is cut to stop there.
            max_bytes: of all added chunks together, but for the first of ``found``, which may be larger.
            found: chunks before ``start``, or nothing.
        """
        index = bisect_right(self._offsets, start) - 1
        end = min(end, self.end)
        while start < end:
            offset, payload = self._offsets[index], self._payloads[index]
            piece_end = min(offset + len(payload), end)
            max_bytes -= piece_end - start
            if found and max_bytes < 0:
                return
            found.append(Chunk(start, payload[start - offset : piece_end - offset]))
            start, index = piece_end, index + 1

    def before(self, end: int) -> Chunk | None:
        """Return the chunk with byte ``end - 1``, cut to stop at ``end``; ``None`` if that is not here."""
        if not self.start < end <= self.end:
            return None
        index = bisect_right(self._offsets, end - 1) - 1
        return Chunk(self._offsets[index], self._payloads[index][: end - self._offsets[index]])


class Overlay:
    """What the journal holds: newest rows by key, and pieces by sid.

    Thread: only the writer's changes it. A reader takes the overlay first and begins its transaction after that: the
    overlay is replaced by an empty one just after its rows have gone to their places; the other order could miss them.
    """

    def __init__(self) -> None:
        self.heads: dict[bytes, bytes] = {}
        self.stamps: dict[bytes, Stamp | None] = {}
        self.producers: dict[bytes, bytes] = {}
        self.pieces: dict[int, Pieces] = {}
        self.size_bytes = self._piece_count = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.heads)

    def is_full(self, max_bytes: int) -> bool:
        """Whether its rows should go to their places.

        Args:
            max_bytes: its size at which they do in any case; with many pieces a stream, a ``LARGE_FACTOR``-th of it.
        """
        if self.size_bytes * LARGE_FACTOR < max_bytes:
            return False
        return self.size_bytes >= max_bytes or self._piece_count >= PIECES_MEAN_MIN * len(self.pieces)

    def takes(self, plan: Plan, is_beyond: Callable[[int, int], bool]) -> bool:
        """Whether the plan may be journaled: it only appends, in small pieces, behind all that is stored.

        Args:
            plan: of one commit.
            is_beyond: told a sid and an offset, whether no stored chunk of the incarnation has a byte there or later.
        """
        return (
            plan.only_appends
            and plan.chunk_bytes <= CHUNK_MEAN_MAX_BYTES * len(plan.chunks)
            and self._continues(plan.appended, is_beyond)
        )

    def _continues(self, appended: list[tuple[int, Chunk]], is_beyond: Callable[[int, int], bool]) -> bool:
        ends: dict[int, int] = {}
        pieces_of = self.pieces.get
        for sid, (offset, payload) in appended:
            end = ends.get(sid)
            if end is None:
                pieces = pieces_of(sid)
                if pieces is not None:
                    end = pieces.end
                elif is_beyond(sid, offset):
                    end = offset
            if offset != end:
                return False
            ends[sid] = offset + len(payload)
        return True

    def add_pieces(self, plan: Plan) -> None:
        """Take the chunks of a plan. Nobody reads them before ``show``, because no head leads to them."""
        for sid, (offset, payload) in plan.appended:
            pieces = self.pieces.get(sid)
            if pieces is None:
                pieces = self.pieces[sid] = Pieces(offset)
            pieces.add(payload)
        self._count(plan.chunk_bytes, piece_count=len(plan.appended))

    def show(self, plan: Plan) -> None:
        """Show readers the producers and then the heads of a plan. Its journal row must be durable."""
        self.stamps.update(plan.stamps)
        self._show(plan.heads, plan.producers)

    def restore(self, row: Buffer) -> None:
        """Show what a journal row holds. Raises ``LayoutError``."""
        heads: Rows = {}
        producers: Rows = {}
        for kind, key, value in decode_entries(row):
            if kind == _CHUNK:
                self._restore_piece(key, value)
            else:
                (heads if kind == _HEAD else producers)[key] = value
        self.stamps.update((key, decode_stamp(value or b"")) for key, value in heads.items())
        self._show(heads, producers)

    def _restore_piece(self, key: bytes, payload: bytes) -> None:
        sid, offset = keys.decode_chunk(key)
        pieces = self.pieces.get(sid)
        if pieces is None:
            pieces = self.pieces[sid] = Pieces(offset)
        if pieces.end != offset:
            message = f"journaled chunk of incarnation {sid} at {offset} where {pieces.end} comes next"
            raise keys.LayoutError(message)
        pieces.add(payload)
        self._count(len(payload), piece_count=1)

    def _show(self, heads: Rows, producers: Rows) -> None:
        # A plan that only appends deletes no row.
        self.producers.update(producers)  # type: ignore[arg-type]
        self.heads.update(heads)  # type: ignore[arg-type]
        self._count((len(heads) + len(producers)) * ROW_MEAN_BYTES, piece_count=0)

    def _count(self, size_bytes: int, *, piece_count: int) -> None:
        self.size_bytes += size_bytes + piece_count * ROW_MEAN_BYTES
        self._piece_count += piece_count

    def chunk_rows(self) -> Rows:
        """Return the pieces as rows by key, merged as the packer would."""
        return {
            keys.encode_chunk(sid, offset): payload
            for sid, pieces in self.pieces.items()
            for offset, payload in pieces.merged(PACKED_BYTES)
        }

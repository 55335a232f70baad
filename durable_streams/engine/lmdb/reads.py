"""Read chunks and heads within one LMDB read transaction.

Owns: walking the key order of a database.
Must not know: whose transaction it is; every function ends before the transaction does and returns copies.
Invariant: nothing returned refers to the memory map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.engine.base import Chunk, Due
from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.rows import decode_stamp
from durable_streams.engine.lmdb.sums import RowDamagedError, is_sound, row_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lmdb import Cursor

    from durable_streams.engine.lmdb.keys import Buffer


VERIFIED_MAX: Final = 4_096
"""Chunks that are taken to be sound without another look: at 64 KiB each, 256 MiB."""


class Verified(set[tuple[int, int]]):
    """Chunks, by sid and offset, that matched their checksums a moment ago: many read the same at the same time.

    Whoever owns it forgets it about once a second, for the disk may be read anew at any time. It holds few enough that
    what is in it is likely to be in memory still.
    """

    def add(self, place: tuple[int, int]) -> None:
        """Note a chunk."""
        if len(self) >= VERIFIED_MAX:
            self.clear()
        super().add(place)


def seek_chunk(cursor: Cursor[memoryview] | Cursor[bytes], sid: int, position: int) -> int | None:
    """Put the cursor on the chunk of ``sid`` that holds the byte at ``position``; return its offset if there is one."""
    key = keys.encode_chunk(sid, position)
    # Pages end where chunks end, so most reads begin at a chunk's first byte and the step back is rare.
    if cursor.set_range(key):
        if cursor.key() == key:
            return position
        found = cursor.prev()
    else:
        found = cursor.last()
    if not found:
        return None
    found_sid, offset = keys.decode_chunk(cursor.key())
    return offset if found_sid == sid and position < offset + row_bytes(cursor.value()) else None


def is_beyond(cursor: Cursor[memoryview] | Cursor[bytes], sid: int, offset: int) -> bool:
    """Whether no stored chunk of ``sid`` holds a byte at or after ``offset``."""
    key = keys.encode_chunk(sid, offset)
    if not cursor.set_range(key):
        found = cursor.last()
    elif cursor.key()[:8] == key[:8]:
        return False
    else:
        found = cursor.prev()
    if not found:
        return True
    found_sid, start = keys.decode_chunk(cursor.key())
    return found_sid != sid or start + row_bytes(cursor.value()) <= offset


def read_chunks(
    cursor: Cursor[memoryview], sid: int, span: tuple[int, int], *, max_bytes: int, verified: Verified
) -> list[Chunk]:
    """Return copies of the consecutive chunks that cover ``span`` from its start on, as ``Engine.read`` says.

    Raises:
        RowDamagedError: one of them is not what was stored.
    """
    position, end = span
    offset = seek_chunk(cursor, sid, position) if position < end else None
    pieces: list[Chunk] = []
    room = max_bytes
    while offset is not None:
        sealed = cursor.value()
        piece_end = min(offset + row_bytes(sealed), end)
        if pieces and piece_end - position > room:
            break
        if (sid, offset) not in verified:
            _verify(cursor.key(), sealed, (position - offset, piece_end - offset))
            if piece_end - position == row_bytes(sealed):
                verified.add((sid, offset))
        pieces.append(Chunk(position, bytes(sealed[position - offset : piece_end - offset])))
        room -= piece_end - position
        position = piece_end
        offset = _step(cursor, sid, position) if position < end else None
    return pieces


def _verify(key: Buffer, sealed: memoryview, span: tuple[int, int]) -> None:
    """Check a part of a chunk."""
    start, end = span
    if not is_sound(key, sealed, start, end):
        raise RowDamagedError("chunk", key)


def _step(cursor: Cursor[memoryview], sid: int, position: int) -> int | None:
    """Go to the next row; return ``position`` if it is the chunk of ``sid`` at exactly that offset."""
    return position if cursor.next() and cursor.key() == keys.encode_chunk(sid, position) else None


def read_chunk_before(cursor: Cursor[memoryview], sid: int, end: int) -> Chunk | None:
    """Return a copy of the chunk that holds byte ``end - 1``, cut to stop at ``end``. Raises ``RowDamagedError``."""
    offset = seek_chunk(cursor, sid, end - 1) if end > 0 else None
    if offset is None:
        return None
    sealed = cursor.value()
    _verify(cursor.key(), sealed, (0, end - offset))
    return Chunk(offset, bytes(sealed[: end - offset]))


def scan_heads(cursor: Cursor[memoryview], prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and sealed row of heads whose path starts with ``prefix`` and sorts after ``after``, in byte order."""
    found = cursor.set_range(max(prefix, after)) if prefix or after else cursor.first()
    if found and cursor.key() == after:
        found = cursor.next()
    while found and cursor.key()[: len(prefix)] == prefix:
        yield bytes(cursor.key()), bytes(cursor.value())
        found = cursor.next()


def scan_producers(cursor: Cursor[memoryview], sid: int, after: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and sealed row of the producers of ``sid`` whose id sorts after ``after``, in byte order."""
    sid_key = keys.encode_sid(sid)
    found = cursor.set_range(sid_key + after)
    if found and cursor.key() == sid_key + after:
        found = cursor.next()
    while found and cursor.key()[: len(sid_key)] == sid_key:
        yield bytes(cursor.key()), bytes(cursor.value())
        found = cursor.next()


def due_rows(
    cursor: Cursor[memoryview], span: tuple[tuple[int, int], int], load_head: Callable[[bytes], memoryview | None]
) -> Iterator[Due]:
    """Yield the index rows behind a (due_ms, sid) up to a time, earliest first, but for heads that no longer stand."""
    after, now_ms = span
    key = keys.encode_due(*after)
    found = cursor.set_range(key)
    if found and cursor.key() == key:
        found = cursor.next()
    while found:
        due_ms, sid = keys.decode_due(cursor.key())
        if due_ms > now_ms:
            return
        path_key = bytes(cursor.value())
        row = load_head(path_key)
        if row is not None and decode_stamp(row).sid == sid:
            yield Due(due_ms, sid, keys.decode_path(path_key))
        found = cursor.next()

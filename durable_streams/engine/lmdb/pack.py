"""Merge runs of small chunks: what was written one token at a time is read like one batch.

Owns: which neighbouring rows become one. Must not know: whose transaction it is, when packing is worth it.
Invariant: the bytes of the stream and their offsets stay as they are; only where rows begin changes. No bytes get a new
checksum that do not match their old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.reads import seek_chunk
from durable_streams.engine.lmdb.sums import seal, unseal

if TYPE_CHECKING:
    from lmdb import Cursor


def pack_rows(cursor: Cursor[bytes], sid: int, span: tuple[int, int], *, limit: int, target_bytes: int) -> int:
    """Merge consecutive chunks of ``sid`` within ``span``, looking at up to ``limit`` rows.

    Returns: the offset just after the last row looked at; at or past the span's end when there is nothing more.

    Raises:
        RowDamagedError: one of them is not what was stored.
    """
    position, end = span
    rows = _rows(cursor, sid, (position, end), limit=limit)
    run: list[tuple[int, bytes]] = []
    run_bytes = 0
    for offset, payload in rows:
        if run and run_bytes + len(payload) > target_bytes:
            _merge(cursor, sid, run)
            run, run_bytes = [], 0
        run.append((offset, payload))
        run_bytes += len(payload)
    _merge(cursor, sid, run)
    return rows[-1][0] + len(rows[-1][1]) if len(rows) == limit else end


def _rows(cursor: Cursor[bytes], sid: int, span: tuple[int, int], *, limit: int) -> list[tuple[int, bytes]]:
    position, end = span
    rows: list[tuple[int, bytes]] = []
    offset = seek_chunk(cursor, sid, position) if position < end else None
    while offset is not None and len(rows) < limit:
        payload = unseal("chunk", cursor.key(), cursor.value())
        position = offset + len(payload)
        if position > end:
            break
        rows.append((offset, payload))
        follows = position < end and cursor.next() and cursor.key() == keys.encode_chunk(sid, position)
        offset = position if follows else None
    return rows


def _merge(cursor: Cursor[bytes], sid: int, run: list[tuple[int, bytes]]) -> None:
    """Put a run under its first offset and remove the other rows."""
    if len(run) < 2:  # noqa: PLR2004 nothing to merge
        return
    key = keys.encode_chunk(sid, run[0][0])
    cursor.put(key, seal(key, b"".join([payload for _, payload in run])))
    for offset, _ in run[1:]:
        if cursor.set_key(keys.encode_chunk(sid, offset)):
            cursor.delete()

"""Check the journal: what it holds fits on top of the rows that are in their places.

Owns: what the journal's rows promise about heads and chunks.
Must not know: how the store was opened.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.check_heads import is_messages
from durable_streams.engine.lmdb.journal import Overlay
from durable_streams.engine.lmdb.rows import decode_head, decode_producer_row
from durable_streams.engine.lmdb.sums import row_bytes
from durable_streams.protocol.content_types import is_json
from durable_streams.protocol.head import decode_record

if TYPE_CHECKING:
    from durable_streams.engine.lmdb.journal import Pieces
    from durable_streams.engine.lmdb.snapshot import Snapshot
    from durable_streams.protocol.head import Head


def check_journal(snapshot: Snapshot) -> None:
    """Check that each journaled head is a later one of its incarnation, and its pieces lead from tail to tail."""
    overlay = Overlay()
    for number, sealed in snapshot.rows(snapshot.databases.journal):
        where = f"journal row {number.hex()}"
        row = snapshot.opened(where, "it", number, sealed=sealed)
        snapshot.decoded(where, partial(overlay.restore, row))
    sids = set()
    for key, newest in overlay.heads.items():
        head = snapshot.decoded(key.decode(errors="backslashreplace"), partial(_decode_head, key, newest))
        if head is not None:
            sids.add(head.sid)
            _check_head(snapshot, head, overlay.pieces.get(head.sid))
    for sid in overlay.pieces.keys() - sids:
        snapshot.findings.add(f"sid {sid}", "has journaled chunks, but no journaled head")
    for key, newest in overlay.producers.items():
        snapshot.decoded(f"journaled producer row {key.hex()}", partial(_check_producer, snapshot, key, newest))


def _decode_head(key: bytes, row: bytes) -> Head:
    return decode_head(keys.decode_path(key), row)


def _check_head(snapshot: Snapshot, head: Head, pieces: Pieces | None) -> None:
    row = snapshot.txn.get(keys.encode_path(head.path), db=snapshot.databases.head)
    stored = None
    if row is not None:
        stored = snapshot.decoded(head.path, partial(decode_head, head.path, row[: row_bytes(row)]))
    if stored is None or stored.sid != head.sid:
        snapshot.findings.add(head.path, f"journaled incarnation {head.sid} is not the one that stands")
        return
    start, end = (stored.tail, stored.tail) if pieces is None else (pieces.start, pieces.end)
    if (start, end) != (stored.tail, head.tail):
        what = f"journaled chunks lead from {start} to {end}, the tail went from {stored.tail} to {head.tail}"
        snapshot.findings.add(head.path, what)
    if head.due_ms != stored.due_ms:
        snapshot.findings.add(head.path, f"journaled as due at {head.due_ms}, in the due index at {stored.due_ms}")
    if pieces is not None:
        _check_pieces(snapshot, head, pieces)


def _check_pieces(snapshot: Snapshot, head: Head, pieces: Pieces) -> None:
    record = snapshot.decoded(head.path, partial(decode_record, head.record))
    messages = record is not None and is_json(record.content_type)
    for offset, payload in pieces.chunks():
        snapshot.findings.chunk_count += 1
        snapshot.findings.byte_count += len(payload)
        if messages and not is_messages(payload):
            snapshot.findings.add(head.path, f"journaled chunk at {offset} is not whole JSON messages")


def _check_producer(snapshot: Snapshot, key: bytes, row: bytes) -> None:
    sid, producer_id = keys.decode_producer(key)
    decode_producer_row(producer_id, row)
    if not snapshot.has(snapshot.databases.sid, keys.encode_sid(sid)):
        snapshot.findings.add(f"sid {sid}", f"journaled producer {producer_id!r} of an incarnation that does not stand")

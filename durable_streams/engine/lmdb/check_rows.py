"""Check the rows around the heads: indexes lead to heads, and nothing is stored that nobody owns.

Owns: the invariants of ``sid``, ``due`` and ``gc``, and the ownership of chunks and producer rows.
Must not know: what a head's record says.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.rows import decode_producer_row

if TYPE_CHECKING:
    from lmdb import _Database

    from durable_streams.engine.base import ProducerRow
    from durable_streams.engine.lmdb.snapshot import Snapshot

_SID_BYTES = 8


def check_sids(snapshot: Snapshot) -> None:
    """Check that every sid row leads to the head that is this incarnation."""
    for key, path_key in snapshot.rows(snapshot.databases.sid):
        sid = snapshot.decoded(f"sid row {key.hex()}", partial(keys.decode_sid, key))
        if sid is None:
            continue
        stamp = snapshot.stamp_at(path_key)
        if stamp is None or stamp.sid != sid:
            snapshot.findings.add(_printable(path_key), f"is incarnation {sid} by the sid index, but not by its head")


def check_due(snapshot: Snapshot) -> None:
    """Check that every due row is the one its head asks for; that every head has its row is checked with the heads."""
    for key, path_key in snapshot.rows(snapshot.databases.due):
        decoded = snapshot.decoded(f"due row {key.hex()}", partial(keys.decode_due, key))
        if decoded is None:
            continue
        due_ms, sid = decoded
        stamp = snapshot.stamp_at(path_key)
        if stamp is None or (stamp.sid, stamp.due_ms) != (sid, due_ms):
            snapshot.findings.add(_printable(path_key), f"stray due row at {due_ms} for incarnation {sid}")


def check_dropped(snapshot: Snapshot) -> None:
    """Check that no incarnation is both in use and dropped."""
    for key, _ in snapshot.rows(snapshot.databases.gc):
        sid = snapshot.decoded(f"gc row {key.hex()}", partial(keys.decode_sid, key))
        if sid is not None and snapshot.has(snapshot.databases.sid, key):
            snapshot.findings.add(f"sid {sid}", "is in use and marked as dropped")


def check_owners(snapshot: Snapshot) -> None:
    """Check that every chunk and producer row belongs to an incarnation in use or dropped."""
    _check_owners_of(snapshot, snapshot.databases.chunk, "chunks")
    _check_owners_of(snapshot, snapshot.databases.producer, "producer rows")


def check_producers(snapshot: Snapshot) -> None:
    """Check that producer rows decode."""
    for key, sealed in snapshot.rows(snapshot.databases.producer):
        where = f"producer row {key.hex()}"
        row = snapshot.opened(where, "it", key, sealed=sealed)
        snapshot.decoded(where, partial(_decode_producer, key, row))


def _decode_producer(key: memoryview, row: memoryview) -> ProducerRow:
    _, producer_id = keys.decode_producer(key)
    return decode_producer_row(producer_id, row)


def _check_owners_of(snapshot: Snapshot, database: _Database, what: str) -> None:
    """Look at one row of each incarnation, then jump to the next incarnation."""
    cursor = snapshot.txn.cursor(database)
    found = cursor.first()
    while found:
        # Padded, so that a key too short to hold a sid cannot lead the walk backwards.
        sid_key = bytes(cursor.key()[:_SID_BYTES]).ljust(_SID_BYTES, b"\0")
        sid = int.from_bytes(sid_key, "big")
        if not (snapshot.has(snapshot.databases.sid, sid_key) or snapshot.has(snapshot.databases.gc, sid_key)):
            snapshot.findings.add(f"sid {sid}", f"{what} of an incarnation that does not exist")
        found = sid < keys.MAX_SID and cursor.set_range(keys.encode_sid(sid + 1))


def _printable(path_key: memoryview) -> str:
    return bytes(path_key).decode(errors="backslashreplace")

"""Bring a store of format 2, whose rows have no checksums, to format 3, whose rows have.

Owns: which rows change, in which order, and how far that has come.
Must not know: what is in them; the store file, which says before the first slice that one is under way, and after the
    last that it is over.
Invariant: how far it has come is committed together with the rows, so that after a crash no row is sealed twice.

It goes in slices, in place: a store needs no second disk for it, and a server that is killed meanwhile goes on at its
next start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.engine.lmdb.sums import seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmdb import Cursor, Environment, Transaction, _Database

    from durable_streams.engine.lmdb.layout import Databases

MARK_DATABASE: Final = b"upgrade"
SLICE_BYTES: Final = 4 * 1024 * 1024
SLICE_ROWS_MAX: Final = 10_000
_ORDER: Final = ("head", "producer", "chunk", "journal")
_AT: Final = b"to-3"
"""Key of the mark: one byte, how many databases are done; then the last key of the next one that is."""
_log = structlog.get_logger(__name__)


def upgrade(env: Environment, databases: Databases) -> None:
    """Seal every row. Goes on where an earlier call was cut short; does nothing where one came to the end.

    Raises:
        lmdb.Error: there is no room, or a fault; what is done is done.
    """
    mark = env.open_db(MARK_DATABASE)
    _log.info("the store is brought to a new format, which takes a while if it is large")
    rows = 0
    while True:
        with env.begin(write=True) as txn:
            sealed = seal_slice(txn, databases, mark)
        if sealed is None:
            _log.info("the store has its new format", rows=rows)
            return
        rows += sealed


def forget_upgrade(env: Environment) -> None:
    """Remove the mark, once the store file says that it is over."""
    mark = env.open_db(MARK_DATABASE)
    with env.begin(write=True) as txn:
        txn.drop(mark)


def seal_slice(
    txn: Transaction[bytes], databases: Databases, mark: _Database, *, slice_bytes: int = SLICE_BYTES
) -> int | None:
    """Seal the next rows, about so many bytes of them; return how many, ``None`` if all databases are done."""
    at = txn.get(_AT, db=mark) or b"\0"
    done, after = at[0], at[1:]
    if done == len(_ORDER):
        return None
    cursor = txn.cursor(getattr(databases, _ORDER[done]))
    rows = list(_next_rows(cursor, after, slice_bytes))
    for key, row in rows:
        cursor.put(key, seal(key, row))
    txn.put(_AT, bytes((done,)) + rows[-1][0] if rows else bytes((done + 1,)), db=mark)
    return len(rows)


def _next_rows(cursor: Cursor[bytes], after: bytes, slice_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows behind a key, empty for the first ones, until a slice is full."""
    found = cursor.set_range(after) if after else cursor.first()
    if found and cursor.key() == after:
        found = cursor.next()
    size_bytes = count = 0
    while found and size_bytes < slice_bytes and count < SLICE_ROWS_MAX:
        key, row = cursor.item()
        yield key, row
        size_bytes, count = size_bytes + len(row), count + 1
        found = cursor.next()

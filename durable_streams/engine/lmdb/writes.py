"""Write rows within one LMDB write transaction, sealed where they are.

Owns: putting and removing rows of one database in key order; putting journaled rows in their places.
Must not know: whose transaction it is, what was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.engine.lmdb.layout import SEALED
from durable_streams.engine.lmdb.sums import seal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmdb import Transaction

    from durable_streams.engine.lmdb.journal import Overlay
    from durable_streams.engine.lmdb.layout import Databases


def put_rows(txn: Transaction[bytes], databases: Databases, name: str, *, rows: Mapping[bytes, bytes | None]) -> None:
    """Put each row under its key in the database of this name; ``None`` removes what is there."""
    if not rows:
        return
    database = getattr(databases, name)
    if name in SEALED:
        puts = sorted((key, seal(key, row)) for key, row in rows.items() if row is not None)
    else:
        puts = sorted((key, row) for key, row in rows.items() if row is not None)
    if puts:
        txn.cursor(database).putmulti(puts)
    if len(puts) < len(rows):
        for key, row in rows.items():
            if row is None:
                txn.delete(key, db=database)


def place(txn: Transaction[bytes], databases: Databases, overlay: Overlay) -> None:
    """Put the journaled rows in their places, and empty the journal."""
    if overlay:
        put_rows(txn, databases, "chunk", rows=overlay.chunk_rows())
        put_rows(txn, databases, "producer", rows=overlay.producers)
        put_rows(txn, databases, "head", rows=overlay.heads)
        txn.drop(databases.journal, delete=False)

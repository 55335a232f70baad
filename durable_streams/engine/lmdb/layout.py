"""The named databases of one environment, opened.

Owns: their names.
Must not know: what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from lmdb import Environment, Transaction, _Database

SEALED: Final = frozenset({"head", "chunk", "producer", "journal"})
"""Databases whose rows carry checksums (``sums``). What the others hold, these hold as well."""


class Databases(NamedTuple):
    """Handles of the databases; the field names are the databases' names. Layout of keys and rows: ``keys``, ``rows``.

    head: path → head row.
    sid: sid → path of the head that is this incarnation.
    chunk: sid, offset → bytes.
    producer: sid, producer id → epoch, seq; and how far an upload is stored, where that is the newest.
    due: due_ms, sid → path.
    gc: sid of a dropped incarnation whose chunks and producer rows are not all collected → nothing.
    journal: number → rows of ``head``, ``chunk`` and ``producer`` that have not gone to their places yet.
    """

    head: _Database
    sid: _Database
    chunk: _Database
    producer: _Database
    due: _Database
    gc: _Database
    journal: _Database


def create_databases(env: Environment, txn: Transaction[bytes]) -> Databases:
    """Open them all, creating those that are missing; the handles hold once ``txn`` has committed."""
    return Databases._make(env.open_db(name.encode(), txn=txn) for name in Databases._fields)


def open_databases(env: Environment) -> Databases:
    """Open them all in an environment that has them; raises ``lmdb.Error`` if one is missing."""
    return Databases._make(env.open_db(name.encode(), create=False) for name in Databases._fields)

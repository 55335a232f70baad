"""One state of a store, as the passes of a check see it.

Owns: reading rows for a check, and turning what does not decode into a finding.
Must not know: which invariants there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from durable_streams.engine.lmdb.keys import LayoutError
from durable_streams.engine.lmdb.rows import Stamp, decode_stamp
from durable_streams.engine.lmdb.sums import is_sound, row_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lmdb import Transaction, _Database

    from durable_streams.engine.lmdb.layout import Databases
    from durable_streams.engine.lmdb.report import Findings

T = TypeVar("T")


class Snapshot(NamedTuple):
    """What every pass reads, and where it puts what it finds."""

    txn: Transaction[memoryview]
    databases: Databases
    findings: Findings

    def rows(self, database: _Database) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield key and row, in key order; both are views that the next step invalidates."""
        yield from self.txn.cursor(database)

    def opened(self, where: str, what: str, key: memoryview, *, sealed: memoryview) -> memoryview:
        """Return a sealed row's own bytes; add a finding if they do not match their checksum."""
        if not is_sound(key, sealed):
            self.findings.add(where, f"{what} does not match its checksum")
        return sealed[: row_bytes(sealed)]

    def has(self, database: _Database, key: bytes | memoryview) -> bool:
        """Whether there is a row under this key."""
        return self.txn.get(key, db=database) is not None

    def stamp_at(self, path_key: bytes | memoryview) -> Stamp | None:
        """Return the stamp of the head under this key, ``None`` if there is none that decodes."""
        row = self.txn.get(path_key, db=self.databases.head)
        try:
            return None if row is None else decode_stamp(row)
        except LayoutError:
            return None

    def decoded(self, where: str, decode: Callable[[], T]) -> T | None:
        """Return what ``decode`` returns; ``None`` and a finding if it does not decode."""
        try:
            return decode()
        except (ValueError, TypeError) as error:
            self.findings.add(where, f"does not decode: {error}")
            return None

"""Remove, in bounded slices, what dropped incarnations leave behind.

Owns: which rows of a dropped sid go first.
Must not know: whose transaction it is.
Invariant: a sid's mark in ``gc`` goes last, so that nothing is forgotten half removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmdb import Cursor


def collect_rows(gc: Cursor[bytes], databases: Sequence[Cursor[bytes]], limit: int) -> int:
    """Remove up to ``limit`` rows: of the lowest dropped sid, those in each database, then its mark; then the next sid.

    Returns: how many rows, marks included. Fewer than ``limit`` means that no dropped sid is left.
    """
    removed = 0
    while removed < limit and gc.first():
        sid_key = gc.key()
        for cursor in databases:
            removed += _remove_rows(cursor, sid_key, limit - removed)
        if removed < limit:
            gc.delete()
            removed += 1
    return removed


def _remove_rows(cursor: Cursor[bytes], sid_key: bytes, limit: int) -> int:
    removed = 0
    # Deleting puts the cursor on the row after the deleted one.
    found = removed < limit and cursor.set_range(sid_key)
    while found and removed < limit and cursor.key().startswith(sid_key):
        cursor.delete()
        removed += 1
        found = bool(cursor.key())
    return removed

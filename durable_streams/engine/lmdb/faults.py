"""What an error of LMDB means for the store.

Owns: telling "no room left", after which the store goes on, from everything else, after which it does not.
Must not know: transactions, rows.
Invariant: an error is taken for "no room" only where LMDB has left the last committed state as it was.

LMDB writes and syncs a transaction's pages to places that nothing committed refers to, and only then its meta page.
When a page write fails for want of room, aborting forgets those pages, and the next transaction writes them anew:
nothing is retried, and nothing that was acknowledged is involved. When writing its meta page fails, LMDB does no more.
"""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING

import lmdb

from durable_streams.engine.lmdb.datadir import DATA_FILE

if TYPE_CHECKING:
    from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that say that disk, quota or file size is exhausted."""
_PROBE_BYTES = 64 * 1024


def is_no_room(error: Exception, path: Path) -> bool:
    """Whether ``error`` of a write to the store in ``path`` says that map, disk, quota or file size is exhausted."""
    if isinstance(error, lmdb.MapFullError | lmdb.DiskError):
        return True
    code = _code(error)
    # A write that the full disk cuts short, instead of refusing it, reaches us as EIO, which a broken disk gives too.
    return code in NO_ROOM or (code == errno.EIO and _writes_find_no_room(path))


def remedy(error: Exception) -> str:
    """Return what the operator can do about an ``error`` of opening a store."""
    if isinstance(error, lmdb.MapFullError):
        return "raise --map-size-bytes"
    if isinstance(error, lmdb.MemoryError):
        return "lower --map-size-bytes, or raise the limit on address space (ulimit -v)"
    if _code(error) in NO_ROOM:
        return "make room on its disk"
    return "check its permissions and its disk, or restore a backup"


def _code(error: Exception) -> int | None:
    """Return the errno: ``lmdb.Error`` keeps it in ``code``."""
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
    return code if isinstance(code, int) else None


def _writes_find_no_room(path: Path) -> bool:
    """Whether writing beyond the end of the data file finds no room: tried, with a sync, on a file of our own."""
    try:
        end = (path / DATA_FILE).stat().st_size
        with tempfile.TemporaryFile(dir=path) as scratch:
            os.pwrite(scratch.fileno(), bytes(_PROBE_BYTES), end)
            os.fsync(scratch.fileno())
    except OSError as error:
        return error.errno in NO_ROOM
    return False

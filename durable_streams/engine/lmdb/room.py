"""Room: what the store can still write, known without asking the disk for every append.

Owns: the account of room, and the reserve that appends leave for deletes.
Must not know: what is written.
Invariants:
1. While there are journaled rows, the file itself has room behind its last used page to put them all in their places,
   and the reserve beyond that.
2. A commit that adds rows leaves the reserve, behind the last used page or in free pages among the used ones.

The file is made longer before its end is used, in steps: those blocks are the store's own, whatever becomes of the
disk, of a quota or of a limit on the size of files, and a question to the file system would not have told of the latter
two. Once it cannot grow, there are the free pages among the used ones: what deletes and the collector gave back. LMDB
does not tell how many; they are all pages less those of the databases. Pages that a transaction freed can be used by
the next but one: so what an appending commit found free, less what it took, is there for whatever comes after it.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from typing import TYPE_CHECKING, Final

from durable_streams.engine.base import StorageFullError
from durable_streams.engine.lmdb.datadir import DATA_FILE
from durable_streams.engine.lmdb.faults import NO_ROOM

if TYPE_CHECKING:
    from pathlib import Path

    from lmdb import Environment, Transaction, _Database

    from durable_streams.engine.lmdb.journal import Overlay
    from durable_streams.engine.lmdb.layout import Databases
    from durable_streams.engine.lmdb.plan import Plan

RESERVE_BYTES: Final = 512 * 1024
"""What commits that add rows leave, a sixteenth of a smaller map: a delete has to write, too, before it gives back."""
READY_BYTES: Final = 1024 * 1024
"""What must fit beside the reserve for the store to call itself ready, a sixteenth of a smaller map."""
SMALL_MAP_SHARE: Final = 16
PATHS_BYTES: Final = 24 * mmap.PAGESIZE
"""Pages that every commit writes anew beside the rows': the roots of the databases, LMDB's list of free pages."""
ROW_BYTES: Final = 2 * 200
"""What a row adds beside a stream's own bytes: pages that were split are half full."""
STEP_MIN_BYTES: Final = 1024 * 1024
STEP_MAX_BYTES: Final = 32 * 1024 * 1024
STEP_SHARE: Final = 16
"""The file grows by a sixteenth of what is used, between these."""
LIST_SHARE: Final = 16
LIST_PAGES: Final = 8
"""Of what seems free, LMDB's own list of free pages may take a sixteenth, and a few pages."""
_NO_FALLOCATE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class Room:
    """The room of one open store. Thread: the writer's, but for ``check_ready``."""

    def __init__(self, map_size_bytes: int) -> None:
        self._map_size_bytes = map_size_bytes
        self.reserve_bytes = min(RESERVE_BYTES, map_size_bytes // SMALL_MAP_SHARE)
        self._ready_bytes = min(READY_BYTES, map_size_bytes // SMALL_MAP_SHARE)
        self._descriptor: int | None = None
        self._end = 0
        self._stuck = False
        self._tree_pages: tuple[int, int, int] | None = None

    def open(self, path: Path, env: Environment, databases: Databases) -> None:
        """Begin the account of the store in ``path``. Raises ``OSError``."""
        self._path, self._env, self._databases = path, env, databases
        self._descriptor = os.open(path / DATA_FILE, os.O_RDWR | os.O_CLOEXEC)
        self._stuck, self._tree_pages = False, None
        self.refresh()

    def close(self) -> None:
        """End it. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def refresh(self) -> None:
        """Look again how long the file is: after a write that failed."""
        if self._descriptor is not None:
            self._end = os.fstat(self._descriptor).st_size

    def changed(self) -> None:
        """Take note that rows went to their places: the trees may have grown."""
        self._tree_pages = None

    @property
    def file_bytes(self) -> int:
        """How long the file is at least."""
        return self._end

    @property
    def is_short(self) -> bool:
        """Whether the file cannot grow, or not much: room comes from what is freed."""
        return self._behind() < self.reserve_bytes + self._ready_bytes and not self._can_try()

    def holds_journal(self, txn: Transaction[bytes], overlay: Overlay, plan: Plan | None = None) -> bool:
        """Whether the file has the room of the first invariant, with what ``plan`` would add; it grows if it must."""
        return self._grown_to(self.reserve_bytes + self._cost(txn, overlay, plan))

    def require(self, txn: Transaction[bytes], overlay: Overlay, plan: Plan) -> None:
        """Check that the reserve is left when the overlay has gone to its place and ``plan`` is written.

        Args:
            txn: in which nothing has been written yet.
            overlay: what is journaled.
            plan: what adds rows.

        Raises:
            StorageFullError: it may not be.
        """
        wanted = self.reserve_bytes + self._cost(txn, overlay, plan)
        if self._grown_to(wanted) or self._behind() + self._free_bytes(txn) >= wanted:
            return
        if not self._can_grow(wanted):
            message = f"room for less than {wanted} bytes in {self._path}"
            raise StorageFullError(message)

    def check_ready(self, txn: Transaction[memoryview]) -> None:
        """Check that small appends will find room for a while. Writes nothing to the store.

        Raises:
            StorageFullError: they will not.
        """
        wanted = self.reserve_bytes + self._ready_bytes + PATHS_BYTES
        behind = self._behind()
        if behind >= wanted or behind + self._free_bytes(txn) >= wanted or self._may_grow(wanted):
            return
        message = f"room for less than {wanted} bytes in {self._path}"
        raise StorageFullError(message)

    def free_bytes(self, txn: Transaction[memoryview]) -> int:
        """Return what can still be written before the file has to grow."""
        return self._behind() + self._free_bytes(txn)

    def _cost(self, txn: Transaction[bytes], overlay: Overlay, plan: Plan | None) -> int:
        """Return what putting these rows in their places takes at most.

        A row is put by writing its page anew, and no page twice; one page is split into two when it is full.
        """
        if self._tree_pages is None:
            self._tree_pages = self._count_tree_pages(txn)
        heads, producers, streams = len(overlay.heads), len(overlay.producers), len(overlay.pieces)
        size_bytes = 2 * overlay.size_bytes
        if plan is not None:
            heads, producers, streams = (
                heads + len(plan.heads),
                producers + len(plan.producers),
                streams + len(plan.chunks),
            )
            rows = len(plan.heads) + len(plan.producers) + len(plan.chunks) + len(plan.sids) + len(plan.due)
            size_bytes += plan.chunk_bytes + ROW_BYTES * rows
        pages = sum(map(min, (heads, producers, streams), self._tree_pages))
        return PATHS_BYTES + size_bytes + mmap.PAGESIZE * pages

    def _count_tree_pages(self, txn: Transaction[bytes]) -> tuple[int, int, int]:
        databases = self._databases
        return _tree_pages(txn, databases.head), _tree_pages(txn, databases.producer), _tree_pages(txn, databases.chunk)

    def _used(self) -> int:
        return int(self._env.info()["last_pgno"] + 1) * mmap.PAGESIZE

    def _behind(self) -> int:
        """Return the room between the last used page and the end of the file, or of the map."""
        return min(self._end, self._map_size_bytes) - self._used()

    def _free_bytes(self, txn: Transaction[bytes] | Transaction[memoryview]) -> int:
        """Return the room in free pages among the used ones: rather too little than too much."""
        return free_bytes(txn, self._databases, self._used())

    def _grown_to(self, wanted: int) -> bool:
        """Whether so much is behind the last used page; the file grows for it, unless it could not lately."""
        return self._behind() >= wanted or (not self._stuck and self._can_grow(wanted))

    def _can_try(self) -> bool:
        return not self._stuck and self._end < self._map_size_bytes

    def _can_grow(self, wanted: int) -> bool:
        """Make the file so long, and a step longer if that can be."""
        used = self._used()
        target = used + wanted
        if target > self._map_size_bytes or self._descriptor is None:
            return False
        step = min(max(used // STEP_SHARE, STEP_MIN_BYTES), STEP_MAX_BYTES)
        for end in (min(target + step, self._map_size_bytes), target):
            if self._allocate(end):
                break
        self.refresh()
        self._stuck = self._behind() < wanted
        return not self._stuck

    def _allocate(self, end: int) -> bool:
        """Give the file blocks up to ``end``; False if there are none to have."""
        if self._descriptor is None or end <= self._end:
            return True
        try:
            _allocate(self._descriptor, self._end, end)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        return True

    def _may_grow(self, wanted: int) -> bool:
        """Whether the file can probably be made so long; where it could not, a file of our own tells."""
        end = self._used() + wanted
        room = os.statvfs(self._path)
        if end > self._map_size_bytes or room.f_bavail * room.f_frsize < wanted:
            return False
        if self._stuck:
            try:
                with tempfile.TemporaryFile(dir=self._path) as scratch:
                    _allocate(scratch.fileno(), min(self._end, end - 1), end)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                return False
        self._stuck = False
        return True


def free_bytes(txn: Transaction[bytes] | Transaction[memoryview], databases: Databases, used_bytes: int) -> int:
    """Return the bytes of free pages among the used part of a store, rather too few than too many."""
    metas_and_roots = 3
    taken = metas_and_roots + sum(_pages(txn, database) for database in databases)
    free = used_bytes // mmap.PAGESIZE - taken
    return max(0, free - free // LIST_SHARE - LIST_PAGES) * mmap.PAGESIZE


def _pages(txn: Transaction[bytes] | Transaction[memoryview], database: _Database) -> int:
    return _tree_pages(txn, database) + int(txn.stat(database)["overflow_pages"])


def _tree_pages(txn: Transaction[bytes] | Transaction[memoryview], database: _Database) -> int:
    stat = txn.stat(database)
    return int(stat["branch_pages"] + stat["leaf_pages"])


def _allocate(descriptor: int, start: int, end: int) -> None:
    """Give a file blocks from its present end on. Raises ``OSError``."""
    try:
        os.posix_fallocate(descriptor, start, end - start)
    except (AttributeError, OSError) as error:  # not every system and file system can
        if isinstance(error, OSError) and error.errno not in _NO_FALLOCATE:
            raise
        zeros = bytes(min(end - start, STEP_MIN_BYTES))
        while start < end:
            start += os.pwrite(descriptor, zeros[: end - start], start)

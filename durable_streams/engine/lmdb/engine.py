"""The LMDB engine: one memory-mapped B+tree file, one fsynced transaction per commit.

Owns: the environment, its transactions, and what becomes of their errors.
Must not know: any rule of the protocol.
Invariant: no read transaction outlives the call that began it, and no byte handed out refers to the map.

Guarantees, by LMDB's options: ``sync`` and ``metasync`` on, so a commit returns after its data and then its meta page
are on disk; ``writemap`` and ``map_async`` off, so no stray write of this process can reach the file.
"""

from __future__ import annotations

import mmap
import os
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import lmdb
import structlog

from durable_streams.engine.base import (
    PACKED_BYTES,
    EngineError,
    EngineFailedError,
    RefusedToStartError,
    StorageFullError,
)
from durable_streams.engine.lmdb import keys, reads
from durable_streams.engine.lmdb.collect import collect_rows
from durable_streams.engine.lmdb.datadir import DataDir
from durable_streams.engine.lmdb.faults import is_no_room, remedy
from durable_streams.engine.lmdb.journal import JOURNAL_MAX_BYTES, Overlay, encode_entries
from durable_streams.engine.lmdb.layout import Databases, create_databases
from durable_streams.engine.lmdb.pack import pack_rows
from durable_streams.engine.lmdb.plan import Plan
from durable_streams.engine.lmdb.room import Room
from durable_streams.engine.lmdb.rows import Stamp, decode_head, decode_producer_row, decode_stamp, touched_row
from durable_streams.engine.lmdb.sums import RowDamagedError, is_sound, seal, unseal
from durable_streams.engine.lmdb.upgrade import forget_upgrade, upgrade
from durable_streams.engine.lmdb.writes import place, put_rows
from durable_streams.protocol.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import NoReturn

    from lmdb import Environment, Transaction

    from durable_streams.engine.base import Chunk, Due, Mutation, Outcome, ProducerRow, Touch
    from durable_streams.protocol.head import Head

_log = structlog.get_logger(__name__)
DEFAULT_MAP_SIZE_BYTES = 1 << 40
"""1 TiB of address space; the file grows only as it is written."""
MAX_READERS = 1024
"""Read transactions at a time, over all processes that have the store open."""
SMALLER_SLICE = 8
"""Rows are collected in slices of an eighth, and so on, where a slice finds no room."""
TOLD_MAX = 1_000
"""Damaged rows that the log tells of once; of more, each time."""
NO_STAMP = Stamp(-1, -1, 0)
"""Of a head that cannot be told from any other."""
FAULT_POINTS = ("before-commit", "between-chunk-and-head", "after-commit")
"""Where ``commit`` calls the ``fault`` hook."""


class LmdbEngine:
    """Store streams durably in one directory, for one process at a time.

    Thread: every method may be called from any thread, writes from one at a time. All of them block, and ``close``
    needs every other call to have ended.
    """

    name = "lmdb"
    durable = True
    shared = False

    def __init__(
        self,
        data_dir: Path,
        *,
        map_size_bytes: int = DEFAULT_MAP_SIZE_BYTES,
        require_store: bool = False,
        fault: Callable[[str], None] | None = None,
        journal_max_bytes: int = JOURNAL_MAX_BYTES,
    ) -> None:
        """Remember where the store is; ``open`` opens it.

        Args:
            data_dir: the directory that holds the store and nothing else.
            map_size_bytes: upper bound of the file's size, rounded down to whole pages; reaching it raises
                ``StorageFullError``.
            require_store: whether to refuse where no complete store is, instead of beginning one.
            fault: called with each of ``FAULT_POINTS`` as commits pass it; for tests that end the process there.
            journal_max_bytes: how much is journaled before it goes to its places; a 64th of a small map.
        """
        self._data_dir = data_dir
        self._map_size_bytes = map_size_bytes - map_size_bytes % mmap.PAGESIZE
        self._require_store = require_store
        self._fault = fault
        self._journal_max_bytes = min(journal_max_bytes, self._map_size_bytes // 64)
        self._room = Room(self._map_size_bytes)
        self._freed = False
        self._overlay = Overlay()
        self._journal_number = 0
        self._directory: DataDir | None = None
        self._env: Environment | None = None
        self._failure: str | None = None
        self._told: set[bytes] = set()
        self._verified = reads.Verified()

    def open(self) -> None:
        """Lock the data directory and open the store in it, creating it where the rules of ``datadir`` allow.

        Raises:
            RefusedToStartError: the directory is another's, incomplete, unwritable, or holds something else.
        """
        directory = DataDir.acquire(self._data_dir, require_store=self._require_store)
        try:
            self._open_environment(directory)
        except (lmdb.Error, OSError, keys.LayoutError, RowDamagedError) as error:
            self._close_environment()
            directory.release()
            message = f"the store in {directory.path} cannot be opened ({error}): {remedy(error)}"
            raise RefusedToStartError(message) from error
        except BaseException:
            self._close_environment()
            directory.release()
            raise
        self._directory = directory

    def _open_environment(self, directory: DataDir) -> None:
        env = lmdb.open(
            os.fsencode(directory.path),
            map_size=self._map_size_bytes,
            max_dbs=len(Databases._fields) + 1,  # and that of an upgrade
            max_readers=MAX_READERS,
            # Catching up on a long stream is the read that waits for the disk: 200 MB cold took 0.8 s with the kernel's
            # readahead and 6.8 s without (chunks of 2 kB). Without it, reads at random places of a store larger than
            # memory would be faster; how far the kernel reads ahead is set per disk (``read_ahead_kb``).
            readahead=True,
            # One finished read transaction is kept for the next call, which spares it the mutex of the reader table.
            max_spare_txns=1,
            # The format of LMDB 0.9, whatever the environment says.
            lib_version=0,
        )
        self._env = env
        with env.begin(write=True) as txn:
            self._databases = create_databases(env, txn)
        if directory.is_upgrading:
            upgrade(env, self._databases)
        directory.mark_ready()
        if directory.is_upgrading:
            forget_upgrade(env)
        self._room.open(directory.path, env, self._databases)
        self._restore_journal(env)
        with suppress(
            StorageFullError
        ):  # a store from when less was set aside; appends are refused until there is room
            self._keep_journal_room()

    def _restore_journal(self, env: Environment) -> None:
        """Show what was journaled and has not gone to its places: after a crash, or where a copy was restored."""
        overlay, number = Overlay(), 0
        with env.begin(db=self._databases.journal, buffers=True) as txn:
            for key, row in txn.cursor():
                overlay.restore(unseal("journal", key, row))
                number = keys.decode_journal(key) + 1
        self._overlay, self._journal_number = overlay, number

    def close(self) -> None:
        """Close the store and unlock the directory. Idempotent."""
        if self._env is not None and self._failure is None:
            with suppress(EngineError), self._in_place():  # what cannot go to its place now stays journaled
                pass
        self._close_environment()
        if self._directory is not None:
            self._directory.release()
            self._directory = None

    def _close_environment(self) -> None:
        self._room.close()
        if self._env is not None:
            self._env.close()
            self._env = None

    def load(self, paths: Sequence[str]) -> list[Head | None]:
        """Return the heads at these paths."""
        self._usable()
        encoded = [keys.encode_path(path) for path in paths]
        found = self._rows("head", encoded, self._overlay.heads)
        rows = zip(paths, (found.get(key) for key in encoded), strict=True)
        return [None if row is None else decode_head(path, row) for path, row in rows]

    def load_producers(self, keys_: Sequence[tuple[int, str]]) -> list[ProducerRow | None]:
        """Return the rows of these (sid, producer id) pairs."""
        self._usable()
        encoded = [keys.encode_producer(sid, producer_id) for sid, producer_id in keys_]
        found = self._rows("producer", encoded, self._overlay.producers)
        rows = zip(keys_, (found.get(key) for key in encoded), strict=True)
        return [None if row is None else decode_producer_row(producer_id, row) for (_, producer_id), row in rows]

    def _rows(self, name: str, wanted: list[bytes], overlay: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Return the rows under these keys of the database of this name, the newest of each."""
        newest = zip(wanted, tuple(map(overlay.get, wanted)), strict=True)  # one step for the writer's thread
        found = {key: row for key, row in newest if row is not None}
        missing = [key for key in wanted if key not in found]
        if missing:
            with self._reading() as txn:
                stored = txn.cursor(getattr(self._databases, name)).getmulti(missing)
                found.update((bytes(key), unseal(name, key, row)) for key, row in stored)
        return found

    def scan_producers(self, sid: int, after: str, limit: int) -> list[ProducerRow]:
        """Return up to ``limit`` rows of ``sid`` after ``after``, by UTF-8 byte order."""
        start = keys.encode_sid(sid)
        newest = {
            key: row
            for key, row in tuple(self._overlay.producers.items())
            if key.startswith(start) and key > start + after.encode()
        }
        with self._reading() as txn:
            cursor = txn.cursor(self._databases.producer)
            stored = islice(reads.scan_producers(cursor, sid, after.encode()), limit)
            rows = {**{key: unseal("producer", key, row) for key, row in stored}, **newest}
        return [decode_producer_row(keys.decode_producer(key)[1], rows[key]) for key in sorted(rows)[:limit]]

    def commit(
        self, groups: Sequence[Sequence[Mutation]], *, on_written: Callable[[], None] | None = None
    ) -> list[Outcome]:
        """Apply each group whole or not at all, in one durable transaction.

        1. Begin the one write transaction; it sees everything committed before.
        2. Load the heads that the groups speak of.
        3. Plan: check group by group, and collect the rows that the admitted ones change.
        4. Journal the rows, if all they do is to append little to many streams. Else empty the journal and write
           chunks and producer rows, then the index rows and heads, each database in key order.
        5. Commit: LMDB writes the pages, syncs, writes the meta page, syncs.

        A commit whose groups are all refused writes and syncs nothing.

        Raises:
            StorageFullError: nothing at all was applied.
            LayoutError: a path or producer id is too long for a key; nothing at all was applied.
            EngineFailedError: nothing is certain.
        """
        written = on_written or (lambda: None)
        try:
            return self._commit(groups, written)
        except StorageFullError:
            self._came_to_nothing()
            if not self._make_usable():
                raise
        try:
            return self._commit(groups, written)
        except StorageFullError:
            self._came_to_nothing()
            raise

    def _came_to_nothing(self) -> None:
        """Forget the pieces of a commit that found no room, and what was thought of the file."""
        self._restore_journal(self._usable())
        self._room.refresh()

    def _make_usable(self) -> bool:
        """Do what may turn into room when there is none; whether there was anything to do.

        Journaled rows are put in their places, which takes less than is set aside for it; or, once after each delete,
        a turn is made, for LMDB uses the pages that it freed only then.
        """
        try:
            if self._overlay:
                with self._in_place():
                    pass
            elif self._freed:
                self._turn()
            else:
                return False
        except StorageFullError:
            return False
        return True

    def _commit(self, groups: Sequence[Sequence[Mutation]], on_written: Callable[[], None]) -> list[Outcome]:
        overlay = self._overlay
        with self._writing() as txn:
            path_keys = {mutation.path: keys.encode_path(mutation.path) for group in groups for mutation in group}
            plan = Plan(path_keys, self._stamps(txn, path_keys), lambda sid_key: self._is_taken(txn, sid_key))
            outcomes = [plan.apply(group) for group in groups]
            journaled = (
                not overlay.is_full(self._journal_max_bytes)
                and overlay.takes(plan, partial(reads.is_beyond, txn.cursor(self._databases.chunk)))
                and self._room.holds_journal(txn, overlay, plan)
            )
            if journaled:
                self._journal(txn, plan)
                overlay.add_pieces(plan)  # here, where the loop stands still; afterwards it does not
            elif plan.heads:
                if plan.adds:
                    self._room.require(txn, overlay, plan)
                place(txn, self._databases, overlay)
                self._write(txn, plan)
            self._pass("before-commit")
            on_written()
        if journaled:
            overlay.show(plan)
        elif plan.heads:
            self._overlay = Overlay()
            self._room.changed()
            self._freed = self._freed or bool(plan.gc)
        self._pass("after-commit")
        return outcomes

    def _stamps(self, txn: Transaction[bytes], path_keys: Mapping[str, bytes]) -> dict[bytes, Stamp | None]:
        known = self._overlay.stamps
        stamps = {key: known[key] for key in path_keys.values() if key in known}
        if len(stamps) < len(path_keys):
            missing = sorted(key for key in path_keys.values() if key not in known)
            stored = txn.cursor(self._databases.head).getmulti(missing)
            # A damaged head is no head that anybody expects: it is left to whoever loads it to be told.
            stamps.update((key, decode_stamp(row) if is_sound(key, row) else NO_STAMP) for key, row in stored)
        return stamps

    def _journal(self, txn: Transaction[bytes], plan: Plan) -> None:
        self._pass("between-chunk-and-head")
        key = keys.encode_journal(self._journal_number)
        if not txn.put(key, seal(key, encode_entries(plan)), db=self._databases.journal, append=True):
            raise EngineFailedError(f"the journal in {self._data_dir} goes on beyond its last number")
        self._journal_number += 1

    def _is_taken(self, txn: Transaction[bytes], sid_key: bytes) -> bool:
        return (
            txn.get(sid_key, db=self._databases.sid) is not None or txn.get(sid_key, db=self._databases.gc) is not None
        )

    def _write(self, txn: Transaction[bytes], plan: Plan) -> None:
        databases = self._databases
        put_rows(txn, databases, "chunk", rows=plan.chunks)
        put_rows(txn, databases, "producer", rows=plan.producers)
        self._pass("between-chunk-and-head")
        put_rows(txn, databases, "sid", rows=plan.sids)
        put_rows(txn, databases, "due", rows=plan.due)
        put_rows(txn, databases, "gc", rows=plan.gc)
        put_rows(txn, databases, "head", rows=plan.heads)

    def _pass(self, point: str) -> None:
        if self._fault is not None:
            self._fault(point)

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 - the seam's
        """Return consecutive chunks covering ``[start, end)`` from ``start`` on, copied."""
        self._usable()
        pieces = self._overlay.pieces.get(sid)
        found: list[Chunk] = []
        if pieces is None or start < pieces.start:
            stored_end = end if pieces is None else min(end, pieces.start)
            with self._reading() as txn:
                cursor = txn.cursor(self._databases.chunk)
                found = reads.read_chunks(
                    cursor, sid, (start, stored_end), max_bytes=max_bytes, verified=self._verified
                )
            if found:
                start = found[-1].offset + len(found[-1].payload)
                max_bytes -= sum(len(chunk.payload) for chunk in found)
        if pieces is not None and start >= pieces.start:
            pieces.read(start, end, max_bytes, found=found)
        return found

    def read_before(self, sid: int, end: int) -> Chunk | None:
        """Return the chunk that holds byte ``end - 1``, cut to stop at ``end``."""
        self._usable()
        pieces = self._overlay.pieces.get(sid)
        if pieces is not None and end > pieces.start:
            return pieces.before(end)
        with self._reading() as txn:
            return reads.read_chunk_before(txn.cursor(self._databases.chunk), sid, end)

    def touch(self, touches: Sequence[Touch]) -> None:
        """Raise ``touched_ms`` durably where the incarnation still stands; nothing is synced where nothing changes."""
        with self._in_place() as txn:
            stored = dict(
                txn.cursor(self._databases.head).getmulti(sorted({keys.encode_path(touch.path) for touch in touches}))
            )
            changed: dict[bytes, bytes | None] = {}
            for path, sid, touched_ms in touches:
                key = keys.encode_path(path)
                row = changed.get(key) or self._sound(key, stored.get(key))
                if row is not None and (new := touched_row(row, sid, touched_ms)) is not None:
                    changed[key] = new
            put_rows(txn, self._databases, "head", rows=changed)

    @staticmethod
    def _sound(key: bytes, sealed: bytes | None) -> bytes | None:
        """Return a head row that can be touched: a damaged one stays as it is, for whoever asks for it to be told."""
        return unseal("head", key, sealed) if sealed is not None and is_sound(key, sealed) else None

    def scan(self, prefix: str, after: str, limit: int) -> list[Head]:
        """Return up to ``limit`` heads under ``prefix`` and after ``after``, by UTF-8 byte order."""
        newest = self._overlay.heads
        with self._reading() as txn:
            rows = reads.scan_heads(txn.cursor(self._databases.head), prefix.encode(), after.encode())
            found = (self._scanned(key, newest.get(key), row) for key, row in rows)
            return list(islice((head for head in found if head is not None), limit))

    def _scanned(self, key: bytes, newest: bytes | None, sealed: bytes) -> Head | None:
        """Return the head that a scan came to; ``None``, and a line in the log, for one that is damaged."""
        if newest is None and not is_sound(key, sealed):
            self._tell(RowDamagedError("head", key))
            return None
        return decode_head(keys.decode_path(key), newest or unseal("head", key, sealed))

    def due(self, now_ms: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[Due]:
        """Return up to ``limit`` index rows behind ``after`` whose time has come, earliest first."""
        with self._reading() as txn:
            cursor, head = txn.cursor(self._databases.due), self._databases.head
            rows = reads.due_rows(cursor, (after, now_ms), lambda key: txn.get(key, db=head))
            return list(islice(rows, limit))

    def collect(self, limit: int) -> int:
        """Remove up to ``limit`` rows of dropped sids in one transaction, lowest sid first."""
        # A process that was killed in a read, say a backup, would keep every page freed since from being used again.
        self._usable().reader_check()
        removed = self._collect(limit)
        self._freed = self._freed or removed > 0
        if 0 < removed < limit and self._room.is_short:
            self._turn()
        return removed

    def _collect(self, limit: int) -> int:
        """Remove as many rows as there is room for: the list of what a transaction frees takes pages in one piece."""
        try:
            with self._writing() as txn:
                return collect_rows(
                    txn.cursor(self._databases.gc),
                    (txn.cursor(self._databases.chunk), txn.cursor(self._databases.producer)),
                    limit,
                )
        except StorageFullError:
            self._room.refresh()
            if limit == 1:
                raise
        removed = self._collect(max(1, limit // SMALLER_SLICE))
        return limit if removed else 0  # there is more, however little this was

    def _turn(self) -> None:
        """Commit next to nothing, so that what was freed can be used.

        LMDB uses what one transaction freed in the next but one; appends that wait for the room fail, and do not count.
        """
        key = keys.encode_sid(keys.MAX_SID)
        with self._writing() as txn:
            txn.put(key, b"", db=self._databases.gc)
            txn.delete(key, db=self._databases.gc)
        self._freed = False

    def pack(self, sid: int, start: int, end: int, limit: int) -> int:  # noqa: PLR0917 - the seam's
        """Merge runs of small chunks within ``[start, end)``, up to ``limit`` rows in one transaction."""
        if self._room.is_short:
            return end  # merging takes room first, and what it frees is free later
        with self._writing() as txn:  # what is journaled is merged on its way to its place
            cursor = txn.cursor(self._databases.chunk)
            packed = pack_rows(cursor, sid, (start, end), limit=limit, target_bytes=PACKED_BYTES)
        self._room.changed()
        self._keep_journal_room()
        return packed

    def _keep_journal_room(self) -> None:
        """Put journaled rows in their places while there is room for it, if something else has taken of that room."""
        if not self._overlay:
            return
        with self._writing() as txn:  # and nothing written: only what the file is given
            held = self._room.holds_journal(txn, self._overlay)
        if not held:
            with self._in_place():
                pass

    def probe(self) -> None:
        """Check that the directory is still the one opened and that there is room for appends.

        From here on, what is read is verified anew.
        """
        self._usable()
        self._verified.clear()
        if self._directory is not None:
            self._directory.verify(self._room.file_bytes)  # whoever asks decides: nothing was written yet
        with self._reading() as txn:
            self._room.check_ready(txn)

    def copy_to(self, descriptor: int, *, compact: bool) -> None:
        """Write a snapshot of the LMDB data file to an open file, while commits go on.

        Raises:
            EngineFailedError: reading failed.
            OSError: writing the copy failed.
        """
        env = self._usable()
        try:
            env.copyfd(descriptor, compact=compact)
        except lmdb.Error as error:
            code = getattr(error, "code", 0)
            raise OSError(code, f"copying failed: {error}") from error

    def _usable(self) -> Environment:
        if self._failure is not None:
            raise EngineFailedError(self._failure)
        if self._env is None:
            message = "the engine is not open"
            raise EngineFailedError(message)
        return self._env

    @contextmanager
    def _reading(self) -> Iterator[Transaction[memoryview]]:
        env = self._usable()
        try:
            with env.begin(buffers=True) as txn:
                yield txn
        except RowDamagedError as damage:
            raise self._tell(damage) from damage
        except (lmdb.CorruptedError, lmdb.PageNotFoundError) as error:
            _log.error("a damaged page", error=str(error), data_dir=str(self._data_dir))
            raise DamagedError("", f"a page of the store: {error}") from error
        except lmdb.ReadersFullError as error:
            message = f"more than {MAX_READERS} reads at a time"
            raise EngineFailedError(message) from error
        except lmdb.Error as error:
            self._fail(error)

    @contextmanager
    def _writing(self) -> Iterator[Transaction[bytes]]:
        """Begin a write transaction; commit it at the end, abort it on any error; see that the files are still ours."""
        env = self._usable()
        try:
            with env.begin(write=True) as txn:
                yield txn
        except RowDamagedError as damage:
            raise self._tell(damage) from damage
        except (lmdb.Error, OSError) as error:
            if is_no_room(error, self._data_dir):
                raise StorageFullError(str(error)) from error
            self._fail(error)
        self._check_files()  # what was committed into a file that is no longer there is not to be acknowledged

    def _check_files(self) -> None:
        """Check that the files in use are the ones that the next start would find. Raises ``EngineFailedError``."""
        if self._directory is not None:
            try:
                self._directory.verify(self._room.file_bytes)
            except EngineFailedError as error:
                self._fail(error)

    @contextmanager
    def _in_place(self) -> Iterator[Transaction[bytes]]:
        """As ``_writing``, with every journaled row in its place."""
        overlay = self._overlay
        with self._writing() as txn:
            place(txn, self._databases, overlay)
            yield txn
        self._overlay = Overlay()
        self._room.changed()

    def _tell(self, damage: RowDamagedError) -> DamagedError:
        """Log a damaged row, once, under the path of its stream; return what to raise."""
        path_key: bytes | None = damage.key
        if damage.database != "head":
            with self._usable().begin() as txn:
                path_key = txn.get(damage.key[:8], db=self._databases.sid)
        path = (path_key or b"").decode(errors="backslashreplace")
        if damage.key not in self._told:
            if len(self._told) < TOLD_MAX:
                self._told.add(damage.key)
            _log.error("a damaged row", path=path, row=str(damage), data_dir=str(self._data_dir))
        return DamagedError(path, str(damage))

    def _fail(self, error: Exception) -> NoReturn:
        """Stop for good: after a failed write or sync the disk may hold anything, and asking again does not tell."""
        self._failure = f"the store in {self._data_dir} has failed and takes no more calls: {error}"
        _log.critical(self._failure)
        raise EngineFailedError(self._failure) from error

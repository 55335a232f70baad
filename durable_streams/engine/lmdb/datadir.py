"""The data directory: whose it is, what is in it, and whether this process may have it.

Owns: the store file (format version and lock), and the rules by which a directory is created, opened or refused.
Must not know: what LMDB keeps in its files.
Invariant: a new store begins only where nobody has put anything, or where a store was begun and never completed; and
    nowhere at all if one is required, for a disk that is not mounted looks like an empty directory.

The store file ``store.json`` holds one line of JSON, padded with spaces to ``STORE_FILE_BYTES`` and rewritten in place
by a single write, so that a crash leaves the old line or the new one. Its ``flock`` is held while the store is open.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING

import structlog

from durable_streams.engine.base import EngineFailedError, RefusedToStartError
from durable_streams.engine.files import ensure_file, is_empty, make_directory, restrict, sync_directory
from durable_streams.engine.lmdb.extent import extent_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

STORE_FILE = "store.json"
DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
FORMAT = 3
"""Version of the layout in ``keys``, ``rows``, ``sums`` and ``journal``. Raise it with any change of one."""
UPGRADED = frozenset({2})
"""Older formats that a server brings to the present one as it opens them (``upgrade``)."""
STORE_FILE_BYTES = 256

_ONCE_WITHOUT = "to make a new store there, start once without --require-store"

_CREATING = "creating"
_READY = "ready"
_UPGRADING = "upgrading"
_log = structlog.get_logger(__name__)


class DataDir:
    """A locked data directory. Made by ``acquire``."""

    def __init__(self, path: Path, descriptor: int, *, is_upgrading: bool) -> None:
        """Wrap the open, locked store file of ``path``; is_upgrading: the store in it is not of our format yet."""
        self.path, self.is_upgrading = path, is_upgrading
        self._descriptor: int | None = descriptor
        self._watched = [path / name for name in (DATA_FILE, STORE_FILE, LOCK_FILE)]
        self._identity = [_identity(file.stat()) for file in self._watched]

    @classmethod
    def acquire(cls, path: Path, *, require_store: bool) -> DataDir:
        """Create or open the directory, lock it against every other process, and make its files as they should be.

        Args:
            path: the directory; it is created if it is missing and its parent exists.
            require_store: whether to refuse where no complete store is.

        Raises:
            RefusedToStartError: see the module's docstring; the message says what to do.
        """
        path = path.absolute()
        try:
            found = _prepare(path, require_store=require_store)
            descriptor, state = _lock_store_file(path, require_store=require_store)
            try:
                if state == _CREATING:
                    _log.info("new store", data_dir=str(path), found=found)
                _prepare_files(path)
                refuse_cut(path)
                return cls(path, descriptor, is_upgrading=state == _UPGRADING)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            _refuse(f"data directory {path} cannot be used ({error.strerror}): check its owner, permissions and mount")

    def mark_ready(self) -> None:
        """Make the directory's entries durable, then record that the store in it is complete."""
        if self._descriptor is None:
            raise AssertionError("the directory was released")
        for directory in (self.path, self.path.parent):
            sync_directory(directory)
        write_store_file(self._descriptor, _READY)

    def verify(self, data_bytes: int = 0) -> None:
        """Check that the path still leads to the files that were opened, whole.

        Args:
            data_bytes: how long the data file is at least.

        Raises:
            EngineFailedError: the directory or one of its files was removed, replaced, unmounted or cut.

        Cost: three calls of ``stat``, 5 to 10 µs.
        """
        try:
            found = [file.stat() for file in self._watched]
        except OSError:
            found = []
        if [_identity(status) for status in found] != self._identity:
            what = "was, or files in it were, removed or replaced"
        elif found[0].st_size < data_bytes:
            what = f"has lost the end of its {DATA_FILE} ({found[0].st_size} bytes of {data_bytes})"
        else:
            return
        raise EngineFailedError(f"data directory {self.path} {what} while in use: stop, restore it, start again")

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_complete(path: Path, *, exclusive: bool) -> int:
    """Lock a complete store against servers, writing nothing; return the descriptor that holds the lock.

    exclusive: against others that only read, too.

    Raises:
        RefusedToStartError: there is no complete store of a known format, or a server has it open.
    """
    descriptor = open_store_file(path)
    try:
        _lock(path, descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        require_complete(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_store_file(path: Path) -> int:
    """Open the store file of ``path`` for reading; the caller closes the descriptor.

    Raises:
        RefusedToStartError: there is none.
    """
    try:
        return os.open(path / STORE_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        _refuse(f"{path} holds no store that can be read ({error.strerror}): name the data directory of a server")


def require_complete(path: Path, descriptor: int) -> None:
    """Check that the store file of ``path`` names a known format and that the store it speaks of is there.

    Raises:
        RefusedToStartError: it does not or it is not.
    """
    state = _read_state(path, descriptor)
    if state == _UPGRADING:
        _refuse(f"the store in {path} is of an earlier format: start a server on it once, with room on its disk")
    if state != _READY:
        _refuse(f"the store in {path} was never completed: start a server on it, or remove it")


def refuse_cut(path: Path) -> None:
    """Check that the data file of ``path`` is as long as the store in it: LMDB would not notice before it is too late.

    Raises:
        RefusedToStartError: it is shorter.
    """
    extent = extent_of(path / DATA_FILE)
    if extent.is_cut:
        lost = f"has lost the end of its {DATA_FILE} ({extent.found} bytes of {extent.wanted})"
        _refuse(f"the store in {path} {lost}: restore the directory from a backup")


def write_store_file(descriptor: int, state: str = _READY) -> None:
    """Write and fsync the one line of the store file."""
    line = json.dumps({"format": FORMAT, "engine": "lmdb", "state": state, "pid": os.getpid()})
    os.pwrite(descriptor, line.encode().ljust(STORE_FILE_BYTES - 1) + b"\n", 0)
    os.fsync(descriptor)


def _prepare(path: Path, *, require_store: bool) -> str:
    """Leave a directory behind that holds a store file, or is allowed to get one; refuse any other.

    Returns what was found, in a word for the operator.
    """
    if not path.exists():
        _make(path, require_store=require_store)
        return "nothing"
    if not path.is_dir():
        _refuse(f"data directory {path} is not a directory: name another one")
    if is_empty(path):
        if require_store:
            _refuse(f"data directory {path} is empty (disk not mounted?): mount it; {_ONCE_WITHOUT}")
        return "an empty directory"
    if not (path / STORE_FILE).exists():
        _refuse(f"data directory {path} holds other files and no store: name another one, or empty it")
    return "a start that was cut short"


def _make(path: Path, *, require_store: bool) -> None:
    if path.is_symlink():
        _refuse(f"data directory {path} is a link to {path.readlink()}, which is missing: mount it, or create it")
    if require_store:
        _refuse(f"data directory {path} is missing (disk not mounted?): mount it; {_ONCE_WITHOUT}")
    if not path.parent.is_dir():
        _refuse(f"data directory {path} has no parent directory: create {path.parent} first")
    make_directory(path)


def _lock_store_file(path: Path, *, require_store: bool) -> tuple[int, str]:
    """Return the descriptor that holds the lock, and how far the store has come."""
    if not require_store:
        ensure_file(path / STORE_FILE)
    descriptor = os.open(path / STORE_FILE, os.O_RDWR | os.O_CLOEXEC)
    try:
        _lock(path, descriptor, fcntl.LOCK_EX)
        state = _read_state(path, descriptor)
        if state == _CREATING and require_store:
            _refuse(f"the store in {path} was never completed: {_ONCE_WITHOUT}")
        write_store_file(descriptor, state)
        if state == _CREATING:
            # What a start that was cut short has left, in whatever condition: nothing was acknowledged from it.
            (path / DATA_FILE).unlink(missing_ok=True)
            sync_directory(path)  # no power cut leaves a data file without a store file
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, state


def _prepare_files(path: Path) -> None:
    """Make LMDB's files before it does, with our modes and owner, and correct those of files that are there."""
    for name in (DATA_FILE, LOCK_FILE):
        ensure_file(path / name)
    for name in (STORE_FILE, DATA_FILE, LOCK_FILE):
        restrict(path / name)


def _lock(path: Path, descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _read_line(descriptor).get("pid", "unknown")
        _refuse(f"data directory {path} is in use by process {owner}: stop it, or name another directory")


def _read_state(path: Path, descriptor: int) -> str:
    """Return how far the store has come: ``_CREATING`` as long as nothing can have been acknowledged from it.

    ``_UPGRADING`` from when a server may have begun to write the rows of an earlier format anew.
    """
    if not os.pread(descriptor, STORE_FILE_BYTES, 0).strip(b"\0"):
        # The first start was cut before its first sync: there is no data file then, or this is damage.
        if _data_bytes(path):
            _refuse(f"the store in {path} has lost what was in its {STORE_FILE}: restore the directory from a backup")
        return _CREATING
    line = _read_line(descriptor)
    if line.get("format") not in (FORMAT, *UPGRADED):
        found = line.get("format", "unreadable")
        _refuse(f"the store in {path} has format {found}, this program knows {FORMAT}: use the version that wrote it")
    if line.get("state") == _CREATING:
        return _CREATING
    if not _data_bytes(path):
        _refuse(f"the store in {path} has lost its {DATA_FILE}: restore the directory from a backup")
    return _UPGRADING if line.get("state") == _UPGRADING or line["format"] != FORMAT else _READY


def _data_bytes(path: Path) -> int:
    try:
        return (path / DATA_FILE).stat().st_size
    except FileNotFoundError:
        return 0


def _read_line(descriptor: int) -> dict[str, object]:
    try:
        line = json.loads(os.pread(descriptor, STORE_FILE_BYTES, 0))
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what tells this very file from others of the same name."""
    return status.st_dev, status.st_ino


def _refuse(message: str) -> NoReturn:
    raise RefusedToStartError(message)

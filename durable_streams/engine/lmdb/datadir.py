"""The data directory: whose it is, what is in it, and whether this process may have it.

Owns: the store file (format version and lock), and the rules by which a directory is created, opened or refused.
Must not know: what LMDB keeps in its files.
Invariant: a directory without a complete store in it is never taken for an empty store unless the operator said so; a
    disk that is not mounted looks exactly like that.

The store file ``store.json`` holds one line of JSON, padded with spaces to ``STORE_FILE_BYTES`` and rewritten in place
by a single write, so that a crash leaves the old line or the new one. Its ``flock`` is held while the store is open.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING

from durable_streams.engine.base import EngineFailedError, RefusedToStartError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

STORE_FILE = "store.json"
DATA_FILE = "data.mdb"
FORMAT = 2
"""Version of the layout in ``keys``, ``rows`` and ``journal``. Raise it with any change of one."""
STORE_FILE_BYTES = 256

_CREATING = "creating"
_READY = "ready"


class DataDir:
    """A locked data directory. Made by ``acquire``."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Wrap the open, locked store file of ``path``."""
        self.path = path
        self._descriptor: int | None = descriptor
        self._identity = _identity(path)

    @classmethod
    def acquire(cls, path: Path, *, init: bool) -> DataDir:
        """Create or open the directory and lock it against every other process.

        Args:
            path: the directory; it is created if it is missing and its parent exists.
            init: whether an empty directory may become a new store.

        Raises:
            RefusedToStartError: see the module's docstring; the message says what to do.
        """
        path = path.absolute()
        try:
            _prepare(path, init=init)
            return cls(path, _lock_store_file(path))
        except OSError as error:
            _refuse(f"data directory {path} cannot be used ({error.strerror}): check its owner, permissions and mount")

    def mark_ready(self) -> None:
        """Make the directory's entries durable, then record that the store in it is complete."""
        if self._descriptor is None:
            raise AssertionError("the directory was released")
        for directory in (self.path, self.path.parent):
            sync_directory(directory)
        write_store_file(self._descriptor, _READY)
        self._identity = _identity(self.path)

    def verify(self) -> None:
        """Check that the path still leads to the files that were opened.

        Raises:
            EngineFailedError: the directory was removed, replaced or unmounted.
        """
        try:
            same = _identity(self.path) == self._identity
        except OSError:
            same = False
        if not same:
            message = f"data directory {self.path} was removed or replaced while in use: stop, restore it, start again"
            raise EngineFailedError(message)

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_for_reading(path: Path) -> int:
    """Lock a complete store against servers, writing nothing; return the descriptor that holds the lock.

    Raises:
        RefusedToStartError: there is no complete store of a known format, or a server has it open.
    """
    descriptor = open_store_file(path)
    try:
        _lock(path, descriptor, fcntl.LOCK_SH)
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
    if _read_state(path, descriptor) != _READY:
        _refuse(f"the store in {path} was never completed: start a server on it, or remove it")


def write_store_file(descriptor: int, state: str = _READY) -> None:
    """Write and fsync the one line of the store file."""
    line = json.dumps({"format": FORMAT, "engine": "lmdb", "state": state, "pid": os.getpid()})
    os.pwrite(descriptor, line.encode().ljust(STORE_FILE_BYTES - 1) + b"\n", 0)
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make the directory's own entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(path: Path, *, init: bool) -> None:
    """Leave a directory behind that holds a store file, or is allowed to get one; refuse any other."""
    if not path.exists():
        if not path.parent.is_dir():
            _refuse(f"data directory {path} has no parent directory: create {path.parent} first")
        path.mkdir(mode=0o750)
        return
    if not path.is_dir():
        _refuse(f"data directory {path} is not a directory: name another one")
    entries = {entry.name for entry in path.iterdir()}
    if not entries and not init:
        _refuse(
            f"data directory {path} is empty (disk not mounted?): mount it, or pass --init to start a new store there"
        )
    if entries and STORE_FILE not in entries:
        _refuse(f"data directory {path} holds other files and no store: name another one, or empty it and pass --init")


def _lock_store_file(path: Path) -> int:
    descriptor = os.open(path / STORE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        _lock(path, descriptor, fcntl.LOCK_EX)
        write_store_file(descriptor, _read_state(path, descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(path: Path, descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _read_line(descriptor).get("pid", "unknown")
        _refuse(f"data directory {path} is in use by process {owner}: stop it, or name another directory")


def _read_state(path: Path, descriptor: int) -> str:
    """Return how far the store has come: ``_CREATING`` as long as nothing can have been acknowledged from it."""
    if os.fstat(descriptor).st_size == 0:
        return _CREATING
    line = _read_line(descriptor)
    if line.get("format") != FORMAT:
        found = line.get("format", "unreadable")
        _refuse(f"the store in {path} has format {found}, this program knows {FORMAT}: use the version that wrote it")
    if line.get("state") == _CREATING:
        return _CREATING
    try:
        size_bytes = (path / DATA_FILE).stat().st_size
    except FileNotFoundError:
        size_bytes = 0
    if size_bytes == 0:
        _refuse(f"the store in {path} has lost its {DATA_FILE}: restore the directory from a backup")
    return _READY


def _read_line(descriptor: int) -> dict[str, object]:
    try:
        line = json.loads(os.pread(descriptor, STORE_FILE_BYTES, 0))
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _identity(path: Path) -> tuple[tuple[int, int], ...]:
    """Return what tells these very files from others of the same name."""
    found = []
    for name in (path, path / STORE_FILE, path / DATA_FILE):
        try:
            status = name.stat()
        except FileNotFoundError:
            found.append((0, 0))
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def _refuse(message: str) -> NoReturn:
    raise RefusedToStartError(message)

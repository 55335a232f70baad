"""Files of a data directory and of its copies: who may read them, whose they are, and that their names are durable.

Owns: modes and owners. Must not know: what is in a file.
Invariants: no file allows more than ``FILE_MODE``, whatever the umask, which can only take away; and what root makes in
    a directory belongs to that directory's owner, so that a command once run as root never locks the service out.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE_MODE: Final = 0o640
"""The owner writes; the group may read, which is enough to look for damage; others have no business here."""
DIRECTORY_MODE: Final = 0o750
LOST_AND_FOUND: Final = "lost+found"
"""What a new file system of Linux holds in its root."""


def is_empty(directory: Path) -> bool:
    """Whether nobody has put anything there; raises ``OSError`` if it cannot be looked at."""
    return all(entry.name == LOST_AND_FOUND for entry in directory.iterdir())


def make_directory(path: Path) -> None:
    """Make a directory; raises ``OSError`` if something is there, or its parent is not."""
    path.mkdir(mode=DIRECTORY_MODE)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _give_to_owner_of(path.parent, descriptor)
    finally:
        os.close(descriptor)


def make_file(path: Path, mode: int = FILE_MODE) -> int:
    """Make a file and return its descriptor, open for reading and writing; the caller closes it.

    Raises:
        FileExistsError: something of this name is there.
        OSError: the directory cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        _give_to_owner_of(path.parent, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def ensure_file(path: Path) -> None:
    """Make an empty file where there is none; raises ``OSError`` as ``make_file`` does."""
    with contextlib.suppress(FileExistsError):
        os.close(make_file(path))


def restrict(path: Path, mode: int = FILE_MODE) -> None:
    """Take from a file what it allows beyond ``mode``; one that is not there, or another's, stays as it is.

    The file must not be open in this process: closing it would give up locks on it.
    """
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if _allows_more(path.lstat(), mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                if _allows_more(found, mode):
                    os.fchmod(descriptor, found.st_mode & mode)
            finally:
                os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the directory's own entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _allows_more(found: os.stat_result, mode: int) -> bool:
    return stat.S_ISREG(found.st_mode) and bool(stat.S_IMODE(found.st_mode) & ~mode)


def _give_to_owner_of(directory: Path, descriptor: int) -> None:
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    with contextlib.suppress(PermissionError):  # root of a container that may not
        os.fchown(descriptor, owner.st_uid, owner.st_gid)

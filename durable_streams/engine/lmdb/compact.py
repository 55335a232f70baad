"""Make the file of a store that no server has open as small as what is in it.

Owns: that there is one whole data file under its name at every moment, the old one or the new.
Must not know: what is in the store.

The new file is written beside the old one, made durable, read through, and only then put in its place. A crash before
that leaves a file that the next call removes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import lmdb

from durable_streams.engine.base import EngineError
from durable_streams.engine.files import make_file, sync_directory
from durable_streams.engine.lmdb.datadir import DATA_FILE, lock_complete, refuse_cut
from durable_streams.engine.lmdb.verify import find_damage

if TYPE_CHECKING:
    from pathlib import Path

NEW_FILE: Final = "data.mdb.compact"


class CompactRefusedError(EngineError):
    """The store is as it was; the message is one line for the operator and says what to do."""


class Compacted(NamedTuple):
    """How long the data file was, and is now, in bytes."""

    before: int
    after: int


def compact(path: Path) -> Compacted:
    """Write the store's file anew without its free pages. Takes room for the new file beside the old one.

    Raises:
        RefusedToStartError: there is no complete store of a known format, or a server has it open.
        CompactRefusedError: there is no room, or something in the store is damaged.
    """
    descriptor = lock_complete(path, exclusive=True)
    try:
        refuse_cut(path)
        return _compact(path)
    except (OSError, lmdb.Error) as error:
        (path / NEW_FILE).unlink(missing_ok=True)
        message = f"the store in {path} could not be compacted ({error}) and is as it was: see to it, and try again"
        raise CompactRefusedError(message) from error
    finally:
        os.close(descriptor)


def _compact(path: Path) -> Compacted:
    data_file, new_file = path / DATA_FILE, path / NEW_FILE
    before = data_file.stat().st_size
    new_file.unlink(missing_ok=True)
    _copy(path, new_file)
    damage = find_damage(new_file)
    if damage is not None:
        new_file.unlink()
        found = f"{damage.row_count} damaged rows, the first: {damage.first}"
        message = f"the store in {path} has {found}: see what check says, and restore it from a backup first"
        raise CompactRefusedError(message)
    after = new_file.stat().st_size
    new_file.replace(data_file)
    sync_directory(path)
    return Compacted(before, after)


def _copy(path: Path, new_file: Path) -> None:
    descriptor = make_file(new_file)
    try:
        # Without LMDB's own lock, for nobody can write: the store file is locked.
        with lmdb.open(os.fsencode(path), map_size=0, readonly=True, lock=False, create=False, lib_version=0) as env:
            env.copyfd(descriptor, compact=True)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Copy a store while it serves.

Owns: where a copy may go, and that a copy cut short is never taken for a store.
Must not know: what is in the store.
Invariant: the store file of the copy is written last, when everything else of it is durable.

The copy is one snapshot, taken by a read transaction: commits go on meanwhile, but pages that they free are not used
again until it ends, so the store's file may grow by as much as is rewritten during the copy.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

import lmdb

from durable_streams.engine.base import EngineError
from durable_streams.engine.files import ensure_file, is_empty, make_directory, make_file, sync_directory
from durable_streams.engine.lmdb.datadir import (
    DATA_FILE,
    LOCK_FILE,
    STORE_FILE,
    open_store_file,
    refuse_cut,
    require_complete,
    write_store_file,
)
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.verify import find_damage

if TYPE_CHECKING:
    from pathlib import Path


class BackupRefusedError(EngineError):
    """The copy cannot be made as asked; the message is one line for the operator and says what to do."""


class DamagedCopyError(EngineError):
    """The copy is made and is a store, but the original is damaged, and so is the copy."""


def backup(source: Path | LmdbEngine, target: Path, *, compact: bool = False) -> None:
    """Copy the store to ``target``, which then is a complete data directory.

    Args:
        source: an engine open in this process, or the data directory of any store, served by another process or not.
        target: a directory that is empty or does not exist; its parent does.
        compact: whether to leave out free pages, which takes more processor time and makes a smaller copy.

    Raises:
        BackupRefusedError: the target holds something or cannot be written, or the copy failed; what a failed copy
            leaves behind is not taken for a store.
        RefusedToStartError: the source is no complete store of a known format.
        EngineFailedError: ``source`` is an engine that has failed.
        DamagedCopyError: the copy is complete, and rows in it are not what was stored.
    """
    try:
        if isinstance(source, LmdbEngine):
            _prepare(target)
            _copy(source.copy_to, target, compact=compact)
        else:
            _copy_directory(source, target, compact=compact)
        damage = find_damage(target / DATA_FILE)
        _complete(target)
    except (OSError, lmdb.Error) as error:
        message = f"backup to {target} failed ({error}): remove what is there, see to it, and try again"
        raise BackupRefusedError(message) from error
    if damage is not None:
        found = f"{damage.row_count} damaged rows, the first: {damage.first}"
        message = (
            f"copied to {target}, with {found}: keep the last backup before it, and see what check says of this one"
        )
        raise DamagedCopyError(message)


def _prepare(target: Path) -> None:
    if not target.exists():
        make_directory(target)
    elif not target.is_dir() or not is_empty(target):
        message = f"backup target {target} is not an empty directory: name another one"
        raise BackupRefusedError(message)


def _copy_directory(source: Path, target: Path, *, compact: bool) -> None:
    descriptor = open_store_file(source)
    try:
        require_complete(source, descriptor)
        refuse_cut(source)
    finally:
        os.close(descriptor)
    _prepare(target)
    with contextlib.suppress(OSError):  # LMDB does without on a read-only file system, and says what else is wrong
        ensure_file(source / LOCK_FILE)
    # With LMDB's lock: a server may be writing. Map size 0 is the one the store has.
    with lmdb.open(os.fsencode(source), map_size=0, readonly=True, create=False, lib_version=0) as env:
        _copy(env.copyfd, target, compact=compact)


class _CopyTo(Protocol):
    """Writes a snapshot to a descriptor."""

    def __call__(self, descriptor: int, /, *, compact: bool) -> None: ...


def _copy(copy_to: _CopyTo, target: Path, *, compact: bool) -> None:
    descriptor = make_file(target / DATA_FILE)
    try:
        copy_to(descriptor, compact=compact)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complete(target: Path) -> None:
    """Declare the directory a store, now that the copied file is durable."""
    sync_directory(target)
    descriptor = make_file(target / STORE_FILE)
    try:
        write_store_file(descriptor)
    finally:
        os.close(descriptor)
    for directory in (target, target.parent):
        sync_directory(directory)

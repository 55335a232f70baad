"""Check a data directory that no server has open: every invariant of the layout.

Owns: opening the store without writing a byte to its directory, and the order of the passes.
Must not know: the invariants themselves; the ``check_…`` modules do.
Invariant: memory stays bounded, however large the store; problems beyond ``report.MAX_PROBLEMS`` are counted only.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import lmdb

from durable_streams.engine.lmdb.check_heads import check_heads
from durable_streams.engine.lmdb.check_journal import check_journal
from durable_streams.engine.lmdb.check_refs import check_refs
from durable_streams.engine.lmdb.check_rows import (
    check_dropped,
    check_due,
    check_owners,
    check_producers,
    check_sids,
)
from durable_streams.engine.lmdb.datadir import DATA_FILE, lock_complete
from durable_streams.engine.lmdb.extent import extent_of
from durable_streams.engine.lmdb.layout import Databases, open_databases
from durable_streams.engine.lmdb.report import CheckReport, Findings
from durable_streams.engine.lmdb.room import free_bytes
from durable_streams.engine.lmdb.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

PASSES = (check_heads, check_refs, check_sids, check_due, check_dropped, check_owners, check_producers, check_journal)


def check_data_dir(path: Path) -> CheckReport:
    """Check every invariant of the store in ``path``, offline and without writing.

    Raises:
        RefusedToStartError: there is no complete store of a known format, or a server has it open.
    """
    findings = Findings()
    descriptor = lock_complete(path, exclusive=False)
    try:
        extent = extent_of(path / DATA_FILE)
        if extent.is_cut:  # reading it might run past its end, which would end the process
            findings.add(DATA_FILE, f"the file was cut: it has {extent.found} bytes of {extent.wanted}")
            return findings.report(streams=0, producers=0, dropped=0)
        return _check_file(path, findings)
    except lmdb.Error as error:
        findings.add(DATA_FILE, f"LMDB cannot read it: {error}")
        return findings.report(streams=0, producers=0, dropped=0)
    finally:
        os.close(descriptor)


def _check_file(path: Path, findings: Findings) -> CheckReport:
    # Without LMDB's own lock, for nobody can write: the store file is locked. Map size 0 is the one the store has.
    env = lmdb.open(
        os.fsencode(path),
        map_size=0,
        max_dbs=len(Databases._fields),
        readonly=True,
        lock=False,
        create=False,
        lib_version=0,
    )
    with env:
        databases = open_databases(env)
        with env.begin(buffers=True) as txn:
            report = _check_rows(Snapshot(txn, databases, findings))
            file_bytes = (path / DATA_FILE).stat().st_size
            used_bytes = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
            room_bytes = max(0, file_bytes - used_bytes) + free_bytes(txn, databases, used_bytes)
            return replace(report, file_bytes=file_bytes, room_bytes=room_bytes)


def _check_rows(snapshot: Snapshot) -> CheckReport:
    for check in PASSES:
        check(snapshot)
    stat, databases = snapshot.txn.stat, snapshot.databases
    return snapshot.findings.report(
        streams=stat(databases.head)["entries"],
        producers=stat(databases.producer)["entries"],
        dropped=stat(databases.gc)["entries"],
    )

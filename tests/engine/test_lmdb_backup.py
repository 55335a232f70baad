"""A copy is a store of its own, taken while the original serves; nothing is ever copied over something else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import Chunk, Outcome, RefusedToStartError
from durable_streams.engine.lmdb.backup import BackupRefusedError, backup
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.datadir import DATA_FILE, STORE_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from tests.engine.children import Child
from tests.engine.heads import create, head, read_bytes, replace
from tests.engine.stores import TEXT, make_store

if TYPE_CHECKING:
    from pathlib import Path

compacting = pytest.mark.parametrize("compact", [False, True])


@compacting
def test_a_copy_made_during_commits_is_one_moment_of_them(tmp_path: Path, *, compact: bool) -> None:
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    current = head("a")
    engine.commit([[create(current)]])
    half_way, stop = threading.Event(), threading.Event()

    def write() -> None:
        old = current
        for count in range(1, 100_000):
            new = old._replace(version=old.version + 1, tail=old.tail + 1_000)
            assert engine.commit([[replace(old, new, Chunk(old.tail, bytes(1_000)))]]) == [Outcome.APPLIED]
            old = new
            if count == 50:
                half_way.set()
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    half_way.wait()
    backup(engine, tmp_path / "copy", compact=compact)
    stop.set()
    writer.join()
    [last] = engine.load(["a"])
    engine.close()
    assert check_data_dir(tmp_path / "copy").problems == ()
    copy = LmdbEngine(tmp_path / "copy")
    copy.open()
    [found] = copy.load(["a"])
    assert found is not None
    assert last is not None
    assert 50_000 <= found.tail <= last.tail
    assert len(read_bytes(copy, 1)) == found.tail
    assert copy.commit([[replace(found, None)]]) == [Outcome.APPLIED]
    copy.close()


@compacting
def test_a_store_served_by_another_process_is_copied(tmp_path: Path, *, compact: bool) -> None:
    with Child(tmp_path / "store") as child:
        child.ask("create")
        child.ask("append 70000")
        backup(tmp_path / "store", tmp_path / "copy", compact=compact)
        assert child.ask("append 1000") == "applied"
    assert check_data_dir(tmp_path / "copy").byte_count == 70_000
    assert check_data_dir(tmp_path / "store").byte_count == 71_000


def test_a_closed_store_is_copied_into_an_empty_directory(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    (tmp_path / "copy").mkdir()
    backup(tmp_path / "store", tmp_path / "copy")
    copy = LmdbEngine(tmp_path / "copy")
    copy.open()
    assert copy.load(["text"]) == [TEXT]
    copy.close()


def test_compacting_leaves_out_free_pages(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    large = head("large", 1, tail=2_000_000)
    engine.commit([[create(large, Chunk(0, bytes(2_000_000)))]])
    engine.commit([[replace(large, None)]])
    engine.collect(9)
    backup(engine, tmp_path / "whole")
    backup(engine, tmp_path / "compact", compact=True)
    engine.close()
    whole, compact = ((tmp_path / name / DATA_FILE).stat().st_size for name in ("whole", "compact"))
    assert whole > 2_000_000
    assert compact < 200_000


@pytest.mark.parametrize("occupied", ["directory", "file", "source"])
def test_an_occupied_target_is_refused_untouched(tmp_path: Path, occupied: str) -> None:
    make_store(tmp_path / "store")
    target = tmp_path / "store" if occupied == "source" else tmp_path / "target"
    if occupied == "directory":
        target.mkdir()
        (target / "thesis.tex").touch()
    if occupied == "file":
        target.touch()
    before = sorted(target.rglob("*"))
    with pytest.raises(BackupRefusedError, match="not an empty directory"):
        backup(tmp_path / "store", target)
    assert sorted(target.rglob("*")) == before
    assert check_data_dir(tmp_path / "store").sound


def test_a_target_without_a_parent_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    with pytest.raises(BackupRefusedError, match="No such file or directory"):
        backup(tmp_path / "store", tmp_path / "no" / "target")


def test_what_is_no_store_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(RefusedToStartError, match="holds no store"):
        backup(tmp_path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_cut_short_is_no_store(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    backup(tmp_path / "store", tmp_path / "copy")
    (tmp_path / "copy" / STORE_FILE).unlink()
    with pytest.raises(RefusedToStartError, match="other files"):
        LmdbEngine(tmp_path / "copy").open()

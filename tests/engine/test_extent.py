"""A file that was cut is noticed before it is mapped; one that only lacks pages that nobody wrote is not refused."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import lmdb
import pytest

from durable_streams.engine.base import Chunk, RefusedToStartError
from durable_streams.engine.lmdb.backup import backup
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.datadir import DATA_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.extent import extent_of
from tests.engine.heads import create, head, read_bytes, replace

if TYPE_CHECKING:
    from pathlib import Path

    from durable_streams.engine.lmdb.extent import Extent

PAGE = os.sysconf("SC_PAGE_SIZE")
CONTENT = bytes(range(256)) * 20


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a closed store that ends with pages in use, and has free ones before them."""
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    old = head("old", 1, tail=200_000)
    engine.commit([[create(old, Chunk(0, bytes(200_000)))]])
    engine.commit([[create(head(f"s{sid}", sid, tail=len(CONTENT)), Chunk(0, CONTENT))] for sid in range(2, 40)])
    engine.commit([[replace(old, None)]])
    engine.collect(9)
    engine.close()
    return tmp_path / "store"


def cut(store: Path, size_bytes: int) -> Path:
    """Return a copy of the store whose data file has so many bytes."""
    copy = store.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    os.truncate(copy / DATA_FILE, size_bytes)
    return copy


def extent(store: Path) -> Extent:
    return extent_of(store / DATA_FILE)


def last_page(store: Path) -> int:
    with lmdb.open(str(store), map_size=0, readonly=True, lock=False, max_dbs=9, lib_version=0) as env:
        return int(env.info()["last_pgno"])


def needed_bytes(store: Path) -> int:
    """Return the end of the last page in use: there may be free ones behind it, which nobody needs."""
    page = last_page(store)
    while not extent(cut(store, page * PAGE)).is_cut:
        page -= 1
    return (page + 1) * PAGE


def test_a_whole_file_is_not_cut(store: Path) -> None:
    assert not extent(store).is_cut
    assert extent(store).wanted == (last_page(store) + 1) * PAGE


def test_a_file_may_end_with_its_last_page(store: Path) -> None:
    copy = cut(store, (last_page(store) + 1) * PAGE)
    assert not extent(copy).is_cut
    assert check_data_dir(copy).sound


@pytest.mark.parametrize("missing_bytes", [1, PAGE, PAGE + 7, 20 * PAGE])
def test_a_cut_file_is_refused_wherever_it_would_be_opened(store: Path, missing_bytes: int) -> None:
    copy = cut(store, needed_bytes(store) - missing_bytes)
    with pytest.raises(RefusedToStartError, match=r"has lost the end of its data\.mdb .* restore the directory"):
        LmdbEngine(copy).open()
    with pytest.raises(RefusedToStartError, match="has lost the end"):
        backup(copy, copy.with_name("backup"))
    [problem] = check_data_dir(copy).problems
    assert (problem.where, "the file was cut" in problem.what) == (DATA_FILE, True)


def test_pages_that_are_free_may_be_missing_and_no_others(store: Path) -> None:
    """Page by page from the end: either the file is refused, or everything in it can be read."""
    engine = LmdbEngine(store)
    engine.open()
    large = head("large", 90, tail=300_000)
    engine.commit([[create(large, Chunk(0, bytes(300_000)))]])
    engine.commit([[replace(large, None)]])
    engine.collect(9)
    for _ in range(3):  # what was freed is on the list of free pages of a later commit
        engine._turn()
    engine.close()
    page, opened = last_page(store), 0
    while not extent(copy := cut(store, page * PAGE)).is_cut:
        assert check_data_dir(copy).sound
        engine = LmdbEngine(copy)
        engine.open()
        assert all(read_bytes(engine, sid) == CONTENT for sid in range(2, 40))
        engine.close()
        page, opened = page - 1, opened + 1
    assert opened > 10
    with pytest.raises(RefusedToStartError, match="has lost the end"):
        LmdbEngine(copy).open()


@pytest.mark.parametrize("size_bytes", [1, 100, PAGE, PAGE + 100])
def test_a_file_without_meta_pages_is_left_to_lmdb_which_refuses_it(store: Path, size_bytes: int) -> None:
    copy = cut(store, size_bytes)
    assert not extent(copy).is_cut
    with pytest.raises(RefusedToStartError, match="restore a backup"):
        LmdbEngine(copy).open()
    assert not check_data_dir(copy).sound


@pytest.mark.parametrize("garbage", [b"\0", b"\xff"])
def test_a_cut_file_whose_list_of_free_pages_is_garbage_is_cut(store: Path, garbage: bytes) -> None:
    needed = needed_bytes(store)
    copy = cut(store, needed - 1)
    with (copy / DATA_FILE).open("r+b") as data:
        data.seek(2 * PAGE)
        data.write(garbage * (needed - 2 * PAGE - 1))
    assert extent(copy).is_cut

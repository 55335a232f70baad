"""Compacting makes the file small, loses nothing, and leaves one whole file whatever goes wrong."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import Chunk, RefusedToStartError
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.compact import NEW_FILE, CompactRefusedError, compact
from durable_streams.engine.lmdb.datadir import DATA_FILE, STORE_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from tests.engine.children import Child
from tests.engine.heads import create, head, read_bytes, replace

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a closed store of some MiB, most of them free."""
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    large = head("large", 1, tail=4 * MIB)
    engine.commit([[create(large, *(Chunk(n * MIB, bytes(MIB)) for n in range(4)))]])
    engine.commit([[create(head("kept", 2, tail=5), Chunk(0, b"kept,"))]])
    engine.commit([[replace(large, None)]])
    engine.collect(99)
    engine.close()
    return tmp_path / "store"


def test_a_store_becomes_as_small_as_what_is_in_it(store: Path) -> None:
    before = (store / DATA_FILE).stat().st_size
    done = compact(store)
    assert done == (before, (store / DATA_FILE).stat().st_size)
    assert done.after < MIB < 4 * MIB < done.before
    assert sorted(path.name for path in store.iterdir()) == [DATA_FILE, "lock.mdb", STORE_FILE]
    assert check_data_dir(store).problems == ()
    engine = LmdbEngine(store)
    engine.open()
    assert read_bytes(engine, 2) == b"kept,"
    engine.close()
    assert compact(store).after == done.after


def test_what_is_journaled_is_kept(store: Path) -> None:
    with Child(store) as child:
        child.ask("create")
        assert child.ask("append 100") == "applied"
        child.process.kill()
    compact(store)
    assert check_data_dir(store).problems == ()
    with Child(store) as child:
        child.ask("create")


def test_a_store_in_use_is_not_compacted(store: Path) -> None:
    with Child(store) as child, pytest.raises(RefusedToStartError, match=f"in use by process {child.process.pid}"):
        compact(store)


def test_what_an_earlier_call_left_is_removed(store: Path) -> None:
    (store / NEW_FILE).write_bytes(b"half a file")
    engine = LmdbEngine(store)
    engine.open()
    engine.close()
    compact(store)
    assert not (store / NEW_FILE).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE to be refused, not signalled")
def test_without_room_the_store_stays_as_it_is(store: Path) -> None:
    before = (store / DATA_FILE).read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))
    try:
        with pytest.raises(CompactRefusedError, match="is as it was"):
            compact(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert (store / DATA_FILE).read_bytes() == before
    assert not (store / NEW_FILE).exists()

"""A store of the format before opens, whole, and once only: whenever its upgrade is cut short."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from durable_streams.engine.base import ProducerRow, RefusedToStartError
from durable_streams.engine.lmdb.backup import backup
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.compact import compact
from durable_streams.engine.lmdb.datadir import FORMAT, STORE_FILE, DataDir
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.layout import Databases, create_databases
from durable_streams.engine.lmdb.upgrade import MARK_DATABASE, seal_slice
from tests.engine.heads import read_bytes
from tests.engine.stores import EXPIRES, FORK, GRANDFORK, JSON, JSON_CHUNK, SOURCE, TEXT, TTL

if TYPE_CHECKING:
    from collections.abc import Callable

ARCHIVE = Path(__file__).parent / "format-2.tar.xz"
"""What the last program of format 2 wrote: ``stores.make_store``, then a stream of 100 chunks of 20 kB, one of 200 kB
in one chunk, and appends that are still journaled."""
LARGE = bytes(range(256)) * 800


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "format-2"


def line(store: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((store / STORE_FILE).read_bytes())
    return found


def check_all(store: Path) -> None:
    """Everything that format 2 held is there, and sound."""
    assert (line(store)["format"], line(store)["state"]) == (FORMAT, "ready")
    assert check_data_dir(store).problems == ()
    engine = LmdbEngine(store)
    engine.open()
    standing = {found.path: found for found in engine.scan("", "", 99)}
    assert sorted(standing) == sorted(
        [head.path for head in (TEXT, JSON, TTL, EXPIRES, SOURCE, FORK, GRANDFORK)] + ["many", "large", "journaled"]
    )
    assert standing["text"] == TEXT
    assert read_bytes(engine, TEXT.sid) == b"abcde"
    assert read_bytes(engine, JSON.sid) == JSON_CHUNK * 2
    assert read_bytes(engine, standing["many"].sid) == b"".join(bytes((number,)) * 20_000 for number in range(100))
    assert read_bytes(engine, standing["large"].sid) == LARGE
    assert read_bytes(engine, standing["journaled"].sid) == b"one,two,three,"
    assert engine.load_producers([(TEXT.sid, "p"), (standing["journaled"].sid, "p")]) == [
        ProducerRow("p", 1, 2),
        ProducerRow("p", 0, 2),
    ]
    engine.close()


def test_a_store_of_the_format_before_opens(store: Path) -> None:
    assert line(store)["format"] == 2
    engine = LmdbEngine(store)
    engine.open()
    engine.close()
    check_all(store)
    check_all(store)
    with lmdb.open(str(store), map_size=0, readonly=True, lock=False, max_dbs=9, lib_version=0) as env:
        assert env.stat()["entries"] == len(Databases._fields)


@pytest.mark.parametrize("call", [check_data_dir, compact, lambda store: backup(store, store.with_name("copy"))])
def test_until_then_it_is_left_alone(store: Path, call: Callable[[Path], object]) -> None:
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with pytest.raises(RefusedToStartError, match="is of an earlier format: start a server on it"):
        call(store)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def states(store: Path) -> list[Path]:
    """Return a copy of the store as it is after each of the upgrade's commits, as a kill would leave it."""
    copies: list[Path] = []

    def keep() -> None:
        copies.append(store.with_name(f"cut-{len(copies)}"))
        shutil.copytree(store, copies[-1])

    directory = DataDir.acquire(store, require_store=True)
    assert directory.is_upgrading
    keep()
    with lmdb.open(str(store), map_size=1 << 30, max_dbs=9, lib_version=0) as env:
        with env.begin(write=True) as txn:
            databases = create_databases(env, txn)
        mark = env.open_db(MARK_DATABASE)
        while True:
            with env.begin(write=True) as txn:
                done = seal_slice(txn, databases, mark, slice_bytes=300_000)
            keep()
            if done is None:
                break
        directory.mark_ready()
        keep()
    directory.release()
    return copies


@pytest.mark.slow
def test_an_upgrade_that_is_cut_short_goes_on(store: Path) -> None:
    copies = states(store)
    assert len(copies) > 12
    for copy in copies:
        engine = LmdbEngine(copy)
        engine.open()
        engine.close()
        check_all(copy)


def test_one_that_is_under_way_is_refused_by_who_only_reads(store: Path) -> None:
    DataDir.acquire(store, require_store=True).release()
    assert line(store)["state"] == "upgrading"
    with pytest.raises(RefusedToStartError, match="is of an earlier format"):
        check_data_dir(store)

"""The account of room: what is left for deletes, however the store came to be full, and that it comes back."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
import pytest

from durable_streams.engine.base import Chunk, Mutation, Outcome, StorageFullError
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.datadir import DATA_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.room import RESERVE_BYTES
from tests.engine.heads import create, head, read_bytes, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.protocol.head import Head

MIB = 1 << 20
LIMIT_BYTES = 3 * MIB
ROUNDS = 10
MAY_NOT_MOUNT = 77
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE to be refused, not signalled")


@pytest.fixture
def limited() -> Iterator[None]:
    """This process may not write files beyond ``LIMIT_BYTES``; the store is the only one that comes near."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, unlimited[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


class Store:
    """An engine and what was acknowledged by it."""

    def __init__(self, path: Path, **options: Any) -> None:  # noqa: ANN401 the engine's
        self.path, self._options = path, options
        self.engine = LmdbEngine(path, **options)
        self.engine.open()
        self.heads: dict[str, Head] = {}
        self.content: dict[str, bytes] = {}
        self._sids = 0

    def create(self, path: str) -> None:
        self._sids += 1
        new = head(path, self._sids)
        assert self.engine.commit([[create(new)]]) == [Outcome.APPLIED]
        self.heads[path], self.content[path] = new, b""

    def append(self, payload: bytes, *paths: str) -> None:
        """Append to each of these, in one commit."""
        groups = []
        for path in paths:
            old = self.heads[path]
            new = old._replace(version=old.version + 1, tail=old.tail + len(payload))
            groups.append([Mutation(path, (old.sid, old.version), new, [Chunk(old.tail, payload)])])
        assert self.engine.commit(groups) == [Outcome.APPLIED] * len(paths)
        for [mutation] in groups:
            assert mutation.head is not None
            self.heads[mutation.path] = mutation.head
            self.content[mutation.path] += payload

    def fill(self, paths: list[str], payload: bytes) -> int:
        """Append to all of them again and again until there is no room; return how often that went well."""
        for count in range(1_000_000):
            try:
                self.append(payload, *paths)
            except StorageFullError:
                return count
        raise AssertionError("it never got full")

    def delete(self, path: str) -> None:
        assert self.engine.commit([[replace(self.heads.pop(path), None)]]) == [Outcome.APPLIED]
        del self.content[path]

    def collect(self) -> None:
        while self.engine.collect(1_000) == 1_000:
            pass

    def check(self) -> None:
        """All that was acknowledged is there, and nothing else."""
        for path, content in self.content.items():
            assert self.engine.load([path]) == [self.heads[path]]
            assert read_bytes(self.engine, self.heads[path].sid) == content
        assert [found.path for found in self.engine.scan("", "", 10_000)] == sorted(self.heads)

    def reopen(self) -> None:
        self.engine.close()
        assert check_data_dir(self.path).problems == ()
        self.engine = LmdbEngine(self.path, **self._options)
        self.engine.open()


@linux_only
@pytest.mark.slow
@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    ("map_size_bytes", "shape"),
    [
        (1 << 40, (400, 60)),
        (1 << 40, (1_000, 16)),
        (1 << 40, (5_000, 8)),
        (1 << 40, (70_000, 1)),
        (2 * MIB, (5_000, 8)),
    ],
)
def test_a_full_store_can_be_emptied_and_filled_again(
    tmp_path: Path, map_size_bytes: int, shape: tuple[int, int]
) -> None:
    """By every size of append, those that are journaled first among them; ten times, one stream kept throughout."""
    size, together = shape
    store = Store(tmp_path / "store", map_size_bytes=map_size_bytes)
    store.create("kept")
    store.append(b"from the first to the last", "kept")
    counts = []
    for number in range(ROUNDS):
        paths = [f"{number}/{index}" for index in range(together)]
        for path in paths:
            store.create(path)
        counts.append(store.fill(paths, bytes([65 + number]) * size))
        with pytest.raises(StorageFullError):
            store.engine.commit([[create(head("more", 9_999, tail=2 * MIB), Chunk(0, bytes(2 * MIB)))]])
        store.check()
        for path in paths:
            store.delete(path)
        store.collect()
        store.engine.probe()
        store.check()

    # No round leaves less behind than the one before: nothing is lost for good.
    assert min(counts) * 10 >= counts[0] * 5, counts
    store.reopen()
    store.check()
    store.engine.close()


@linux_only
@pytest.mark.slow
@pytest.mark.usefixtures("limited")
def test_a_store_filled_by_journaled_appends_to_many_streams_can_delete(tmp_path: Path) -> None:
    """The worst for the places: a page for every piece. Every delete must work, the first one above all."""
    store = Store(tmp_path / "store")
    paths = [f"{index:04d}".ljust(400, "x") for index in range(400)]
    for path in paths:
        store.create(path)
    assert store.fill(paths, b"t") > 0
    for path in paths:
        store.delete(path)
    store.collect()
    store.engine.probe()
    store.create("a")
    store.append(b"again", "a")
    store.check()
    store.reopen()
    store.check()
    store.engine.close()


@linux_only
@pytest.mark.usefixtures("limited")
def test_probe_tells_a_full_store_and_notices_when_it_may_grow_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.create("a")
    store.fill(["a"], bytes(50_000))
    with pytest.raises(StorageFullError):
        store.engine.probe()
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 * MIB, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    store.engine.probe()
    store.append(bytes(MIB), "a")
    store.check()
    store.engine.close()


def test_a_store_from_before_there_was_a_reserve_opens_and_gets_one(tmp_path: Path) -> None:
    """Its file ends where LMDB wrote last; what it had journaled is there, and has room for its place from now on."""
    store = Store(tmp_path / "store")
    store.create("a")
    store.append(b"placed,", "a")
    store.engine.touch([])
    store.append(b"journaled", "a")
    shutil.copytree(tmp_path / "store", tmp_path / "old")
    store.engine.close()
    data_file = tmp_path / "old" / DATA_FILE
    with lmdb.open(str(tmp_path / "old"), map_size=0, max_dbs=9, readonly=True, lock=False, lib_version=0) as env:
        used_bytes = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    os.truncate(data_file, used_bytes)

    store.path, store.engine = tmp_path / "old", LmdbEngine(tmp_path / "old")
    store.engine.open()
    assert data_file.stat().st_size >= used_bytes + RESERVE_BYTES
    store.check()
    store.append(b", and more", "a")
    store.check()
    store.reopen()
    store.check()
    store.engine.close()


def test_the_file_grows_ahead_in_steps(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.create("a")
    sizes = set()
    for _ in range(300):
        store.append(bytes(5_000), "a")
        size_bytes = (tmp_path / "store" / DATA_FILE).stat().st_size
        sizes.add(size_bytes)
        assert store.engine._room._behind() >= RESERVE_BYTES
    assert len(sizes) <= 4
    store.engine.close()


@pytest.mark.slow
def test_a_full_disk_is_emptied_and_filled_again(tmp_path: Path) -> None:
    """On a disk of 8 MiB, mounted for a process of its own, with which it goes."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting a file system takes root, on Linux")
    mounted = ["sh", "-c", 'mount -t tmpfs -o size=8m tmpfs "$0" || exit 77; exec "$@"', str(tmp_path)]
    program = [sys.executable, "-m", "tests.engine.test_room", str(tmp_path)]
    run = subprocess.run(["unshare", "--mount", *mounted, *program], check=False)
    if run.returncode == MAY_NOT_MOUNT:
        pytest.skip("nothing may be mounted here")
    assert run.returncode == 0


def fill_and_empty(disk: Path) -> None:
    """Fill a small disk and empty it, again and again; nothing may be lost, and all room must come back."""
    store = Store(disk / "store")
    for number in range(ROUNDS):
        paths = [f"{number}/{index}" for index in range(8)]
        for path in paths:
            store.create(path)
        assert store.fill(paths, bytes([65 + number]) * (900, 30_000)[number % 2]) > 5
        store.check()
        for path in paths:
            store.delete(path)
        store.collect()
        store.engine.probe()
    store.create("kept")
    store.append(b"x", "kept")
    store.reopen()
    store.check()
    store.engine.close()


if __name__ == "__main__":
    fill_and_empty(Path(sys.argv[1]))

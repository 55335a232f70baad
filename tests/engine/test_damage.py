"""A damaged row is its stream's alone: it is told, never shown, never given a new checksum; its neighbours go on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import Chunk, Outcome, ProducerRow, Touch
from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.backup import DamagedCopyError, backup
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.compact import NEW_FILE, CompactRefusedError, compact
from durable_streams.engine.lmdb.datadir import DATA_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.protocol.errors import DamagedError
from tests.engine.heads import ALL, create, head, read_bytes, replace
from tests.engine.stores import behind_the_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGE = bytes(range(256)) * 1024
A = head("a", 1, tail=6 + len(LARGE))
B = head("b", 2, tail=3)
C = head("c", 3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    groups = [
        [create(A, Chunk(0, b"abc"), Chunk(3, b"def"), Chunk(6, LARGE), producers=[ProducerRow("p", 1, 2)])],
        [create(B, Chunk(0, b"xyz"), producers=[ProducerRow("p", 3, 4)])],
        [create(C)],
    ]
    assert engine.commit(groups) == [Outcome.APPLIED] * 3
    engine.close()
    return tmp_path / "store"


def flip(store: Path, name: str, key: bytes, *, at: int = 0) -> None:
    """Change one bit of a row, as a disk might."""
    with behind_the_back(store) as (txn, databases):
        row = txn.get(key, db=getattr(databases, name))
        assert row is not None
        flipped = row[:at] + bytes((row[at] ^ 4,)) + row[at + 1 :]
        txn.put(key, flipped, db=getattr(databases, name))


@pytest.fixture
def engine(store: Path) -> Iterator[LmdbEngine]:
    """Return an engine that is not open yet: its store is damaged first."""
    engine = LmdbEngine(store)
    yield engine
    engine.close()


def refused(call: Callable[[], object], path: str = "a") -> None:
    with pytest.raises(DamagedError, match=r"durable-streams check.*restore") as found:
        call()
    assert found.value.path == path


def test_a_damaged_chunk_is_not_shown(store: Path, engine: LmdbEngine) -> None:
    flip(store, "chunk", keys.encode_chunk(1, 3))
    engine.open()
    refused(lambda: engine.read(1, 0, 6, 100))
    refused(lambda: engine.read(1, 4, 6, 100))
    refused(lambda: engine.read_before(1, 5))
    assert engine.read(1, 0, 3, 100) == [Chunk(0, b"abc")]
    assert b"".join(chunk.payload for chunk in engine.read(1, 6, ALL, ALL)) == LARGE
    assert read_bytes(engine, 2) == b"xyz"
    assert engine.load(["a", "b"]) == [A, B]


def test_what_was_verified_is_verified_anew_after_the_next_look_at_the_store(store: Path, engine: LmdbEngine) -> None:
    """Not at each read: readers who are behind read the same rows at the same time."""
    engine.open()
    assert read_bytes(engine, 2) == b"xyz"
    data = (store / DATA_FILE).read_bytes()
    with (store / DATA_FILE).open("r+b") as file:
        for at in [found.start() for found in re.finditer(b"xyz", data)]:
            file.seek(at)
            file.write(b"xyy")
    assert read_bytes(engine, 2) == b"xyy"
    engine.probe()
    refused(lambda: engine.read(2, 0, 3, 100), "b")


def test_of_a_large_chunk_only_the_damaged_part_is_missing(store: Path, engine: LmdbEngine) -> None:
    flip(store, "chunk", keys.encode_chunk(1, 6), at=100_000)
    engine.open()
    assert engine.read(1, 6, 6 + 50_000, ALL) == [Chunk(6, LARGE[:50_000])]
    assert engine.read(1, 6 + 140_000, 6 + 150_000, ALL) == [Chunk(6 + 140_000, LARGE[140_000:150_000])]
    refused(lambda: engine.read(1, 6 + 99_000, 6 + 101_000, ALL))
    refused(lambda: engine.read(1, 6, ALL, ALL))


def test_a_damaged_head_is_not_shown_and_leaves_a_list_whole(store: Path, engine: LmdbEngine) -> None:
    flip(store, "head", b"a", at=40)
    engine.open()
    refused(lambda: engine.load(["a"]))
    assert engine.load(["b", "c"]) == [B, C]
    assert engine.scan("", "", 2) == [B, C]
    engine.touch([Touch("a", 1, 5_000), Touch("b", 2, 5_000)])
    refused(lambda: engine.load(["a"]))
    assert engine.load(["b"]) == [B._replace(touched_ms=5_000)]


def test_nothing_is_built_on_a_damaged_head(store: Path, engine: LmdbEngine) -> None:
    """Not even by who remembers what it was, and not what is new: its neighbours in the commit go on."""
    flip(store, "head", b"a", at=20)
    engine.open()
    new = A._replace(version=2)
    groups = [[replace(A, new)], [create(head("a", 9))], [replace(B, B._replace(version=2))]]
    assert engine.commit(groups) == [Outcome.CONFLICT, Outcome.CONFLICT, Outcome.APPLIED]
    refused(lambda: engine.load(["a"]))


def test_a_damaged_producer_is_not_taken_for_a_new_one(store: Path, engine: LmdbEngine) -> None:
    flip(store, "producer", keys.encode_producer(1, "p"))
    engine.open()
    refused(lambda: engine.load_producers([(1, "p")]))
    refused(lambda: engine.scan_producers(1, "", 9))
    assert engine.load_producers([(2, "p"), (1, "q")]) == [ProducerRow("p", 3, 4), None]


def test_a_row_under_another_key_is_damaged(store: Path, engine: LmdbEngine) -> None:
    with behind_the_back(store) as (txn, databases):
        row = txn.get(keys.encode_chunk(2, 0), db=databases.chunk)
        assert row is not None
        txn.put(keys.encode_chunk(1, 0), row, db=databases.chunk)
    engine.open()
    refused(lambda: engine.read(1, 0, 3, 100))


def test_packing_gives_nothing_damaged_a_new_checksum(store: Path, engine: LmdbEngine) -> None:
    flip(store, "chunk", keys.encode_chunk(1, 3))
    engine.open()
    refused(lambda: engine.pack(1, 0, 6, 100))
    assert engine.read(1, 0, 3, 100) == [Chunk(0, b"abc")]
    refused(lambda: engine.read(1, 3, 6, 100))


def test_a_copy_of_damage_is_made_and_says_so(store: Path) -> None:
    flip(store, "chunk", keys.encode_chunk(1, 3))
    with pytest.raises(DamagedCopyError, match="1 damaged rows, the first: chunk row"):
        backup(store, store.with_name("copy"))
    assert check_data_dir(store.with_name("copy")).problem_count == check_data_dir(store).problem_count == 1
    copy = LmdbEngine(store.with_name("copy"))
    copy.open()
    assert read_bytes(copy, 2) == b"xyz"
    copy.close()


def test_a_damaged_store_is_not_compacted(store: Path) -> None:
    flip(store, "head", b"c")
    with pytest.raises(CompactRefusedError, match="1 damaged rows, the first: head row"):
        compact(store)
    assert not (store / NEW_FILE).exists()
    assert check_data_dir(store).problem_count > 0

"""A sound store has no problems, and every kind of planted damage is found where it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import Chunk, RefusedToStartError
from durable_streams.engine.lmdb import keys, rows
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.check_heads import is_messages
from durable_streams.engine.lmdb.check_refs import check_refs
from durable_streams.engine.lmdb.datadir import DATA_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.report import MAX_PROBLEMS, Findings
from durable_streams.engine.lmdb.snapshot import Snapshot
from durable_streams.protocol.head import Head, Segment
from tests.engine import stores
from tests.engine.children import Child
from tests.engine.heads import create, head
from tests.engine.stores import (
    EXPIRES,
    FORK,
    GRANDFORK,
    JSON,
    JSON_CHUNK,
    SOURCE,
    TEXT,
    TTL,
    behind_the_back,
    put_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from lmdb import Transaction

    from durable_streams.engine.lmdb.layout import Databases

    Damage: TypeAlias = Callable[[Transaction[bytes], Databases], object]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    stores.make_store(path)
    return path


def put_head(new: Head) -> Damage:
    return put("head", keys.encode_path(new.path), rows.encode_head(new))


def put_chunk(sid: int, offset: int, payload: bytes) -> Damage:
    return put("chunk", keys.encode_chunk(sid, offset), payload)


def put(name: str, key: bytes, value: bytes) -> Damage:
    return lambda txn, db: put_row(txn, db, name, key=key, row=value)


def flip(name: str, key: bytes) -> Damage:
    """Change one bit of a row, behind its checksum's back."""

    def damage(txn: Transaction[bytes], databases: Databases) -> None:
        row = txn.get(key, db=getattr(databases, name))
        assert row is not None
        txn.put(key, bytes((row[0] ^ 1,)) + row[1:], db=getattr(databases, name))

    return damage


def delete(name: str, key: bytes) -> Damage:
    return lambda txn, db: txn.delete(key, db=getattr(db, name))


DAMAGES: list[tuple[Damage, str, str]] = [
    (delete("sid", keys.encode_sid(1)), "text", "is not in the sid index"),
    (put("sid", keys.encode_sid(1), b"json"), "text", "is not in the sid index"),
    (put("sid", keys.encode_sid(1), b"json"), "json", "is incarnation 1 by the sid index"),
    (put("sid", keys.encode_sid(99), b"nowhere"), "nowhere", "is incarnation 99 by the sid index"),
    (put("sid", b"short", b"text"), "sid row 73686f7274", "sid key of 5 bytes"),
    (delete("head", b"text"), "text", "is incarnation 1 by the sid index"),
    (put("head", b"text", b"short"), "text", "head row of 5 bytes"),
    (put("head", b"\xff", rows.encode_head(head("x", 77))), r"\xff", "not UTF-8"),
    (put_head(TEXT._replace(record=b"{")), "text", "does not decode"),
    (put_head(TEXT._replace(record=b"[1]")), "text", "does not decode"),
    (put_head(TEXT._replace(record=b"1")), "text", "does not decode"),
    (put_head(TEXT._replace(tail=6)), "text", "chunks end at 5, the tail is 6"),
    (put_head(TEXT._replace(tail=4)), "text", "chunks end at 5, the tail is 4"),
    (delete("chunk", keys.encode_chunk(1, 0)), "text", "chunk at 3 where 0 comes next"),
    (delete("chunk", keys.encode_chunk(1, 3)), "text", "chunks end at 3, the tail is 5"),
    (delete("chunk", keys.encode_chunk(5, 4)), "fork", "chunks end at 4, the tail is 6"),
    (put_chunk(1, 0, b"ab"), "text", "chunk at 3 where 2 comes next"),
    (put_chunk(1, 2, b"c"), "text", "chunk at 2 where 3 comes next"),
    (put_chunk(1, 5, b""), "text", "empty chunk at 5"),
    (put_chunk(5, 0, b"xxxx"), "fork", "chunk at 0 where 4 comes next"),
    (put("chunk", keys.encode_sid(1) + b"short", b"x"), "text", "chunk key of 13 bytes"),
    (put_chunk(98, 0, b"x"), "sid 98", "chunks of an incarnation that does not exist"),
    (put("chunk", b"\0\0\0\0\1", b"x"), "sid 16777216", "chunks of an incarnation that does not exist"),
    (put("chunk", b"\xff" * 16, b"x"), f"sid {2**64 - 1}", "chunks of an incarnation that does not exist"),
    (put("producer", keys.encode_producer(98, "p"), bytes(16)), "sid 98", "producer rows of an incarnation"),
    (put("producer", keys.encode_producer(1, "p"), b"x"), "producer row 000000000000000170", "row of 1 bytes"),
    (delete("gc", keys.encode_sid(7)), "sid 7", "chunks of an incarnation that does not exist"),
    (delete("gc", keys.encode_sid(7)), "sid 7", "producer rows of an incarnation that does not exist"),
    (put("gc", keys.encode_sid(1), b""), "sid 1", "is in use and marked as dropped"),
    (put("gc", b"short", b""), "gc row 73686f7274", "sid key of 5 bytes"),
    (put_head(TEXT._replace(refs=1)), "text", "counts 1 forks, 0 name it"),
    (put_head(SOURCE._replace(refs=2)), "source", "counts 2 forks, 1 name it"),
    (put_head(SOURCE._replace(refs=0)), "source", "counts 0 forks, 1 name it"),
    (put_head(SOURCE._replace(refs=0)), "source", "soft-deleted with no fork left"),
    (delete("head", b"source"), "fork", "its source 'source' is gone (incarnation 4)"),
    (put_head(SOURCE._replace(sid=44)), "fork", "its source 'source' is gone (incarnation 4)"),
    (delete("head", b"source"), "grandfork", "inherits [0, 4) of incarnation 4, which is gone"),
    (delete("sid", keys.encode_sid(5)), "grandfork", "inherits [4, 5) of incarnation 5, which is gone"),
    (put_head(SOURCE._replace(tail=3)), "fork", "inherits [0, 4) of incarnation 4, which only has [0, 3)"),
    (put_head(SOURCE._replace(record=b"[")), "source", "does not decode"),
    (
        put_head(GRANDFORK._replace(record=stores.fork_record(("fork", 5), Segment(4, 3), Segment(5, 5)))),
        "grandfork",
        "inherits [3, 5) of incarnation 5, which only has [4, 6)",
    ),
    (
        put_head(GRANDFORK._replace(record=stores.fork_record(("fork", 5), Segment(4, 6), Segment(5, 5)))),
        "grandfork",
        "inherited segments run backwards, from 6 to 5",
    ),
    (delete("due", keys.encode_due(5_000, 3)), "ttl", "its due row at 5000 is missing"),
    (put_head(TTL._replace(due_ms=0)), "ttl", "expires at 11000 but is due at 0"),
    (put_head(TTL._replace(due_ms=4_000)), "ttl", "stray due row at 5000"),
    (put_head(TTL._replace(touched_ms=0, record=EXPIRES.record, due_ms=7_001)), "ttl", "expires at 7000 but is due at"),
    (put_head(TEXT._replace(due_ms=1)), "text", "in the due index although it never expires"),
    (put_head(SOURCE._replace(due_ms=1)), "source", "in the due index although it never expires"),
    (put("due", keys.encode_due(5_000, 9), b"ttl"), "ttl", "stray due row at 5000 for incarnation 9"),
    (put("due", keys.encode_due(1, 1), b"nowhere"), "nowhere", "stray due row at 1 for incarnation 1"),
    (put("due", b"short", b"ttl"), "due row 73686f7274", "due key of 5 bytes"),
    (flip("head", b"text"), "text", "its head does not match its checksum"),
    (flip("chunk", keys.encode_chunk(1, 3)), "text", "chunk at 3 does not match its checksum"),
    (flip("chunk", keys.encode_chunk(2, 0)), "json", "chunk at 0 does not match its checksum"),
    (flip("producer", keys.encode_producer(1, "p")), "producer row 000000000000000170", "does not match its checksum"),
    (put_chunk(2, 0, JSON_CHUNK[:-2] + b",,"), "json", "chunk at 0 is not whole JSON messages"),
]


def test_a_sound_store_has_no_problems(store: Path) -> None:
    report = check_data_dir(store)
    assert report.problems == ()
    assert report.sound
    assert (report.stream_count, report.chunk_count, report.producer_count, report.dropped_count) == (7, 6, 3, 1)
    assert report.byte_count == TEXT.tail + JSON.tail + SOURCE.tail + (FORK.tail - 4)


@pytest.mark.parametrize(("damage", "where", "what"), DAMAGES)
def test_damage_is_found(store: Path, damage: Damage, where: str, what: str) -> None:  # noqa: PLR0917 - parametrized
    with behind_the_back(store) as (txn, databases):
        damage(txn, databases)
    report = check_data_dir(store)
    assert not report.sound
    assert [found for found in report.problems if found.where == where and what in found.what], report.problems


def test_checking_writes_nothing(store: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in store.iterdir()}

    before = contents()
    check_data_dir(store)
    assert contents() == before


def test_a_served_store_is_not_checked(store: Path) -> None:
    with Child(store) as child, pytest.raises(RefusedToStartError, match=f"in use by process {child.process.pid}"):
        check_data_dir(store)
    assert check_data_dir(store).sound


@pytest.mark.parametrize("missing", ["directory", "store"])
def test_what_is_no_store_is_refused(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "nothing" if missing == "directory" else tmp_path
    with pytest.raises(RefusedToStartError, match="holds no store"):
        check_data_dir(path)


def test_a_truncated_file_is_a_problem_and_no_crash(store: Path) -> None:
    engine = LmdbEngine(store)
    engine.open()
    large = [Chunk(n * 100_000, bytes(100_000)) for n in range(20)]
    engine.commit([[create(head("large", 50, tail=2_000_000), *large)]])
    engine.close()
    os.truncate(store / DATA_FILE, 400_000)
    [problem] = check_data_dir(store).problems
    assert problem.where == DATA_FILE
    assert "the file was cut: it has 400000 bytes of " in problem.what


def test_a_file_of_zeros_is_a_problem(store: Path) -> None:
    (store / DATA_FILE).write_bytes(bytes(100_000))
    [problem] = check_data_dir(store).problems
    assert problem.where == DATA_FILE


def test_a_missing_database_is_a_problem(store: Path) -> None:
    with behind_the_back(store) as (txn, databases):
        txn.drop(databases.due)
    [problem] = check_data_dir(store).problems
    assert problem.where == DATA_FILE


def test_a_report_is_bounded_and_counts_on() -> None:
    findings = Findings()
    for number in range(MAX_PROBLEMS + 5):
        findings.add("a", str(number))
    report = findings.report(streams=0, producers=0, dropped=0)
    assert (len(report.problems), report.problem_count) == (MAX_PROBLEMS, MAX_PROBLEMS + 5)


@pytest.mark.parametrize("counters_per_pass", [1, 2, 1_000])
def test_counting_forks_in_several_passes_counts_each_once(store: Path, counters_per_pass: int) -> None:
    with behind_the_back(store) as (txn, databases):
        put_head(TEXT._replace(refs=3))(txn, databases)
        snapshot = Snapshot(txn, databases, Findings())  # type: ignore[arg-type] # copies do as well as views
        check_refs(snapshot, counters_per_pass)
    assert snapshot.findings.problems == [("text", "counts 3 forks, 0 name it as their source")]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"1,", True),
        (b'{"a":1},2,"x,",', True),
        (rb'"\ud800",', True),
        (rb'"\\ud800","\uDBFF\uDFFF",', True),
        (b"12345678901234567890123,1.0,", True),
        (b"[" * 1_000 + b"]" * 1_000 + b",", True),
        (b"", False),
        (b",", False),
        (b"1", False),
        (b"1,,", False),
        (b"1,2", False),
        (b"1],[2,", False),
        (b'{"a":,', False),
        (rb'"\ud800,', False),
        (b"NaN,", False),
        (b"\xff,", False),
    ],
)
def test_whole_messages(payload: bytes, *, expected: bool) -> None:
    assert is_messages(memoryview(payload)) is expected

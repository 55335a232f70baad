"""Appends are journaled before they go to their places, and nobody can tell where they are."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import (
    Chunk,
    EngineFailedError,
    Mutation,
    Outcome,
    ProducerRow,
    RefusedToStartError,
    StorageFullError,
)
from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.journal import Overlay
from durable_streams.engine.lmdb.rows import encode_head
from durable_streams.protocol.head import Head, Record, encode_record
from tests.engine.heads import create, head, read_bytes, replace
from tests.engine.stores import behind_the_back, put_row

if TYPE_CHECKING:
    from pathlib import Path

A, B = head("a", 1), head("b", 2)
JSON = head("j", 3, record=encode_record(Record("application/json")))


def opened(path: Path, **options: int) -> LmdbEngine:
    engine = LmdbEngine(path, **options)  # type: ignore[arg-type] # numbers only
    engine.open()
    return engine


@pytest.fixture
def engine(tmp_path: Path) -> LmdbEngine:
    engine = opened(tmp_path / "store")
    assert engine.commit([[create(A)], [create(B)], [create(JSON)]]) == [Outcome.APPLIED] * 3
    return engine


def append(engine: LmdbEngine, old: Head, *payloads: bytes, producers: tuple[ProducerRow, ...] = ()) -> Head:
    """Append one chunk after the other in one commit; return the new head."""
    offset, chunks = old.tail, []
    for payload in payloads:
        chunks.append(Chunk(offset, payload))
        offset += len(payload)
    new = old._replace(version=old.version + 1, tail=offset)
    assert engine.commit([[Mutation(old.path, (old.sid, old.version), new, chunks, producers)]]) == [Outcome.APPLIED]
    return new


def journaled(tmp_path: Path, engine: LmdbEngine) -> int:
    """Return how many rows the journal of a running engine has, by a look at a copy of its files."""
    shutil.copytree(tmp_path / "store", tmp_path / "look")
    with behind_the_back(tmp_path / "look") as (txn, databases):
        count = txn.stat(databases.journal)["entries"]
    shutil.rmtree(tmp_path / "look")
    assert engine.name == "lmdb"
    return int(count)


def killed(tmp_path: Path, engine: LmdbEngine, **options: int) -> LmdbEngine:
    """Return an engine on the files as they are, as after a kill."""
    shutil.copytree(tmp_path / "store", tmp_path / "killed")
    engine.close()
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "killed").rename(tmp_path / "store")
    return opened(tmp_path / "store", **options)


def test_small_appends_are_journaled_and_read_at_once(tmp_path: Path, engine: LmdbEngine) -> None:
    producer = ProducerRow("p", 1, 7)
    new = append(engine, append(engine, A, b"one,"), b"two,", b"three", producers=(producer,))
    assert journaled(tmp_path, engine) == 2
    assert engine.load(["a", "b"]) == [new, B]
    assert engine.read(1, 0, 99, 99) == [Chunk(0, b"one,"), Chunk(4, b"two,"), Chunk(8, b"three")]
    assert engine.read(1, 2, 9, 5) == [Chunk(2, b"e,")]
    assert engine.read(1, 2, 9, 6) == [Chunk(2, b"e,"), Chunk(4, b"two,")]
    assert engine.read_before(1, 10) == Chunk(8, b"th")
    assert engine.load_producers([(1, "p"), (2, "p")]) == [producer, None]
    assert engine.scan_producers(1, "", 9) == [producer]
    assert engine.scan("", "", 9) == [new, B, JSON]
    engine.close()


def test_reads_cross_from_stored_to_journaled(tmp_path: Path, engine: LmdbEngine) -> None:
    stored = append(engine, A, b"stored,")
    engine.touch([])
    append(engine, stored, b"journaled")
    assert journaled(tmp_path, engine) == 1
    assert engine.read(1, 3, 11, 99) == [Chunk(3, b"red,"), Chunk(7, b"jour")]
    assert engine.read(1, 3, 99, 5) == [Chunk(3, b"red,")]
    assert engine.read_before(1, 7) == Chunk(0, b"stored,")
    assert engine.read_before(1, 8) == Chunk(7, b"j")
    engine.close()


@pytest.mark.parametrize("is_killed", [False, True])
def test_nothing_is_lost_by_closing_or_a_kill(tmp_path: Path, engine: LmdbEngine, *, is_killed: bool) -> None:
    first = append(engine, A, b"1", producers=(ProducerRow("p", 0, 1),))
    if is_killed:
        engine = killed(tmp_path, engine)
        assert journaled(tmp_path, engine) == 1
    else:
        engine.close()
        engine = opened(tmp_path / "store")
        assert journaled(tmp_path, engine) == 0
    second = append(engine, first, b"2")
    if is_killed:
        engine = killed(tmp_path, engine)
    assert engine.load(["a"]) == [second]
    assert read_bytes(engine, 1) == b"12"
    assert engine.load_producers([(1, "p")]) == [ProducerRow("p", 0, 1)]
    engine.close()
    assert check_data_dir(tmp_path / "store").problems == ()


def test_all_goes_to_its_place_when_the_journal_is_full(tmp_path: Path) -> None:
    engine = opened(tmp_path / "store", journal_max_bytes=2_000)
    engine.commit([[create(A)], [create(B)]])
    a, b, seen = A, B, []
    for number in range(20):
        a, b = append(engine, a, b"a%d" % number, producers=(ProducerRow("p", 0, number),)), append(engine, b, b"b")
        seen.append(journaled(tmp_path, engine))
        assert engine.load_producers([(1, "p")]) == [ProducerRow("p", 0, number)]
        assert read_bytes(engine, 1) == b"".join(b"a%d" % each for each in range(number + 1))
    assert max(seen) < 8
    assert seen.count(0) + seen.count(1) >= 3, "it was never emptied"
    assert engine.load(["a", "b"]) == [a, b]
    engine.close()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda _new: create(head("c", 9)), id="create"),
        pytest.param(lambda new: replace(new, None), id="delete"),
        pytest.param(lambda new: replace(new, new._replace(version=9, due_ms=5)), id="due"),
        pytest.param(
            lambda new: Mutation("a", (1, new.version), new._replace(version=9), (), (), ["p"]), id="forget a producer"
        ),
        pytest.param(
            lambda new: replace(new, new._replace(version=9, tail=9_001), Chunk(1, bytes(9_000))), id="large chunk"
        ),
        pytest.param(lambda new: replace(new, new._replace(version=9), Chunk(7, b"gap")), id="gap"),
        pytest.param(lambda new: replace(new, new._replace(version=9), Chunk(0, b"y")), id="overwrite"),
    ],
)
def test_what_is_no_small_append_empties_the_journal(tmp_path: Path, engine: LmdbEngine, other: object) -> None:
    new = append(engine, A, b"x", producers=(ProducerRow("p", 0, 0),))
    mutation = other(new)  # type: ignore[operator] # one of the lambdas above
    assert engine.commit([[mutation]]) == [Outcome.APPLIED]
    assert journaled(tmp_path, engine) == 0
    assert engine.load([mutation.path]) == [mutation.head]
    expected = None if mutation.head is None or mutation.forgotten else ProducerRow("p", 0, 0)
    if mutation.head is not None:
        assert engine.load_producers([(1, "p")]) == [expected]
    engine.close()


def test_an_append_that_overwrites_what_is_stored_is_not_journaled(tmp_path: Path, engine: LmdbEngine) -> None:
    stored = append(engine, A, b"stored")
    engine.touch([])
    engine.commit([[replace(stored, stored._replace(version=9), Chunk(3, b"new"))]])
    assert journaled(tmp_path, engine) == 0
    engine.close()


def test_without_room_behind_what_is_used_nothing_is_journaled(tmp_path: Path) -> None:
    """What deletes have freed takes rows in their places, and may be too scattered for a journal to rely on."""
    engine = opened(tmp_path / "store", map_size_bytes=4 << 20)
    a = append(engine, A, b"x") if engine.commit([[create(A)]]) else A
    assert journaled(tmp_path, engine) == 1
    fillers = [head(f"filler{number}", 10 + number, tail=64 << 10) for number in range(64)]
    for first_sid, size_bytes in ((10, 64 << 10), (1_000, 4 << 10), (2_000, 1)):  # to the last page
        with suppress(StorageFullError):
            for sid in range(first_sid, first_sid + 1_000):
                filler = head(f"filler{sid - 10}", sid, tail=size_bytes)
                engine.commit([[create(filler, Chunk(0, bytes(size_bytes)))]])
    assert engine.load([fillers[8].path, fillers[-1].path]) == [fillers[8], None]
    for filler in fillers[:8]:
        assert engine.commit([[replace(filler, None)]]) == [Outcome.APPLIED]
    engine.collect(100)
    append(engine, a, b"y")
    assert journaled(tmp_path, engine) == 0
    engine.close()


def test_what_does_not_fit_leaves_no_pieces_behind(tmp_path: Path) -> None:
    full: list[bool] = []

    def fail(point: str) -> None:
        if full and point == "before-commit":
            raise StorageFullError("on purpose")

    engine = LmdbEngine(tmp_path / "store", fault=fail)
    engine.open()
    engine.commit([[create(A)]])
    new = append(engine, A, b"kept")
    full.append(True)
    with pytest.raises(StorageFullError):
        append(engine, new, b"lost")
    full.clear()
    assert engine.read(1, 0, 99, 99) == [Chunk(0, b"kept")]
    assert engine.load(["a"]) == [new]
    append(engine, new, b"again")
    assert read_bytes(engine, 1) == b"keptagain"
    engine.close()


def test_a_refused_group_leaves_the_journal_alone(tmp_path: Path, engine: LmdbEngine) -> None:
    append(engine, A, b"x")
    assert engine.commit([[create(A)]]) == [Outcome.CONFLICT]
    assert journaled(tmp_path, engine) == 1
    engine.close()


def test_the_second_writer_of_one_commit_sees_the_first(engine: LmdbEngine) -> None:
    one = A._replace(version=2, tail=1)
    two = A._replace(version=3, tail=2)
    groups = [[replace(A, one, Chunk(0, b"1"))], [replace(A, one, Chunk(0, b"?"))], [replace(one, two, Chunk(1, b"2"))]]
    assert engine.commit(groups) == [Outcome.APPLIED, Outcome.CONFLICT, Outcome.APPLIED]
    assert engine.load(["a"]) == [two]
    assert read_bytes(engine, 1) == b"12"
    engine.close()


def entry(kind: int, key: bytes, row: bytes) -> bytes:
    return bytes([kind]) + len(key).to_bytes(2, "big") + len(row).to_bytes(4, "big") + key + row


def head_entry(new: Head) -> bytes:
    return entry(0, keys.encode_path(new.path), encode_head(new))


@pytest.mark.parametrize(
    ("row", "where", "what"),
    [
        (b"\0", "journal row 0000000000000005", "does not decode"),
        (b"\0\0\1\0\0\0\1a", "journal row 0000000000000005", "does not decode"),
        (entry(9, b"a", b""), "journal row 0000000000000005", "kind 9"),
        (entry(0, b"a", b"short"), "journal row 0000000000000005", "head row of 5 bytes"),
        (head_entry(A._replace(sid=44)), "a", "incarnation 44 is not the one that stands"),
        (head_entry(head("nowhere", 1)), "nowhere", "is not the one that stands"),
        (head_entry(A._replace(tail=4)), "a", "lead from 0 to 0, the tail went from 0 to 4"),
        (head_entry(A._replace(due_ms=4)), "a", "journaled as due at 4"),
        (head_entry(A._replace(tail=4)) + entry(1, keys.encode_chunk(1, 2), b"ab"), "a", "lead from 2 to 4"),
        (entry(1, keys.encode_chunk(1, 0), b"ab"), "sid 1", "no journaled head"),
        (
            head_entry(JSON._replace(tail=2)) + entry(1, keys.encode_chunk(3, 0), b"[]"),
            "j",
            "journaled chunk at 0 is not whole JSON messages",
        ),
        (
            entry(1, keys.encode_chunk(1, 0), b"ab") + entry(1, keys.encode_chunk(1, 3), b"c"),
            "journal row 0000000000000005",
            "at 3 where 2 comes next",
        ),
        (entry(2, keys.encode_producer(1, "p"), b"x"), "journaled producer row 000000000000000170", "row of 1 bytes"),
        (entry(2, keys.encode_producer(98, "p"), bytes(16)), "sid 98", "of an incarnation that does not stand"),
    ],
)
def test_damage_is_found(tmp_path: Path, engine: LmdbEngine, row: bytes, where: str, what: str) -> None:  # noqa: PLR0917 - parametrized
    engine.close()
    with behind_the_back(tmp_path / "store") as (txn, databases):
        put_row(txn, databases, "journal", key=keys.encode_journal(5), row=row)
    problems = check_data_dir(tmp_path / "store").problems
    assert any(problem.where == where and what in problem.what for problem in problems), problems


def test_a_check_counts_what_is_journaled(tmp_path: Path, engine: LmdbEngine) -> None:
    append(engine, append(engine, A, b"ab"), b"cd")
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    report = check_data_dir(tmp_path / "copy")
    assert (report.problems, report.chunk_count, report.byte_count) == ((), 2, 4)
    engine.close()


def test_a_journal_that_does_not_decode_is_refused(tmp_path: Path, engine: LmdbEngine) -> None:
    engine.close()
    with behind_the_back(tmp_path / "store") as (txn, databases):
        put_row(txn, databases, "journal", key=keys.encode_journal(0), row=b"\7")
    with pytest.raises(RefusedToStartError, match="restore a backup"):
        opened(tmp_path / "store")


def test_a_journal_that_is_damaged_is_found_and_refused(tmp_path: Path, engine: LmdbEngine) -> None:
    """What an append may rest on is missing then: for all the streams in it, which nobody can name for certain."""
    append(engine, A, b"journaled")
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    engine.close()
    with behind_the_back(tmp_path / "copy") as (txn, databases):
        row = txn.get(keys.encode_journal(0), db=databases.journal)
        assert row is not None
        txn.put(keys.encode_journal(0), row.replace(b"journaled", b"journalec"), db=databases.journal)
    problems = check_data_dir(tmp_path / "copy").problems
    assert any("does not match its checksum" in problem.what for problem in problems)
    with pytest.raises(RefusedToStartError, match=r"does not match its checksum.*restore a backup"):
        opened(tmp_path / "copy")


def test_a_number_used_before_is_a_fault(engine: LmdbEngine) -> None:
    new = append(engine, A, b"x")
    engine._journal_number = 0
    with pytest.raises(EngineFailedError, match="goes on beyond"):
        append(engine, new, b"y")
    engine.close()


def test_an_overlay_is_false_as_long_as_it_is_empty() -> None:
    overlay = Overlay()
    assert not overlay
    overlay.restore(head_entry(A))
    assert overlay

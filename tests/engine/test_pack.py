"""Packing changes where rows begin, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import PACKED_BYTES, Chunk, Engine
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.memory import MemoryEngine
from tests.engine.heads import create, head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKENS = [b"token %06d," % number for number in range(20_000)]
TAIL = sum(map(len, TOKENS))


@pytest.fixture(params=["memory", "lmdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Return an open engine with one stream of many small chunks, sid 1, and a neighbour on each side."""
    opened: Engine = MemoryEngine() if request.param == "memory" else LmdbEngine(tmp_path / "store")
    opened.open()
    chunks, offset = [], 0
    for token in TOKENS:
        chunks.append(Chunk(offset, token))
        offset += len(token)
    opened.commit([[create(head("a", 1, tail=TAIL), *chunks)], [create(head("b", 2, tail=4), Chunk(0, b"next"))]])
    yield opened
    opened.close()


def pack_all(engine: Engine, end: int = TAIL, limit: int = 1000) -> None:
    position = 0
    while position < end:
        position = engine.pack(1, position, end, limit)


def read_all(engine: Engine, start: int = 0) -> bytes:
    return b"".join(chunk.payload for chunk in engine.read(1, start, TAIL, TAIL))


def test_bytes_and_offsets_stay_as_they_are(engine: Engine) -> None:
    pack_all(engine)
    assert read_all(engine) == b"".join(TOKENS)
    assert read_all(engine, 12_345) == b"".join(TOKENS)[12_345:]
    assert engine.read(2, 0, 4, 10) == [Chunk(0, b"next")]


def test_rows_become_few_and_large(engine: Engine) -> None:
    pack_all(engine)
    sizes = [len(chunk.payload) for chunk in engine.read(1, 0, TAIL, TAIL)]
    assert max(sizes) <= PACKED_BYTES
    # A slice of a thousand tokens of 13 bytes is one row; slices do not share rows.
    assert len(sizes) == len(TOKENS) // 1000


def test_what_is_past_the_end_stays_apart(engine: Engine) -> None:
    end = sum(map(len, TOKENS[:10]))
    pack_all(engine, end)
    first, second = engine.read(1, 0, TAIL, end + 13)
    assert (first.payload, second.payload) == (b"".join(TOKENS[:10]), TOKENS[10])


def test_packing_twice_changes_nothing(engine: Engine) -> None:
    pack_all(engine, limit=100_000)
    before = engine.read(1, 0, TAIL, TAIL)
    pack_all(engine, limit=100_000)
    assert engine.read(1, 0, TAIL, TAIL) == before


def test_an_unknown_sid_has_nothing_to_pack(engine: Engine) -> None:
    assert engine.pack(99, 0, 100, 10) >= 100

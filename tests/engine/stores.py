"""A closed store with a bit of everything, and a way to damage it behind the engine's back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import lmdb

from durable_streams.engine.base import Chunk, Mutation, Outcome, ProducerRow
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.layout import SEALED, create_databases
from durable_streams.engine.lmdb.sums import seal
from durable_streams.protocol.head import SOFT_DELETED, Fork, Record, Segment, encode_record
from tests.engine.heads import create, head, replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lmdb import Transaction

    from durable_streams.engine.lmdb.layout import Databases

JSON_CHUNK = rb'1.0,{"a":[2,{}]},"\ud800 \\ud800",'


def fork_record(source: tuple[str, int], *lineage: Segment) -> bytes:
    """Return the record of a text stream forked from (path, sid)."""
    path, sid = source
    return encode_record(Record("text/plain", fork=Fork(path, sid, lineage[-1].end, 0, True, False, lineage)))  # noqa: FBT003


TEXT = head("text", 1, tail=5)
JSON = head("json", 2, tail=len(JSON_CHUNK) * 2, record=encode_record(Record("application/json; charset=utf-8")))
TTL = head("ttl", 3, due_ms=5_000, record=encode_record(Record("text/plain", ttl_s=10)))
EXPIRES = head("expires", 8, due_ms=7_000, record=encode_record(Record("text/plain", expires_at_ms=7_000)))
SOURCE = head("source", 4, tail=6, refs=1, state=SOFT_DELETED, record=TTL.record)
FORK = head("fork", 5, tail=6, refs=1, record=fork_record(("source", 4), Segment(4, 4)))
GRANDFORK = head("grandfork", 6, tail=5, record=fork_record(("fork", 5), Segment(4, 4), Segment(5, 5)))
GONE = head("gone", 7, tail=1)

MUTATIONS: tuple[Mutation, ...] = (
    create(TEXT, Chunk(0, b"abc"), Chunk(3, b"de"), producers=[ProducerRow("p", 1, 2), ProducerRow("q", 0, 0)]),
    create(JSON, Chunk(0, JSON_CHUNK), Chunk(len(JSON_CHUNK), JSON_CHUNK)),
    create(TTL),
    create(EXPIRES),
    create(SOURCE, Chunk(0, b"source")),
    create(FORK, Chunk(4, b"xy")),
    create(GRANDFORK),
    create(GONE, Chunk(0, b"x"), producers=[ProducerRow("p", 1, 2)]),
    replace(GONE, None),
)


def make_store(path: Path) -> None:
    """Create a sound store in ``path``: every kind of stream, and one incarnation that waits to be collected."""
    engine = LmdbEngine(path)
    engine.open()
    assert engine.commit([[mutation] for mutation in MUTATIONS]) == [Outcome.APPLIED] * len(MUTATIONS)
    engine.close()


@contextmanager
def behind_the_back(path: Path) -> Iterator[tuple[Transaction[bytes], Databases]]:
    """Open the closed store in ``path`` for any change whatever; committed at the end."""
    env = lmdb.open(str(path), map_size=1 << 30, max_dbs=10, lib_version=0)
    with env, env.begin(write=True) as txn:
        databases = create_databases(env, txn)
        yield txn, databases


def put_row(txn: Transaction[bytes], databases: Databases, name: str, *, key: bytes, row: bytes) -> None:
    """Put a row under a key, with the checksum that it has where rows have one."""
    txn.put(key, seal(key, row) if name in SEALED else row, db=getattr(databases, name))

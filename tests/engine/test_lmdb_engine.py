"""The LMDB engine keeps the engines' contract, across reopening too."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import Due
from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.engine import LmdbEngine
from tests.engine.contract import EngineContract
from tests.engine.stores import behind_the_back, make_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestLmdbEngine(EngineContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[LmdbEngine]:
        engine = LmdbEngine(tmp_path / "store")
        engine.open()
        yield engine
        engine.close()


HOLD_A_READ = """
import lmdb, os, sys
with lmdb.open(sys.argv[1], map_size=0, readonly=True, lib_version=0).begin():
    print("reading", flush=True)
    sys.stdin.read()
"""


def test_collect_frees_what_a_killed_reader_held(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    command = [sys.executable, "-c", HOLD_A_READ, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        reader.kill()
    assert engine._env is not None
    assert str(reader.pid) in engine._env.readers()
    engine.collect(1)
    assert str(reader.pid) not in engine._env.readers()
    engine.close()


def test_due_leaves_out_rows_of_heads_that_no_longer_stand(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    with behind_the_back(tmp_path / "store") as (txn, databases):
        txn.put(keys.encode_due(1, 3), b"nowhere", db=databases.due)
        txn.put(keys.encode_due(2, 9), b"ttl", db=databases.due)
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    assert engine.due(9_999, 1) == [Due(5_000, 3, "ttl")]
    engine.close()

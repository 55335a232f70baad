"""The LMDB engine keeps the engines' contract, across reopening too."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.lmdb.engine import LmdbEngine
from tests.engine.contract import EngineContract

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

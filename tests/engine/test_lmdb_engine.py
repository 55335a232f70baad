"""The LMDB engine keeps the engines' contract, across reopening too."""

from __future__ import annotations

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

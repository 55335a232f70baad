"""The memory engine keeps the engines' contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.memory import MemoryEngine
from tests.engine.contract import EngineContract

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestMemoryEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[MemoryEngine]:
        engine = MemoryEngine()
        engine.open()
        yield engine
        engine.close()


def test_it_says_that_it_is_not_durable() -> None:
    assert (MemoryEngine.name, MemoryEngine.durable) == ("memory", False)

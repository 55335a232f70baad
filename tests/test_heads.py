"""The cache of heads: bounded in what it costs, and filled by one look where many are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.commit import heads
from durable_streams.commit.heads import CACHE_MAX_BYTES, FENCES_MAX, HeadCache
from durable_streams.engine.base import Mutation, ProducerRow
from durable_streams.engine.memory import MemoryEngine
from durable_streams.protocol.head import Head, Record, encode_record
from durable_streams.protocol.producer import Fence

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = "p" * 380
RECORD = encode_record(Record("text/plain"))


class CountingEngine(MemoryEngine):
    """Counts the looks into it."""

    looks = 0

    def load(self, paths: Sequence[str]) -> list[Head | None]:
        self.looks += 1
        return super().load(paths)

    def load_producers(self, keys: Sequence[tuple[int, str]]) -> list[ProducerRow | None]:
        self.looks += 1
        return super().load_producers(keys)


def head(number: int) -> Head:
    return Head(f"s{number:05d}", number, 1, 0, 0, 0, 0, 0, RECORD)


def stored(count: int) -> CountingEngine:
    engine = CountingEngine()
    producers = [ProducerRow("one", 3, 4)]
    engine.commit(
        [[Mutation(head(number).path, None, head(number), producers=producers)] for number in range(1, count + 1)]
    )
    return engine


def test_however_many_fences_a_stream_has_the_cache_has_its_bound() -> None:
    """512 streams with 1024 producers of long ids each were 343 MB."""
    cache = HeadCache(MemoryEngine(), 512)
    for number in range(512):
        cache.store(head(number), {f"{ID}{producer}": Fence(0, producer) for producer in range(FENCES_MAX + 3)})
    kept = cache._entries.values()
    assert 0 < len(kept) < 512
    assert all(len(entry.fences) == FENCES_MAX for entry in kept)
    assert cache.cost_bytes == sum(entry.cost_bytes for entry in kept) <= CACHE_MAX_BYTES
    assert next(iter(kept)).cost_bytes == sum(
        heads._FENCE_BYTES + len(name) for name in next(iter(kept)).fences
    ) + heads._HEAD_BYTES + 2 * len(RECORD) + len("s00000")


def test_what_is_forgotten_costs_nothing() -> None:
    cache = HeadCache(MemoryEngine(), 2)
    for number in range(3):
        cache.store(head(number), {"p": Fence(0, 0)})
    for number in range(3):
        cache.forget(head(number).path)
    assert cache.cost_bytes == 0


def test_many_heads_and_many_fences_are_one_look_each() -> None:
    engine = stored(50)
    cache = HeadCache(engine, 64)
    paths = [head(number).path for number in range(1, 51)]
    engine.looks = 0
    found = cache.load([*paths, "none", "nothing", "none"])
    assert engine.looks == 1
    assert [path for path, entry in found.items() if entry is None] == ["none", "nothing"]
    cache.load_fences(paths, "one")
    assert [cache.fence(path, number, "one") for number, path in enumerate(paths, 1)] == [Fence(3, 4)] * 50
    assert cache.load(paths[:1])[paths[0]] is cache.entry(paths[0])
    assert engine.looks == 2

"""Messages made to be slow to look at hold up nobody else for long."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.memory import MemoryEngine
from durable_streams.streams.pages import FORK_MESSAGES_MAX, FORK_SCAN_MAX_BYTES, SLICE_BYTES
from tests.operations import counted_calls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from durable_streams.engine.base import Chunk
    from tests.http.conftest import Run
    from tests.http.wire import Client

HOLD_CALLS = 5_000
"""Calls in one turn of the loop: some hundreds are made, and hundreds of thousands by whoever looks at every token."""
MEGABYTE = 1_000_000
MESSAGES_COUNT = 12


def of_a_megabyte(inner: bytes) -> bytes:
    """Return one message of that size: an array of small ones."""
    return b"[" + b",".join([inner] * (MEGABYTE // (len(inner) + 1))) + b"]"


HOSTILE = {
    "empty arrays": of_a_megabyte(b"[]"),
    "arrays in arrays": of_a_megabyte(b"[[[]],[]]"),
    "deep": of_a_megabyte(b"[" * 890 + b"]" * 890),
    "lone surrogates": of_a_megabyte(rb'["\ud800"]'),
}


class CountedEngine(MemoryEngine):
    """The memory engine, and how many stored bytes were asked of it."""

    read_bytes = 0

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 the seam's
        """As the memory engine."""
        return self._counted(super().read(sid, start, end, max_bytes))

    def read_before(self, sid: int, end: int) -> Chunk | None:
        """As the memory engine."""
        found = super().read_before(sid, end)
        self._counted([found] if found else [])
        return found

    def _counted(self, chunks: list[Chunk]) -> list[Chunk]:
        self.read_bytes += sum(len(chunk.payload) for chunk in chunks)
        return chunks


@dataclass
class Holds:
    """The most that one turn of the loop has done: calls, and stored bytes looked at."""

    calls: int = 0
    read_bytes: int = 0


@contextmanager
def watched(engine: CountedEngine) -> Iterator[Holds]:
    """Look at every turn of the loop until the block ends."""
    holds, loop = Holds(), asyncio.get_running_loop()
    seen = Holds(0, engine.read_bytes)
    watching = True

    def turn() -> None:
        holds.calls = max(holds.calls, count.calls - seen.calls)
        holds.read_bytes = max(holds.read_bytes, engine.read_bytes - seen.read_bytes)
        seen.calls, seen.read_bytes = count.calls, engine.read_bytes
        if watching:
            loop.call_soon(turn)

    with counted_calls() as count:
        loop.call_soon(turn)
        yield holds
        watching = False
        turn()


@pytest.fixture
def engine() -> CountedEngine:
    """How messages are looked at does not depend on where they are."""
    return CountedEngine()


@pytest.fixture
async def client(run: Run, engine: CountedEngine) -> AsyncIterator[Client]:
    async with run(engine=engine) as site:
        yield site.client


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
async def test_looking_for_the_last_messages_lets_others_in(client: Client, engine: CountedEngine, kind: str) -> None:
    await client.put("s", "application/json")
    for _ in range(MESSAGES_COUNT):
        await client.post("s", b"[" + HOSTILE[kind] + b"]", "application/json")

    with watched(engine) as holds:
        reply = await client.get("s", tail=MESSAGES_COUNT - 1)

    assert reply.body == b"[" + b",".join([HOSTILE[kind]] * (MESSAGES_COUNT - 1)) + b"]"
    assert holds.calls < HOLD_CALLS
    assert holds.read_bytes < 3 * SLICE_BYTES + 2 * MEGABYTE, "a slice and its overlap, and the page at the end"


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_fork_counts_messages_without_looking_into_them(
    client: Client, engine: CountedEngine, kind: str
) -> None:
    await client.put("s", "application/json")
    ends = [(await client.post("s", b"[" + HOSTILE[kind] + b"]", "application/json")).offset for _ in range(9)]

    with watched(engine) as holds:
        reply = await client.fork("fork", "s", stream_fork_offset="-1", stream_fork_sub_offset="8")

    assert (reply.status, reply.offset) == (201, ends[7])
    assert holds.calls < HOLD_CALLS
    assert holds.read_bytes < 3 * FORK_SCAN_MAX_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("message", [b"1", b"[]", b" 1 "])
async def test_a_fork_counts_a_bounded_number_of_messages(
    client: Client, engine: CountedEngine, message: bytes
) -> None:
    stored = message.strip() + b"," + (message + b",") * FORK_MESSAGES_MAX
    await client.put("s", "application/json")
    await client.post("s", b"[" + stored[:-1] + b"]", "application/json")

    with watched(engine) as holds:
        reply = await client.fork("most", "s", stream_fork_offset="-1", stream_fork_sub_offset=str(FORK_MESSAGES_MAX))
    assert reply.status == 201
    assert int(reply.offset) == len(message.strip()) + 1 + (len(message) + 1) * (FORK_MESSAGES_MAX - 1)
    assert holds.calls < 4 * FORK_MESSAGES_MAX + HOLD_CALLS

    more = str(FORK_MESSAGES_MAX + 1)
    refused = await client.fork("more", "s", stream_fork_offset="-1", stream_fork_sub_offset=more)
    assert (refused.status, refused.code) == (400, "invalid-header")
    assert str(FORK_MESSAGES_MAX).encode() in refused.body


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
async def test_an_offset_inside_a_message_is_found_out_at_once(
    client: Client, engine: CountedEngine, kind: str
) -> None:
    await client.put("s", "application/json")
    await client.post("s", b"[" + HOSTILE[kind] + b"]", "application/json")
    comma = HOSTILE[kind].rindex(b",") + 1

    with watched(engine) as holds:
        reply = await client.get("s", offset=f"{comma:016}")

    assert (reply.status, reply.code) == (400, "offset-inside-message")
    assert holds.calls < HOLD_CALLS
    assert holds.read_bytes < 2 * MEGABYTE


@pytest.mark.slow
async def test_a_stream_may_be_deleted_while_its_last_messages_are_looked_for(client: Client) -> None:
    await client.put("s", "application/json")
    for _ in range(MESSAGES_COUNT):
        await client.post("s", b"[" + HOSTILE["arrays in arrays"] + b"]", "application/json")

    reading = [asyncio.create_task(client.get("s", tail=MESSAGES_COUNT - 1)) for _ in range(2)]
    deleted = await client.delete("s")

    assert deleted.status == 204
    assert {(await reply).status for reply in reading} <= {200, 404}


@pytest.mark.slow
async def test_a_live_read_begins_where_the_search_ends(client: Client) -> None:
    await client.put("s", "application/json")
    for _ in range(4):
        await client.post("s", b"[" + HOSTILE["empty arrays"] + b"]", "application/json")

    poll = await client.get("s", tail=3, live="long-poll")
    assert (poll.status, poll.body) == (200, b"[" + HOSTILE["empty arrays"] + b"]")
    async with client.events("s", tail=3) as events:
        assert (await events.pair())[0].encode() == poll.body

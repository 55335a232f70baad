"""The decisions behind endings, one at a time: who may write after what, and what a reader makes of the result."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.codecs.ui_chunks import ending_of
from durable_streams.agents.events import Ending, TextDelta, ToolCalled
from durable_streams.agents.runs.scope import Scope
from durable_streams.agents.sessions.endings import REAP, STOP, close_as, fence, finalize, reap, stop_as_handler
from durable_streams.agents.sessions.places import JSON, Places
from durable_streams.agents.sessions.rows import Attempt, attempt_row
from durable_streams.agents.sessions.session import Session
from durable_streams.client import ProducerTriple, StaleEpochError, StreamClosedError, StreamEvent
from tests.agents.conftest import stored
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from durable_streams.client import AsyncDurableStream

ATTEMPT = Attempt(
    id="g1",
    turn=0,
    stream="sessions/s1/gen/g1",
    message_id="m1",
    prompt="p",
    prompt_id="u1",
    status="running",
    owner="o",
    epoch=0,
    started_at=0,
)


@pytest.fixture
async def places(root: str) -> AsyncIterator[Places]:
    places = Places(root)
    yield places
    await places.aclose()


@pytest.fixture
async def stream(places: Places) -> AsyncDurableStream:
    """A run's stream with half a text and a call without a result."""
    codec = UiChunks()
    stream = places.stream(ATTEMPT.stream)
    begin = codec.begin(Identity("m1", "g1", "s1"))
    await stream.create_stream(content_type=JSON, body=orjson.dumps(begin))
    said = [*codec.feed(TextDelta("t", "half")), *codec.feed(ToolCalled("c1", "charge", {}))]
    await stream.append_as(ProducerTriple("gen", 0, 0), [codec.encode(chunk) for chunk in said])
    return stream


async def test_a_fenced_owner_writes_nothing_more(places: Places, stream: AsyncDurableStream) -> None:
    await fence(places, ATTEMPT)
    await fence(places, ATTEMPT)
    for triple in (ProducerTriple("gen", 0, 1), ProducerTriple("gen", 0, 0)):
        with pytest.raises(StaleEpochError):
            await stream.append_as(triple, [b"{}"])
    chunks = await stored(stream.url)
    assert [chunk["type"] for chunk in chunks].count("data-owner") == 1


async def test_two_reapers_come_to_one_ending(places: Places, stream: AsyncDurableStream) -> None:
    await asyncio.gather(*(reap(places, ATTEMPT, now_ms) for now_ms in range(5, 10)))
    chunks = await stored(stream.url)
    assert [c["type"] for c in chunks][-4:] == ["text-end", "tool-output-error", "message-metadata", "abort"]
    assert [c["type"] for c in chunks].count("abort") == 1
    ending = ending_of(chunks)
    assert ending is not None
    assert (ending.how, ending.reason) == ("lost", "lost")
    message = message_of(chunks)
    assert [(part["type"], part["state"]) for part in message["parts"]] == [
        ("text", "done"),
        ("tool-charge", "output-error"),
    ]
    assert "may have taken effect" in message["parts"][1]["errorText"]


async def test_the_first_ending_counts(places: Places, stream: AsyncDurableStream) -> None:
    await stop_as_handler(places, ATTEMPT, Ending("aborted", by="ann"))
    await stop_as_handler(places, ATTEMPT, Ending("aborted", by="bob"))
    await reap(places, ATTEMPT, 1)
    await close_as(places, ATTEMPT, triple=REAP, chunks=[{"type": "finish"}])
    with pytest.raises(StreamClosedError):
        await stream.append_as(ProducerTriple("gen", 0, 1), [b"{}"])
    chunks = await stored(stream.url)
    assert [c["type"] for c in chunks][-2:] == ["message-metadata", "abort"]
    assert chunks[-2]["messageMetadata"]["by"] == "ann"


async def test_a_session_is_told_of_an_ending_once(root: str, places: Places, stream: AsyncDurableStream) -> None:
    session = Session(places, "s1")
    await session.ensure()
    await session.append(ProducerTriple("turn", 0, 0), [attempt_row(ATTEMPT, "insert")])
    assert await finalize(places, session, ATTEMPT) is None, "it is open"
    await close_as(places, ATTEMPT, triple=STOP, chunks=[{"type": "abort", "reason": "x"}])
    finals = await asyncio.gather(
        *(finalize(places, Session(places, "s1"), replace(ATTEMPT, reason=str(n))) for n in range(5))
    )
    assert len(set(finals)) == 1
    rows = await stored(f"{root}/sessions/s1")
    assert [(row["type"], row["key"]) for row in rows] == [
        ("generation", "g1"),
        ("message", "m1"),
        ("generation", "g1"),
    ]
    with pytest.raises(StaleEpochError):
        await session.append(ProducerTriple("row:g1", 0, 0), [attempt_row(ATTEMPT)])
    state = await session.refresh()
    assert state.attempts["g1"].status == "aborted"


async def test_a_batch_that_ends_behind_the_state_changes_nothing(places: Places) -> None:
    session = Session(places, "s1")

    def row(status: str) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(attempt_row(ATTEMPT))
        parsed["value"]["status"] = status
        return parsed

    session._apply(StreamEvent([row("running"), row("aborted")], "2", up_to_date=True))
    session._apply(StreamEvent([row("running")], "1", up_to_date=True))
    assert session.state.attempts["g1"].status == "aborted"


async def test_a_task_that_swallows_its_first_cancellation_is_cancelled_again() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append(1)
        await asyncio.Event().wait()

    async def driving() -> None:
        scope.enter()
        inner = asyncio.create_task(stubborn())
        begun.set()
        # As frameworks do: the inner task is waited for before the cancellation goes on.
        try:
            await asyncio.shield(inner)
        finally:
            await asyncio.wait([inner])

    swallowed: list[int] = []
    begun = asyncio.Event()
    scope = Scope()
    task = asyncio.create_task(driving())
    await begun.wait()
    await asyncio.sleep(0)
    await asyncio.wait_for(scope.end(task), HANG_S)
    assert task.done()
    assert swallowed == [1]


async def test_a_generator_left_suspended_is_closed() -> None:
    async def connection() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(1)

    async def driving() -> None:
        scope.enter()
        kept.append(connection())
        async for _ in kept[0]:
            begun.set()
            await asyncio.Event().wait()

    closed: list[int] = []
    kept: list[AsyncGenerator[int, None]] = []
    begun = asyncio.Event()
    scope = Scope()
    task = asyncio.create_task(driving())
    await begun.wait()
    await scope.end(task)
    assert closed == [1]

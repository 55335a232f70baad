"""Whatever stands in a session's streams, the session can be read, and a process goes on serving the others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents.codecs import AguiEvents, Identity, UiChunks, chunk_names
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.codecs.reading import event_of
from durable_streams.agents.codecs.ui_chunks import ending_of
from durable_streams.agents.events import Ending
from durable_streams.agents.sessions.adapter import BusyError
from durable_streams.agents.sessions.beacon import Beacon
from durable_streams.agents.sessions.rows import attempt_row
from durable_streams.agents.sessions.state import SessionState
from durable_streams.client import AsyncDurableStream, ProducerTriple
from durable_streams.runtime.clock import SystemClock
from tests.agents.conftest import ended, stored
from tests.agents.test_sessions import Speaker, asking

if TYPE_CHECKING:
    from durable_streams.agents.sessions.beacon import Sign
    from durable_streams.agents.sessions.rows import Attempt
    from tests.agents.conftest import Adapters

ODD: list[Any] = [
    7,
    {"type": "message", "key": "m", "headers": 7, "value": {"id": "m"}},
    {"type": "message", "key": "n", "headers": {"operation": "insert"}, "value": {"id": 7, "parts": "x"}},
    {"type": "generation", "key": "g", "headers": {"operation": "insert"}, "value": {"id": "g"}},
    {"type": "presence", "key": "p", "headers": {}, "value": {"expires_at": "never"}},
    {"type": "control", "key": "c", "headers": {}, "value": {"stop": "now"}},
    {"type": ["x"], "key": "k", "headers": {"operation": "delete"}},
]
WORDS = sorted(word for name, word in vars(chunk_names).items() if name.isupper() and isinstance(word, str))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "id",
    "delta",
    "inputTextDelta",
    "toolCallId",
    "toolName",
    "input",
    "output",
    "errorText",
    "data",
    "messageId",
]
CHUNKS = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    st.sampled_from(WORDS) | st.text(),
    st.dictionaries(st.sampled_from([*FIELDS, "messageMetadata", "url", "preliminary", "reason"]), VALUES),
)


@pytest.mark.slow
@given(st.lists(CHUNKS, max_size=8))
def test_any_chunks_are_folded_ended_and_told_again(chunks: list[dict[str, Any]]) -> None:
    message = message_of(chunks)
    assert isinstance(message["id"], str)
    ending_of(chunks)
    ended_with = UiChunks.resumed(chunks).end(Ending("lost"))
    assert ended_with[-1]["type"] == chunk_names.ABORT
    codec = AguiEvents()
    codec.begin(Identity("m", "r", "t"))
    for chunk in chunks:
        event = event_of(chunk)
        if event is not None:
            list(map(codec.encode, codec.feed(event)))


def test_what_cannot_be_folded_is_noted() -> None:
    chunks: list[dict[str, Any]] = [
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "a"},
        {"type": "text-delta", "id": "t", "delta": ["b"]},
        {"type": "text-delta", "id": "other", "delta": "c"},
        {"type": "text-end", "id": "t"},
    ]
    message = message_of(chunks)
    assert message["parts"] == [{"type": "text", "text": "a", "state": "done"}]
    assert message["metadata"] == {"unread": 2}


@pytest.mark.slow
@given(st.lists(VALUES | st.sampled_from(ODD), max_size=5))
def test_any_rows_leave_a_state_that_can_be_read(rows: list[Any]) -> None:
    state = SessionState()
    for row in rows:
        if isinstance(row, dict):
            state.apply(row)
    assert (state.messages, state.active(), state.presence, state.controls) == ({}, [], {}, {})


async def test_a_session_with_odd_rows_answers(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    speaker.go.set()
    async with AsyncDurableStream(f"{root}/sessions/s1") as stream:
        await stream.create_stream(content_type="application/json")
        for row in ODD:
            await stream.append(orjson.dumps(row))
    async with adapters(speaker) as adapter:
        asked = await adapter.ask("s1", asking())
        assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"


async def running(root: str, adapters: Adapters) -> Attempt:
    """Return an attempt as its row said while it ran."""
    speaker = Speaker()
    async with adapters(speaker) as adapter:
        asked = await adapter.ask("s0", asking())
        await speaker.said.wait()
    del root
    return asked.attempt


async def test_a_attempt_with_odd_chunks_is_ended_and_its_session_goes_on(root: str, adapters: Adapters) -> None:
    left = await running(root, adapters)
    path = "sessions/s1/gen/odd"
    async with AsyncDurableStream(f"{root}/{path}") as stream:
        await stream.create_stream(content_type="application/json")
        for chunk in [{"type": "start", "messageId": "m"}, 7, {"type": "text-delta", "id": "t", "delta": ["a"]}, {}]:
            await stream.append(orjson.dumps(chunk))
    lost = {**{name: getattr(left, name) for name in left.__slots__}, "id": "odd", "stream": path, "owner": "gone"}
    async with AsyncDurableStream(f"{root}/sessions/s1") as stream:
        await stream.create_stream(content_type="application/json")
        await stream.append_as(ProducerTriple("turn", 0, 0), [attempt_row(type(left)(**lost), "insert")])
    speaker = Speaker()
    speaker.go.set()
    async with adapters(speaker) as adapter:
        await Beacon(adapter.places, SystemClock()).leave("gone")
        with contextlib.suppress(BusyError):
            await adapter.ask("s1", asking())
        await ended(adapter, "s1", "odd")
        asked = await adapter.ask("s1", asking())
        assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"
        assert adapter.session("s1").state.attempts["odd"].status == "lost"
    assert (await stored(f"{root}/{path}"))[-1]["type"] == "abort"


async def test_one_bad_session_ends_no_loop_that_serves_others(root: str, adapters: Adapters) -> None:
    del root
    speaker = Speaker()
    async with adapters(speaker) as adapter:
        beacon = adapter.places.stream(f"agents/running/{adapter.now_ms() // 3_600_000}")
        await beacon.create_stream(content_type="application/json", ttl_seconds=4 * 3600)
        for odd in (
            7,
            {"session": 1},
            {"owner": "x", "session": "s 1/..", "generation": "x"},
            {"owner": 7, "left": True},
            {"owner": "x", "beat": "1", "leaseMs": None},
            {"owner": "x", "beat": 1, "leaseMs": 1, "ended": [7, {}]},
            {"owner": "x", "left": True},
        ):
            await beacon.append(orjson.dumps(odd))
        asked = await adapter.ask("s1", asking())
        await speaker.said.wait()
        # Another process's reaper reads the same names from the first on, and finds the run whose owner is told gone.
        found = asyncio.Event()

        class Listening:
            def named(self, owner: str, session_id: str, gid: str) -> None:
                if (owner, session_id, gid) == (asked.attempt.owner, "s1", asked.attempt.id):
                    found.set()

            def beat(self, sign: Sign) -> None: ...

            def handed_on(self, owner: str, session_id: str, gid: str) -> None: ...

            def left(self, owner: str) -> None: ...

        watching = asyncio.create_task(Beacon(adapter.places, SystemClock()).watch(Listening()))
        await found.wait()
        assert not watching.done()
        watching.cancel()
        speaker.go.set()
        assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"

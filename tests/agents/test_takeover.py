"""A process that ends lets its answers finish and leaves its queue to others; one that dies is gone on from."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.events import (
    SAID,
    UNKNOWN,
    Custom,
    Ending,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolReturned,
)
from durable_streams.agents.sessions.adapter import TAKEOVERS_MAX, DrainingError
from durable_streams.agents.sessions.beacon import Beacon
from durable_streams.agents.sessions.begun import Begun, begun
from durable_streams.agents.sessions.prompts import Prompt
from durable_streams.agents.sessions.session import Session
from durable_streams.agents.sessions.taking import REQUEST_MAX_BYTES, handed_request, take
from durable_streams.runtime.clock import SystemClock
from tests.agents.conftest import ended, stored, text_of
from tests.agents.serving import AdapterProcess
from tests.agents.test_sessions import Speaker, asking, user
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text
from tests.patience import HANG_S, comes_true

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from durable_streams.agents import Run
    from durable_streams.agents.events import Event
    from durable_streams.agents.sessions.adapter import Adapter
    from tests.agents.conftest import Adapters
    from tests.serving import ServerProcess

CALLED: Sequence[Event] = [
    StepStarted(),
    TextDelta("s0-t", "Let me see."),
    TextEnded("s0-t"),
    ToolCalled("c1", "t", {}),
    ToolCalled("c2", "t", {}),
]
SAID_ALL = [*CALLED, Custom(SAID, {"step": 0}, transient=True)]
STEP = [*SAID_ALL, ToolReturned("c1", 1), ToolReturned("c2", 2), StepEnded()]
LAST: Sequence[Event] = [StepStarted(), TextDelta("s1-t", "Three."), TextEnded("s1-t"), StepEnded()]


def left(events: Sequence[Event]) -> Begun | None:
    """Return what is made of an answer whose owner died after these events."""
    codec = UiChunks()
    chunks: list[Any] = codec.begin(Identity("m", "r", "s"))
    for event in events:
        chunks += codec.feed(event)
    return begun(chunks)


def shown(left: Begun | None) -> list[tuple[str, object]]:
    assert left is not None
    return [(part["type"], part.get("output", part.get("errorText", part.get("text")))) for part in left.parts]


CALLS = [("step-start", None), ("text", "Let me see.")]


@pytest.mark.parametrize("events", [[], [StepStarted()]])
def test_one_that_has_said_nothing_begins(events: Sequence[Event]) -> None:
    assert shown(left(events)) == []


def test_the_tools_of_a_step_are_what_is_left_of_it() -> None:
    going_on = left([*SAID_ALL, ToolReturned("c2", 2)])
    assert shown(going_on) == [*CALLS, ("tool-t", UNKNOWN), ("tool-t", 2)]
    assert going_on is not None
    assert list(going_on.closing) == [ToolFailed("c1", UNKNOWN), StepEnded()]
    assert not going_on.is_complete


@pytest.mark.parametrize("events", [STEP, [*STEP, StepStarted()]])
def test_a_step_that_is_over_is_gone_on_from(events: Sequence[Event]) -> None:
    going_on = left(events)
    assert shown(going_on) == [*CALLS, ("tool-t", 1), ("tool-t", 2)]
    assert going_on is not None
    assert (list(going_on.closing), going_on.is_complete) == ([], False)


def test_an_answer_that_lacks_its_ending_alone_is_complete() -> None:
    going_on = left([*STEP, *LAST])
    assert going_on is not None
    assert going_on.is_complete
    assert shown(going_on)[-1] == ("text", "Three.")


@pytest.mark.parametrize("events", [CALLED, CALLED[:2], [*STEP, StepStarted(), TextDelta("s1-t", "Thr")]])
def test_what_a_model_was_saying_cannot_be_gone_on_with(events: Sequence[Event]) -> None:
    assert left(events) is None


def test_an_answer_that_has_ended_is_not_gone_on_with() -> None:
    codec = UiChunks()
    chunks: list[Any] = [*codec.begin(Identity("m", "r", "s")), *codec.end(Ending("aborted"))]
    assert begun(chunks) is None
    assert begun([]) is None


def test_a_large_request_is_not_handed_on() -> None:
    assert handed_request({"model": "m"}) == {"model": "m"}
    assert handed_request({"model": "m" * REQUEST_MAX_BYTES}) is None


class Resuming(Speaker):
    """A speaker that goes on where the last one stopped."""

    resumable = True

    async def open(self, run: Run) -> AsyncGenerator[Any, None]:
        self.runs.append(run)
        if run.answer:
            yield StepStarted()
            yield TextDelta("s1-t", "and more")
            return
        for event in STEP:
            yield event
        await run.durable()
        self.said.set()
        await self.go.wait()


async def dies(adapter: Any) -> None:  # noqa: ANN401 its insides
    """Have a process stop running what it runs, and write nothing about it."""
    runs = adapter._run_tasks()
    for run in runs:
        run.cancel()
    await asyncio.wait(runs)


async def test_of_all_who_find_a_run_without_an_owner_one_gets_it(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as adapter:
        asked = await adapter.ask("s1", asking())
        await speaker.said.wait()
        sessions = [Session(adapter.places, "s1") for _ in range(8)]
        taken = await asyncio.gather(*(take(session, asked.attempt, f"p{n}") for n, session in enumerate(sessions)))
        [winner] = [one for one in taken if one is not None]
        assert winner.epoch == 1
        assert (await sessions[0].refresh()).attempts[winner.id] == winner
        # Who had it before is told by the row, stops its model, and writes nothing more about it.
        await asyncio.wait_for(_released(speaker), HANG_S)
        await comes_true(_let_go(adapter))
    assert (await stored(f"{root}/{asked.attempt.stream}"))[-1]["type"] == "text-delta"


def _let_go(adapter: Adapter) -> Callable[[], Awaitable[bool]]:
    async def let_go() -> bool:
        return not adapter.owners("s1")

    return let_go


async def _released(speaker: Speaker) -> None:
    async def released() -> bool:
        return speaker.released == 1

    await comes_true(released)


async def test_finished_steps_are_not_repeated(root: str, adapters: Adapters) -> None:
    source = Resuming()
    async with adapters(source) as other:
        async with adapters(source) as owner:
            asked = await owner.ask("s1", Prompt([user("u1")], request={"level": 3}))
            await source.said.wait()
            await dies(owner)
        final = await ended(other, "s1", asked.attempt.id)
        assert (final.status, final.epoch, final.request) == ("finished", 1, None)
        assert [run.request for run in source.runs] == [{"level": 3}] * 2
        chunks = await stored(f"{root}/{final.stream}")
        kinds = [chunk["type"] for chunk in chunks]
        assert kinds.count("tool-output-available") == 2
        assert text_of(chunks) == "Let me see.and more"
        assert kinds[-1] == "finish"
        assert kinds.count("start") == 1
        message = adapter_message(other, final.message_id)
        assert [part["type"] for part in message["parts"]].count("step-start") == 2
        assert "owner" not in message["metadata"]


class Unable(Resuming):
    """One that keeps what it does to itself."""

    resumable = False


async def test_a_source_that_cannot_go_on_is_not_asked_to(adapters: Adapters) -> None:
    source = Unable()
    async with adapters(source) as other:
        async with adapters(source) as owner:
            asked = await owner.ask("s1", asking())
            await source.said.wait()
            await dies(owner)
        assert (await ended(other, "s1", asked.attempt.id)).status == "lost"
    assert len(source.runs) == 1


class SaidAll(Resuming):
    """One that dies before its ending is written."""

    async def open(self, run: Run) -> AsyncGenerator[Any, None]:
        self.runs.append(run)
        for event in [*STEP, *LAST]:
            yield event
        await run.durable()
        self.said.set()
        await self.go.wait()


async def test_an_ending_that_is_missing_is_written(root: str, adapters: Adapters) -> None:
    source = SaidAll()
    async with adapters(source) as other:
        async with adapters(source) as owner:
            asked = await owner.ask("s1", asking())
            await source.said.wait()
            await dies(owner)
        final = await ended(other, "s1", asked.attempt.id)
        assert final.status == "finished"
    assert len(source.runs) == 1, "nobody is asked again"
    assert text_of(await stored(f"{root}/{final.stream}")) == "Let me see.Three."


async def test_a_run_that_kills_its_owners_ends(adapters: Adapters) -> None:
    source = Resuming()
    async with adapters(source) as other, adapters(source) as owner:
        attempt = (await owner.ask("s1", asking())).attempt
        await source.said.wait()
        for _ in range(TAKEOVERS_MAX):
            taken = await take(Session(owner.places, "s1"), attempt, "gone")
            assert taken is not None
            attempt = taken
        await Beacon(owner.places, SystemClock()).leave("gone")
        await other.active("s1")
        assert (await ended(other, "s1", attempt.id)).status == "lost"
    assert len(source.runs) == 1


def adapter_message(adapter: Any, message_id: str) -> dict[str, Any]:  # noqa: ANN401 its insides
    message: dict[str, Any] = adapter.session("s1").state.messages[message_id]
    return message


async def test_a_queue_is_left_to_others_and_answers_end_by_themselves(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker, on_busy="enqueue") as other:
        async with adapters(speaker, on_busy="enqueue") as ending:
            first = await ending.ask("s1", asking("u1"))
            queued = await ending.ask("s1", asking("u2"))
            await speaker.said.wait()
            draining = asyncio.create_task(ending.drain(HANG_S))
            session = other.session("s1")
            async with session.following():
                gid = queued.attempt.id
                await session.changed(lambda state: gid in state.attempts and state.attempts[gid].epoch == 1)
            with pytest.raises(DrainingError):
                await ending.ask("s1", asking("u3"))
            assert not draining.done()
            speaker.go.set()
            await draining
            assert (await ended(other, "s1", first.attempt.id)).status == "finished"
        final = await ended(other, "s1", queued.attempt.id)
        assert (final.status, final.epoch) == ("finished", 1)
        assert text_of(await stored(f"{root}/{final.stream}")) == "first last"
        assert [run.messages[-1]["id"] for run in speaker.runs] == ["u1", "u2"]


async def test_what_does_not_end_in_time_is_stopped(adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as other:
        async with adapters(speaker) as ending:
            asked = await ending.ask("s1", asking())
            await speaker.said.wait()
            await ending.drain(0)
        final = await ended(other, "s1", asked.attempt.id)
        assert (final.status, final.reason) == ("aborted", "shutdown")


async def health(adapter: AdapterProcess) -> tuple[int, dict[str, Any], str | None]:
    async with aiohttp.ClientSession() as http, http.get(f"{adapter.url}/health") as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")


@pytest.mark.slow
async def test_sigterm(server: ServerProcess, upstream: ScriptedUpstream) -> None:
    upstream.scripts = {"gated": Script([Text("one "), Text("two ")], gate_after=2)}
    arguments = ["--base-url", f"{upstream.base_url}/v1", "--model", "m", "--drain-ms", str(int(HANG_S * 1000))]

    def body(message_id: str) -> dict[str, Any]:
        message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": "gated"}]}
        return {"id": f"s-{message_id}", "messages": [message]}

    adapter = AdapterProcess(server.stream_url("").rstrip("/"), arguments)
    await asyncio.to_thread(adapter.__enter__)
    try:
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{adapter.url}/api/chat", json=body("u1")) as answer:
                url = (await answer.json())["streamUrl"]
            await upstream.arrived()
            assert await health(adapter) == (200, {"status": "ok"}, None)
            adapter.send_signal(signal.SIGTERM)

            async def drains() -> bool:
                return (await health(adapter))[0] == 503

            await comes_true(drains)
            assert await health(adapter) == (503, {"status": "draining"}, "1")
            async with http.post(f"{adapter.url}/api/chat", json=body("u2")) as answer:
                assert (answer.status, answer.headers.get("Retry-After")) == (503, "1"), await answer.text()
                assert (await answer.json(content_type=None))["code"] == "draining"
            async with http.post(f"{upstream.base_url}/go"):
                pass
        await asyncio.to_thread(adapter.wait)
    finally:
        await asyncio.to_thread(adapter.kill)
        await asyncio.to_thread(adapter.close)
    chunks = await stored(url)
    assert (text_of(chunks), chunks[-1]["type"]) == ("one two ", "finish")

"""Sessions through the adapter, in the test's own loop: prompts, stops, and what every process agrees on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents.events import Ending, TextDelta
from durable_streams.agents.sessions.adapter import BusyError
from durable_streams.agents.sessions.prompts import InvalidPromptError, Prompt
from tests.agents.conftest import ended, stored, text_of
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from durable_streams.agents import Run
    from tests.agents.conftest import Adapters


def user(message_id: str, text: str = "hi") -> dict[str, Any]:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def asking(message_id: str = "u1", by: str | None = None, txid: str | None = None, *, agui: bool = False) -> Prompt:
    return Prompt([user(message_id)], by=by, txid=txid, agui=agui)


class Speaker:
    """A source that says words when told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.go = asyncio.Event()
        self.said = asyncio.Event()
        self.released = 0

    async def open(self, run: Run) -> AsyncGenerator[TextDelta, None]:
        self.runs.append(run)
        try:
            yield TextDelta("t", "first ")
            await run.durable()
            self.said.set()
            await self.go.wait()
            yield TextDelta("t", "last")
        finally:
            self.released += 1


async def test_a_prompt_is_answered_and_recorded(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    speaker.go.set()
    async with adapters(speaker) as adapter:
        asked = await adapter.ask("s1", asking(by="ann", txid="tx-1"))
        assert asked.created
        final = await ended(adapter, "s1", asked.attempt.id)
        assert (final.status, final.started_by, final.turn) == ("finished", "ann", 0)
        chunks = await stored(f"{root}/{final.stream}")
        assert text_of(chunks) == "first last"
        assert (chunks[0]["type"], chunks[0]["messageId"]) == ("start", final.message_id)
        rows = await stored(f"{root}/sessions/s1")
        assert [row["type"] for row in rows][:2] == ["message", "generation"]
        assert rows[0]["value"]["metadata"] == {"by": "ann"}
        assert rows[0]["headers"]["txid"] == "tx-1"
        answer = [row["value"] for row in rows if row["type"] == "message"][-1]
        assert answer["id"] == final.message_id
        assert [part["text"] for part in answer["parts"] if part["type"] == "text"] == ["first last"]
        assert await adapter.active("s1") is None


async def test_the_history_is_the_sessions_own(adapters: Adapters) -> None:
    speaker = Speaker()
    speaker.go.set()
    async with adapters(speaker) as adapter:
        first = await adapter.ask("s1", asking("u1"))
        await ended(adapter, "s1", first.attempt.id)
        second = await adapter.ask("s1", asking("u2"))
        await ended(adapter, "s1", second.attempt.id)
        assert [message["id"] for message in speaker.runs[1].messages] == ["u1", first.attempt.message_id, "u2"]
        again = await adapter.ask("s1", Prompt([user("u2")], trigger="regenerate-message"))
        final = await ended(adapter, "s1", again.attempt.id)
        assert [message["id"] for message in speaker.runs[2].messages] == ["u1", first.attempt.message_id, "u2"]
        assert list(adapter.session("s1").state.messages) == ["u1", first.attempt.message_id, "u2", final.message_id]
        edited = await adapter.ask("s1", Prompt([user("u1", "other")], message_id="u1"))
        await ended(adapter, "s1", edited.attempt.id)
        assert [message["id"] for message in speaker.runs[3].messages] == ["u1"]


async def test_the_same_prompt_posted_twice_is_one_run(adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as one, adapters(speaker) as other:
        posted = await asyncio.gather(*(adapter.ask("s1", asking()) for adapter in [one, other] * 10))
        assert len({asked.attempt.id for asked in posted}) == 1
        assert [asked.created for asked in posted].count(True) == 1
        speaker.go.set()
        await ended(other, "s1", posted[0].attempt.id)
        repeated = await other.ask("s1", asking())
        assert (repeated.created, repeated.attempt.id) == (False, posted[0].attempt.id)
    assert len(speaker.runs) == 1


async def test_another_prompt_is_turned_away(adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as one, adapters(speaker) as other:
        asked = await one.ask("s1", asking("u1"))
        with pytest.raises(BusyError) as busy:
            await other.ask("s1", asking("u2"))
        assert busy.value.attempt.id == asked.attempt.id


async def test_another_prompt_interrupts(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker, on_busy="interrupt") as one, adapters(speaker, on_busy="interrupt") as other:
        first = await one.ask("s1", asking("u1"))
        await speaker.said.wait()
        second = await other.ask("s1", asking("u2", by="bob"))
        chunks = await stored(f"{root}/{first.attempt.stream}")
        assert (chunks[-1]["type"], chunks[-1]["reason"]) == ("abort", "interrupted")
        assert chunks[-2]["messageMetadata"]["by"] == "bob"
        speaker.go.set()
        assert (await ended(one, "s1", second.attempt.id)).status == "finished"


async def test_prompts_queue_in_order(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker, on_busy="enqueue") as one, adapters(speaker, on_busy="enqueue") as other:
        posted = [await (one, other)[n % 2].ask("s1", asking(f"u{n}")) for n in range(4)]
        assert [asked.attempt.status for asked in posted] == ["running", "queued", "queued", "queued"]
        speaker.go.set()
        finals = [await ended(one, "s1", asked.attempt.id) for asked in posted]
        assert [final.status for final in finals] == ["finished"] * 4
        assert [[m["id"] for m in run.messages if m["role"] == "user"][-1] for run in speaker.runs] == [
            "u0",
            "u1",
            "u2",
            "u3",
        ]
        assert len(await stored(f"{root}/{posted[3].attempt.stream}")) > 3


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_anybody_can_stop_a_run(root: str, adapters: Adapters, where: str) -> None:
    speaker = Speaker()
    async with adapters(speaker) as owner, adapters(speaker) as other:
        asked = await owner.ask("s1", asking())
        await speaker.said.wait()
        stopper = owner if where == "here" else other
        stopped = await stopper.stop("s1", Ending("aborted", "enough", "eve", stopper.now_ms()))
        assert stopped.attempt is not None
        assert (stopped.stopped, stopped.attempt.stopped_by) == (True, "eve")
        await asyncio.wait_for(ended(owner, "s1", asked.attempt.id), HANG_S)
        chunks = await stored(f"{root}/{asked.attempt.stream}")
        assert [c["type"] for c in chunks] == [
            "start",
            "text-start",
            "text-delta",
            "text-end",
            "message-metadata",
            "abort",
        ]
        assert chunks[-2]["messageMetadata"] | {"at": 0} == {
            "ending": "aborted",
            "aborted": True,
            "by": "eve",
            "reason": "enough",
            "at": 0,
        }
        again = await other.stop("s1", Ending("aborted", by="bob"), asked.attempt.id)
        assert again.attempt is not None
        assert (again.stopped, again.attempt.stopped_by) == (True, "eve")
        assert (await other.stop("s1", Ending("aborted"))).why == "idle"
        assert speaker.released == 1


async def test_a_stop_meant_for_an_earlier_run_leaves_the_later_one_alone(adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as adapter:
        first = await adapter.ask("s1", asking("u1"))
        await adapter.stop("s1", Ending("aborted"))
        second = await adapter.ask("s1", asking("u2"))
        assert (await adapter.stop("s1", Ending("aborted"), "nonsense")).why == "stale"
        late = await adapter.stop("s1", Ending("aborted"), first.attempt.id)
        assert late.attempt is not None
        assert late.attempt.id == first.attempt.id
        assert await adapter.active("s1") == second.attempt


async def test_a_queued_run_can_be_stopped(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker, on_busy="enqueue") as adapter:
        await adapter.ask("s1", asking("u1"))
        queued = await adapter.ask("s1", asking("u2"))
        assert (await adapter.stop("s1", Ending("aborted", by="eve"), queued.attempt.id)).stopped
        assert [c["type"] for c in await stored(f"{root}/{queued.attempt.stream}")] == [
            "start",
            "message-metadata",
            "abort",
        ]
        assert len(speaker.runs) == 1


async def test_a_source_that_fails_is_recorded(root: str, adapters: Adapters) -> None:
    async def failing(_run: Run) -> AsyncIterator[str]:
        yield "half"
        raise ValueError("broken")

    async with adapters(failing) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
        assert final.status == "failed"
        assert str(final.reason).startswith("the agent failed (error ")
        assert (await stored(f"{root}/{final.stream}"))[-1] == {"type": "error", "errorText": final.reason}
        retried = await adapter.ask("s1", asking())
        assert (retried.created, retried.attempt.retry_of) == (True, asked.attempt.id)


async def test_a_source_that_makes_an_error_of_being_stopped_counts_as_stopped(root: str, adapters: Adapters) -> None:
    async def stubborn(run: Run) -> AsyncIterator[str]:
        yield "half"
        await run.durable()
        said.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("closed under me") from None

    said = asyncio.Event()
    async with adapters(stubborn) as adapter:
        asked = await adapter.ask("s1", asking())
        await said.wait()
        assert (await adapter.stop("s1", Ending("aborted", by="eve"))).stopped
        assert (await ended(adapter, "s1", asked.attempt.id)).status == "aborted"


async def test_a_process_that_shuts_down_ends_its_runs(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as other:
        async with adapters(speaker) as adapter:
            asked = await adapter.ask("s1", asking())
            await speaker.said.wait()
        state = await other.session("s1").refresh()
        final = state.attempts[asked.attempt.id]
        assert (final.status, final.reason) == ("aborted", "shutdown")


@pytest.mark.parametrize(
    "messages", [[], [{"id": "a", "role": "assistant", "parts": []}], [{"id": "s", "role": "system", "parts": []}]]
)
async def test_a_prompt_needs_a_message_of_a_user(adapters: Adapters, messages: list[dict[str, Any]]) -> None:
    async with adapters(Speaker()) as adapter:
        with pytest.raises(InvalidPromptError):
            await adapter.ask("s1", Prompt(messages))


async def test_the_agui_stream_tells_prompts_answers_and_endings_once(root: str, adapters: Adapters) -> None:
    speaker = Speaker()
    async with adapters(speaker) as one, adapters(speaker) as other:
        first = await one.ask("s1", asking("u1", agui=True))
        await speaker.said.wait()
        # A second process tells it too, as it would after a crash of the first.
        await other.session("s1").refresh()
        again = asyncio.create_task(other.project(other.session("s1"), first.attempt))
        speaker.go.set()
        await ended(one, "s1", first.attempt.id)
        await again
    events = await stored(f"{root}/sessions/s1/agui")
    kinds = [event["type"] for event in events]
    assert kinds[:5] == [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
    ]
    assert kinds.count("RUN_STARTED") == kinds.count("RUN_FINISHED") == 1
    said = [e["delta"] for e in events if e["type"] == "TEXT_MESSAGE_CONTENT" and e["messageId"] != "u1"]
    assert "".join(said) == "first last"

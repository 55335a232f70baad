"""A long conversation is shown as far as its budget goes: whole turns, and a summary that is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents import Agent
from durable_streams.agents.sessions.prompts import Prompt
from durable_streams.agents.sources.context import Context, Fitted, InvalidContextError, split, trimmed
from durable_streams.agents.sources.summaries import covers, summary_of
from durable_streams.agents.sources.tokens import FILE_TOKENS, MESSAGE_TOKENS, estimate
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from tests.agents.conftest import ended, stored
from tests.agents.raw_model import Answer, RawModel, chat
from tests.agents.test_sessions import user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from durable_streams.agents import Run
    from durable_streams.agents.events import Event
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.sources.http import HttpModel
    from tests.agents.conftest import Adapters


def message(role: str, text: str, name: str = "m") -> dict[str, Any]:
    return {"id": name, "role": role, "parts": [{"type": "text", "text": text}]}


def ten(_message: dict[str, Any]) -> int:
    return 10


ROLES = st.lists(st.sampled_from(["user", "assistant", "system"]), max_size=30)


@given(ROLES, st.integers(min_value=1, max_value=200))
def test_what_is_shown_fits_and_is_made_of_the_latest_whole_turns(roles: list[str], budget: int) -> None:
    messages = [message(role, role, str(number)) for number, role in enumerate(roles)]
    context = Context(budget, count=ten)
    shown = trimmed(messages, context)
    system, turns = split(messages)
    kept_system, kept = split(shown)
    assert kept_system == system
    assert kept == turns[len(turns) - len(kept) :]
    assert len(kept) >= min(1, len(turns))
    assert context.total(shown) <= budget or len(kept) == min(1, len(turns))
    if len(kept) < len(turns):
        assert context.total(shown) + context.total(turns[len(turns) - len(kept) - 1]) > budget


def test_tokens_are_estimated_from_all_that_is_sent() -> None:
    assert estimate(message("user", "12345678")) == MESSAGE_TOKENS + 2
    assert estimate(message("user", "ü" * 4)) == MESSAGE_TOKENS + 2
    picture = {"type": "file", "mediaType": "image/png", "url": "https://a.example/f"}
    call = {"type": "tool-t", "toolCallId": "c", "input": {"a": "x" * 40}, "output": "y" * 400}
    assert estimate({"id": "m", "role": "user", "parts": [picture]}) == MESSAGE_TOKENS + FILE_TOKENS
    assert estimate({"id": "m", "role": "assistant", "parts": [call]}) > MESSAGE_TOKENS + 110
    assert estimate({"id": "m", "role": "user", "parts": [{"type": 7}, 3]}) == MESSAGE_TOKENS


@pytest.mark.parametrize("context", [{"budget_tokens": 0}, {"policy": "forget"}])
def test_what_cannot_work_is_refused(context: dict[str, Any]) -> None:
    with pytest.raises(InvalidContextError):
        Context(**context)


async def talk(adapters: Adapters, source: Source, turns: Sequence[str]) -> None:
    async with adapters(source) as adapter:
        for text in turns:
            asked = await adapter.ask("s1", Prompt([user(f"u-{text}", text)]))
            assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"


def agent(model: RawModel) -> tuple[Agent, HttpModel]:
    http = model.client(OpenAIChatWire())
    return Agent(http, system="Be brief."), http


def contents(body: dict[str, Any]) -> list[str]:
    return [one["content"] for one in body["messages"]]


async def test_the_oldest_turns_are_left_out(adapters: Adapters) -> None:
    async with RawModel(chat({"content": "answer"})) as model:
        source, _ = agent(model)
        await talk(adapters, Fitted(source, Context(30, count=ten)), ["one", "two", "three"])
    assert contents(model.asked[2].body) == ["Be brief.", "two", "answer", "three"]


async def test_a_hook_changes_what_is_shown_and_not_what_is_stored(root: str, adapters: Adapters) -> None:
    async def shouting(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [message(one["role"], one["parts"][0]["text"].upper()) for one in messages[-1:]]

    async with RawModel(chat({"content": "answer"})) as model:
        source, _ = agent(model)
        await talk(adapters, Fitted(source, Context(hook=shouting)), ["one", "two"])
    assert contents(model.asked[1].body) == ["Be brief.", "TWO"]
    rows = await stored(f"{root}/sessions/s1")
    texts = [row["value"]["parts"][-1].get("text") for row in rows if row["type"] == "message"]
    assert texts == ["one", "answer", "two", "answer"]


USED = {"prompt_tokens": 7, "completion_tokens": 3}
ANSWER = chat({"content": "answer"}, usage=USED)
SUMMARY = chat({"content": "They said one."}, usage=USED)


async def test_older_turns_are_summarised_once_for_all_processes(root: str, adapters: Adapters) -> None:
    turns = ["one", "two", "three", "four"]
    async with RawModel(ANSWER, ANSWER, SUMMARY, ANSWER) as model:
        for text in turns:  # each by a process of its own
            source, http = agent(model)
            context = Context(40, "summarise", count=ten)
            await talk(adapters, Fitted(source, context, http), [text])
        asked = [contents(one.body) for one in model.asked]
    assert len(asked) == 5, "one call for the summary"
    assert "User: one\n\nAssistant: answer" in asked[2][1]
    told = "Be brief.\n\nSummary of the conversation so far:\nThey said one."
    assert asked[3] == [told, "three"]
    assert asked[4] == [told, "three", "answer", "four"]
    rows = await stored(f"{root}/sessions/s1")
    assert [row["value"]["text"] for row in rows if row["type"] == "summary"] == ["They said one."]
    used = [row["value"]["usage"] for row in rows if row["type"] == "generation" and row["value"]["usage"]]
    assert [one["inputTokens"] for one in used] == [7, 7, 14, 7]


def test_an_edit_makes_a_summary_worth_nothing() -> None:
    turns = [[message("user", text), message("assistant", "answer")] for text in ("one", "two", "three")]
    made = summary_of(turns[:2], "They said one and two.")
    older = summary_of(turns[:1], "They said one.")
    assert covers([older, made], turns) == made
    edited = [turns[0], [message("user", "deux"), turns[1][1]], turns[2]]
    assert covers([older, made], edited) == older
    assert covers([made], turns[:2]) is None, "the last turn is always shown itself"


async def test_where_the_summary_fails_the_oldest_turns_are_left_out(adapters: Adapters) -> None:
    async with RawModel(ANSWER, ANSWER, Answer(b"{}", 400), ANSWER) as model:
        source, http = agent(model)
        await talk(adapters, Fitted(source, Context(30, "summarise", count=ten), http), ["one", "two", "three"])
    assert contents(model.asked[-1].body) == ["Be brief.", "two", "answer", "three"]


def test_a_fitted_source_goes_on_with_answers_as_its_own_does() -> None:
    class Other:
        async def open(self, run: Run) -> AsyncGenerator[Event, None]:
            raise AssertionError(run)
            yield

    assert Fitted(Agent(None), Context(9)).resumable  # type: ignore[arg-type] # never asked
    assert not Fitted(Other(), Context(9)).resumable


def test_summaries_need_a_model() -> None:
    with pytest.raises(InvalidContextError):
        Fitted(Agent(None), Context(9, "summarise"))  # type: ignore[arg-type] # never asked

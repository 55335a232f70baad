"""A conversation is read in its order, whichever row came first, and a prompt that waited sees what it waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents import Agent
from durable_streams.agents.sessions.prompts import Prompt, PromptGoneError, history
from durable_streams.agents.sessions.state import SessionState
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from tests.agents.conftest import ended, shows, text_of
from tests.agents.test_sessions import user
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text

if TYPE_CHECKING:
    from tests.agents.conftest import Adapters


def row(key: str, order: object) -> dict[str, Any]:
    value = {"id": key, "role": "user", "parts": [], "order": order}
    return {"type": "message", "key": key, "headers": {"operation": "insert"}, "value": value}


@given(st.permutations(range(7)))
def test_rows_in_any_order_are_read_in_that_of_the_conversation(orders: list[int]) -> None:
    state = SessionState()
    for order in orders:
        state.apply(row(str(order), order))
    assert list(state.messages) == [str(order) for order in range(7)]
    state.apply(row("3", 9))
    assert list(state.messages) == ["0", "1", "2", "4", "5", "6", "3"]
    assert [one["id"] for one in history(state, "4")] == ["0", "1", "2", "4"]


def test_rows_without_a_place_stay_before_the_others_as_they_came() -> None:
    state = SessionState()
    for key, order in (("b", 1), ("x", None), ("a", 0), ("y", "2")):
        state.apply(row(key, order))
    assert list(state.messages) == ["x", "y", "a", "b"]


def test_a_prompt_that_was_taken_away_is_answered_with_nothing() -> None:
    state = SessionState()
    state.apply(row("u1", 0))
    with pytest.raises(PromptGoneError):
        history(state, "u2")


async def test_a_prompt_that_waited_is_answered_knowing_the_answer_before_it(
    root: str, upstream: ScriptedUpstream, adapters: Adapters
) -> None:
    upstream.scripts["one"] = Script([Text("first answer"), Text("!")], gate_after=2)
    model = HttpModel(Upstream(f"{upstream.base_url}/v1", "m"), OpenAIChatWire())
    async with adapters(Agent(model), on_busy="enqueue") as adapter:
        asked = [await adapter.ask("s1", Prompt([user("u1", "one")]))]
        await shows(f"{root}/{asked[0].attempt.stream}", lambda chunks: text_of(chunks) == "first answer")
        asked += [await adapter.ask("s1", Prompt([user(f"u{n}", text)])) for n, text in ((2, "two"), (3, "three"))]
        async with aiohttp.ClientSession() as session, session.post(f"{upstream.base_url}/go"):
            for one in asked:
                await ended(adapter, "s1", one.attempt.id)
        shown = list(adapter.session("s1").state.messages.values())
    await model.aclose()
    said = [[(one["role"], one["content"]) for one in request.body["messages"]] for request in upstream.requests]
    assert said[1] == [("user", "one"), ("assistant", "first answer!"), ("user", "two")]
    assert said[2] == [*said[1], ("assistant", "Hello world"), ("user", "three")]
    assert [one["role"] for one in shown] == ["user", "assistant"] * 3

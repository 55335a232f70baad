"""Tokens are counted from every place in which a provider tells of them, once, and whoever asked is known."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents import Agent, Tool, write
from durable_streams.agents.errors import UpstreamCutError
from durable_streams.agents.events import Ending, Finished, Spent, StepStarted, Usage
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.usage import Meter
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from tests.agents.conftest import ended, stored
from tests.agents.raw_model import Answer, RawModel, anthropic, chat, responses, sse
from tests.agents.site import serving
from tests.agents.test_kept import DONE_ANTHROPIC, chat_call, weather
from tests.agents.test_sessions import asking, user
from tests.agents.test_takeover import Resuming, dies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from durable_streams.agents import Run
    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.base import Wire
    from tests.agents.conftest import Adapters

STOP = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
USED: list[tuple[Wire, Answer, dict[str, int]]] = [
    (
        OpenAIChatWire(),
        chat(
            {"content": "hi"},
            usage={
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        ),
        {"inputTokens": 9, "outputTokens": 7, "cachedInputTokens": 4, "reasoningTokens": 2},
    ),
    (
        OpenAIResponsesWire(),
        responses(
            {"id": "m", "type": "message", "content": [{"type": "output_text", "text": "hi"}]},
            usage={
                "input_tokens": 9,
                "output_tokens": 7,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 2},
            },
        ),
        {"inputTokens": 9, "outputTokens": 7, "cachedInputTokens": 4, "reasoningTokens": 2},
    ),
    (AnthropicWire(), DONE_ANTHROPIC, {"inputTokens": 9, "outputTokens": 7, "cachedInputTokens": 4}),
    (
        OpenAIChatWire(),  # in every chunk, and each time of all so far
        sse(
            {**STOP, "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        ),
        {"inputTokens": 3, "outputTokens": 2},
    ),
    (
        OpenAIChatWire(),
        sse({**STOP, "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}),
        {"inputTokens": 3, "outputTokens": 2},
    ),
    (
        OpenAIChatWire(),
        sse({"choices": [{**STOP["choices"][0], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]}),
        {"inputTokens": 3, "outputTokens": 2},
    ),
    (
        OpenAIChatWire(),
        sse({**STOP, "timings": {"cache_n": 5, "prompt_n": 3, "predicted_n": 2}}),
        {"inputTokens": 8, "outputTokens": 2, "cachedInputTokens": 5},
    ),
    (
        OpenAIChatWire(),
        sse({**STOP, "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}}),
        {"inputTokens": 9, "outputTokens": 2, "cachedInputTokens": 8},
    ),
]


@pytest.mark.parametrize(("wire", "answer", "told"), USED)
async def test_usage_is_read_wherever_it_stands(root: str, *, wire: Wire, answer: Answer, told: dict[str, int]) -> None:
    async with RawModel(answer) as model:
        source = Agent(model.client(wire))
        await write(source, to=f"{root}/answer", messages=[user("u1")])
    assert (await stored(f"{root}/answer"))[-1]["messageMetadata"]["usage"] == told


async def test_all_calls_of_a_run_count(root: str) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    first, last = chat(chat_call(), reason="tool_calls", usage=usage), chat({"content": "hi"}, usage=usage)
    async with RawModel(first, last) as model:
        source = Agent(model.client(OpenAIChatWire()), [Tool("weather", weather)])
        written = await write(source, to=f"{root}/answer", messages=[user("u1")])
    assert written.ending.usage == Usage(6, 4)


async def test_what_failed_is_paid_for_too(root: str) -> None:
    whole = anthropic([{"type": "text", "text": ""}, {"type": "text_delta", "text": "half"}])
    async with RawModel(Answer(whole.body[:-300])) as model:
        source = Agent(model.client(AnthropicWire()))
        with pytest.raises(UpstreamCutError):
            await write(source, to=f"{root}/answer", messages=[user("u1")])
    beside, last = (await stored(f"{root}/answer"))[-2:]
    assert last["type"] == "error"
    assert beside["messageMetadata"]["usage"]["inputTokens"] == 9


def test_a_call_that_was_never_finished_counts_once() -> None:
    meter = Meter()
    for event in (
        Spent(Usage(3, 1)),
        Spent(Usage(3, 2)),
        StepStarted(),
        Spent(Usage(1, 1)),
        Finished("stop", Usage(1, 4)),
    ):
        meter.observe(event)
    assert meter.usage == Usage(4, 6)
    meter.observe(Spent(Usage(1)))
    assert meter.usage == Usage(5, 6)


async def test_a_stopped_run_has_its_tokens_in_its_row(adapters: Adapters) -> None:
    async def endless(run: Run) -> AsyncIterator[Event]:
        yield Spent(Usage(5, 1))
        await run.durable()
        said.set()
        await forever.wait()

    said, forever = asyncio.Event(), asyncio.Event()
    async with adapters(endless) as adapter:
        asked = await adapter.ask("s1", asking(by="ann"))
        await said.wait()
        await adapter.stop("s1", Ending("aborted", by="bob"))
        final = await ended(adapter, "s1", asked.attempt.id)
    assert (final.status, final.usage) == ("aborted", {"inputTokens": 5, "outputTokens": 1})


async def test_a_run_that_somebody_else_ended_has_the_tokens_that_it_had_told(root: str, adapters: Adapters) -> None:
    async def endless(run: Run) -> AsyncIterator[Event]:
        for _ in range(2):
            yield StepStarted()
            yield Finished("tool-calls", Usage(5, 1))
        await run.durable()
        said.set()
        await forever.wait()

    said, forever = asyncio.Event(), asyncio.Event()
    async with adapters(endless) as adapter, adapters(endless) as other:
        asked = await adapter.ask("s1", asking())
        await said.wait()
        session = other.session("s1")
        await session.refresh()
        await other.end_lost(session, session.state.attempts[asked.attempt.id])
        final = await ended(other, "s1", asked.attempt.id)
    assert (final.status, final.usage) == ("lost", {"inputTokens": 10, "outputTokens": 2})


class Counting(Resuming):
    """One that tells of its tokens."""

    async def open(self, run: Run) -> AsyncGenerator[Any, None]:
        async with aclosing(super().open(run)) as events:
            async for event in events:
                if isinstance(event, StepStarted):
                    yield event
                    yield Finished("stop", Usage(5, 1))
                else:
                    yield event


async def test_an_answer_that_another_process_goes_on_with_has_all_its_tokens(adapters: Adapters) -> None:
    source = Counting()
    async with adapters(source) as other:
        async with adapters(source) as owner:
            asked = await owner.ask("s1", asking())
            await source.said.wait()
            await dies(owner)
        final = await ended(other, "s1", asked.attempt.id)
    assert (final.status, final.usage) == ("finished", {"inputTokens": 10, "outputTokens": 2})


async def test_a_session_tells_its_tokens_and_whose_they_are(adapters: Adapters) -> None:
    async with RawModel(DONE_ANTHROPIC) as model:
        source = Agent(model.client(AnthropicWire()))
        async with adapters(source) as adapter:
            for number, by in enumerate(("ann", "bob", "ann", None)):
                asked = await adapter.ask("s1", asking(f"u{number}", by))
                await ended(adapter, "s1", asked.attempt.id)
            told = adapter.session("s1").state.usage()
    one = {"inputTokens": 9, "outputTokens": 7, "cachedInputTokens": 4}
    assert told["usage"] == {name: count * 4 for name, count in one.items()}
    assert told["by"] == {"ann": {name: count * 2 for name, count in one.items()}, "bob": one}


async def test_anybody_may_ask_for_a_sessions_tokens(root: str) -> None:
    async with RawModel(DONE_ANTHROPIC) as model:
        source = Agent(model.client(AnthropicWire()))
        async with serving(Adapter(Settings(root), source)) as site:
            asked = await site.adapter.ask("s1", asking(by="ann"))
            await ended(site.adapter, "s1", asked.attempt.id)
            expected = site.adapter.session("s1").state.usage()
            _, _, said = await site.call("GET", "/api/sessions/s1/usage")
    assert orjson.loads(said) == expected

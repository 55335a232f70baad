"""Every source lets go of its model within 1.5 s of a stop, whether the model is talking or silent.

The vendors' packages are optional, and two of them cannot be in one environment (openai-agents wants openai 3, litellm
refuses it); what is not installed is skipped with a line that says so. `make test-sdks` runs all in two environments.
"""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import Agent, Pace
from durable_streams.agents.events import Ending
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.prompts import Prompt
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sources.anthropic import Anthropic
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.sources.langgraph import LangGraph
from durable_streams.agents.sources.litellm import LiteLLM
from durable_streams.agents.sources.openai import OpenAIChat, OpenAIResponses
from durable_streams.agents.sources.openai_agents import OpenAIAgents
from durable_streams.agents.sources.packages import optional
from durable_streams.agents.sources.pydantic_ai import PydanticAI
from tests.agents.conftest import ended, shows, stored, text_of
from tests.agents.test_wires import WIRE
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from durable_streams.agents.sources.base import Source

    Make = Callable[[str, AsyncExitStack], Source]

WORDS = [Text(f"w{n} ") for n in range(20_000)]
KEY = "none"

# Vendors' packages warn of their own use of one another, and leave sockets to the garbage collector.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def http(wire: str) -> Make:
    def make(base: str, exits: AsyncExitStack) -> Source:
        model = HttpModel(Upstream(base if wire == "anthropic" else f"{base}/v1", "m"), WIRE[wire])
        exits.push_async_callback(model.aclose)
        return Agent(model)

    return make


def package(name: str, extra: str = "") -> Any:  # noqa: ANN401 one that may be absent
    return optional(name, extra=extra)


def openai_client(base: str, exits: AsyncExitStack) -> object:
    client = package("openai").AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY)
    exits.push_async_callback(client.close)
    return client


def openai_chat(base: str, exits: AsyncExitStack) -> Source:
    return Agent(OpenAIChat(openai_client(base, exits), "m"))


def openai_responses(base: str, exits: AsyncExitStack) -> Source:
    return Agent(OpenAIResponses(openai_client(base, exits), "m"))


def anthropic(base: str, exits: AsyncExitStack) -> Source:
    client = package("anthropic").AsyncAnthropic(base_url=base, api_key=KEY)
    exits.push_async_callback(client.close)
    return Agent(Anthropic(client, "m"))


def litellm(base: str, _exits: AsyncExitStack) -> Source:
    return Agent(LiteLLM("openai/m", base_url=f"{base}/v1", api_key=KEY))


def double(n: int) -> int:
    """Double a number."""
    return n * 2


double.__annotations__ = {"n": int, "return": int}  # the packages read them as types, not as text


def pydantic_ai(base: str, exits: AsyncExitStack) -> Source:
    provider = package("pydantic_ai.providers.openai").OpenAIProvider(openai_client=openai_client(base, exits))
    model = package("pydantic_ai.models.openai").OpenAIChatModel("m", provider=provider)
    return PydanticAI(package("pydantic_ai").Agent(model, tools=[double]))


def openai_agents(base: str, exits: AsyncExitStack) -> Source:
    sdk = package("agents")
    sdk.set_tracing_disabled(disabled=True)
    model = sdk.OpenAIChatCompletionsModel("m", openai_client(base, exits))
    return OpenAIAgents(sdk.Agent("a", model=model, tools=[sdk.function_tool(double)]))


def langgraph(base: str, exits: AsyncExitStack) -> Source:
    graphs, prebuilt = package("langgraph.graph"), package("langgraph.prebuilt")
    model = package("langchain_openai").ChatOpenAI(base_url=f"{base}/v1", api_key=KEY, model="m", stream_usage=True)
    exits.push_async_callback(model.root_async_client.close)
    bound = model.bind_tools([double])

    async def answer(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    answer.__annotations__ = {"state": graphs.MessagesState}
    graph = graphs.StateGraph(graphs.MessagesState)
    graph.add_node("model", answer).add_node("tools", prebuilt.ToolNode([double]))
    graph.add_edge(graphs.START, "model").add_edge("tools", "model")
    graph.add_conditional_edges("model", prebuilt.tools_condition)
    return LangGraph(graph.compile())


SOURCES: dict[str, tuple[str | None, Make]] = {
    "http openai_chat": (None, http("openai_chat")),
    "http openai_responses": (None, http("openai_responses")),
    "http anthropic": (None, http("anthropic")),
    "openai chat": ("openai", openai_chat),
    "openai responses": ("openai", openai_responses),
    "anthropic": ("anthropic", anthropic),
    "litellm": ("litellm", litellm),
    "pydantic-ai": ("pydantic_ai", pydantic_ai),
    "openai-agents": ("agents", openai_agents),
    "langgraph": ("langchain_openai", langgraph),
}


def prepared(name: str, base: str, exits: AsyncExitStack) -> Source:
    package, make = SOURCES[name]
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed in this environment: run `make test-sdks`")
    return make(base, exits)


def settings(root: str) -> Settings:
    return Settings(root, pace=Pace(linger_ms=5))


def prompt() -> Prompt:
    return Prompt([{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "go"}]}])


@pytest.fixture
async def exits() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.parametrize("mood", ["talking", "silent from the start", "at its first words", "silent in the middle"])
@pytest.mark.parametrize("name", SOURCES)
async def test_a_stop_reaches_the_model(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, name: str, mood: str, exits: AsyncExitStack
) -> None:
    source = prepared(name, upstream.base_url, exits)
    upstream.scripts["go"] = {
        "talking": Script(WORDS, delay_s=0.01),
        "silent from the start": Script(WORDS[:9], hang_after=0),
        "at its first words": Script(WORDS[:9], hang_after=6),
        "silent in the middle": Script(WORDS[:9], hang_after=6),
    }[mood]
    async with Adapter(settings(root), source) as adapter:
        asked = await adapter.ask("s1", prompt())
        request = await asyncio.wait_for(upstream.arrived(), HANG_S)
        if mood == "at its first words":
            # The package has the first events in its hands, or is about to have them.
            await asyncio.wait_for(request.started.wait(), HANG_S)
        elif mood != "silent from the start":
            url = f"{root}/{asked.attempt.stream}"
            await asyncio.wait_for(shows(url, lambda chunks: "w0 " in text_of(chunks)), HANG_S)
        stopped = await adapter.stop("s1", Ending("aborted", by="eve"))
        await asyncio.wait_for(request.ended.wait(), HANG_S)
        assert request.end == "disconnected"
        assert stopped.stopped
        chunks = await stored(f"{root}/{asked.attempt.stream}")
        assert chunks[-1]["type"] == "abort"
        if mood in {"talking", "silent in the middle"}:
            assert text_of(chunks).startswith("w0 ")
    assert [one.end for one in upstream.requests] == ["disconnected"]


@pytest.mark.parametrize("name", SOURCES)
async def test_a_whole_answer_with_a_tool(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, name: str, exits: AsyncExitStack
) -> None:
    source = prepared(name, upstream.base_url, exits)
    upstream.scripts["go"] = Script(
        [Text("Doubling. "), ToolUse("c1", "double", ('{"n"', ":2}"))], then=Script([Text("Four"), Text(".")])
    )
    async with Adapter(settings(root), source) as adapter:
        asked = await adapter.ask("s1", prompt())
        await ended(adapter, "s1", asked.attempt.id)
        chunks = await stored(f"{root}/{asked.attempt.stream}")
    assert chunks[-1]["type"] == "finish", chunks
    assert text_of(chunks) == "Doubling. Four."
    calls = [(c["toolCallId"], c["toolName"], c["input"]) for c in chunks if c["type"] == "tool-input-available"]
    assert calls == [("c1", "double", {"n": 2})]
    results: list[Any] = [c for c in chunks if c["type"] in {"tool-output-available", "tool-output-error"}]
    assert [c["toolCallId"] for c in results] == ["c1"]
    if not name.startswith(("http", "openai ", "anthropic", "litellm")):  # the frameworks bring a tool
        assert str(results[0]["output"]) == "4"
    kinds = [c["type"] for c in chunks]
    assert kinds.count("text-start") == kinds.count("text-end") == 2
    assert kinds.count("start-step") == kinds.count("finish-step") == 2


async def test_upstream_failures_are_told_as_such(root: str, upstream: ScriptedUpstream, exits: AsyncExitStack) -> None:
    for name in ("openai chat", "anthropic"):
        if importlib.util.find_spec(name.split()[0]) is None:
            pytest.skip(f"{name} is not installed in this environment: run `make test-sdks`")
        upstream.scripts["go"] = Script(error_after=4)
        async with Adapter(settings(root), prepared(name, upstream.base_url, exits)) as adapter:
            asked = await adapter.ask(name.replace(" ", "-"), prompt())
            await ended(adapter, name.replace(" ", "-"), asked.attempt.id)
        chunks = await stored(f"{root}/{asked.attempt.stream}")
        assert chunks[-1]["type"] == "error"
        assert "the model's provider reported an error (error " in chunks[-1]["errorText"]

"""`write` takes what the vendors' packages return, and says what to change where it cannot."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import AlreadyWrittenError, UnusableError, UpstreamError, write
from durable_streams.agents.sources.anthropic import Anthropic
from durable_streams.agents.sources.litellm import LiteLLM
from durable_streams.agents.sources.openai import OpenAIChat, OpenAIResponses
from durable_streams.client import AsyncDurableStream, StreamNotFoundError
from tests.agents.conftest import shows, stored, text_of
from tests.agents.sdks import SDK, calls, errors, waiting
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = SDK

KEY = "none"
HI: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def exits() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def openai(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 a package that may be absent
    client = pytest.importorskip("openai").AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
    exits.push_async_callback(client.close)
    return client


async def anthropic(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = pytest.importorskip("anthropic").AsyncAnthropic(base_url=base, api_key=KEY, max_retries=0)
    exits.push_async_callback(client.close)
    return client


async def openai_chat(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = await openai(base, exits)
    return client.chat.completions.create(model="m", messages=HI, stream=True)


async def openai_responses(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = await openai(base, exits)
    return client.responses.create(model="m", input=HI, stream=True)


async def openai_helper(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = await openai(base, exits)
    return client.chat.completions.stream(model="m", messages=HI)


async def openai_responses_helper(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = await openai(base, exits)
    return client.responses.stream(model="m", input=HI)


async def anthropic_create(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = await anthropic(base, exits)
    return client.messages.create(model="m", max_tokens=99, messages=HI, stream=True)


async def anthropic_helper(base: str, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    client = await anthropic(base, exits)
    return client.messages.stream(model="m", max_tokens=99, messages=HI)


async def litellm(base: str, _exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    package = pytest.importorskip("litellm")
    return package.acompletion(model="openai/m", messages=HI, stream=True, base_url=f"{base}/v1", api_key=KEY)


MADE: dict[str, Callable[[str, AsyncExitStack], Any]] = {
    "openai chat": openai_chat,
    "openai responses": openai_responses,
    "openai chat helper": openai_helper,
    "openai responses helper": openai_responses_helper,
    "anthropic": anthropic_create,
    "anthropic helper": anthropic_helper,
    "litellm": litellm,
}
AWAITED = [name for name in MADE if "helper" not in name]


@pytest.fixture
async def made(request: pytest.FixtureRequest, upstream: ScriptedUpstream, exits: AsyncExitStack) -> Any:  # noqa: ANN401 as above
    """What a package's function returned, for the parameter's name; not awaited."""
    return await MADE[request.param](upstream.base_url, exits)


@pytest.mark.parametrize("made", MADE, indirect=True)
async def test_a_vendors_stream_is_written(root: str, upstream: ScriptedUpstream, made: Any) -> None:  # noqa: ANN401 as above
    upstream.scripts["hi"] = Script([Text("Hello "), Text("there")])
    await write(made, to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert (text_of(chunks), errors(chunks), waiting(chunks)) == ("Hello there", [], [])
    assert [request.end for request in upstream.requests] == ["complete"]


@pytest.mark.parametrize("made", AWAITED, indirect=True)
async def test_an_awaited_one_too_and_its_calls_wait(root: str, upstream: ScriptedUpstream, made: Any) -> None:  # noqa: ANN401 as above
    upstream.scripts["hi"] = Script([Text("Well. "), ToolUse("c1", "weather", ('{"city":', '"Oslo"}'))])
    await write(await made, to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert (text_of(chunks), errors(chunks), calls(chunks)) == ("Well. ", [], [("weather", {"city": "Oslo"})])
    assert waiting(chunks) == [{"id": "c1", "kind": "result", "tool": "weather"}]


@pytest.mark.parametrize("made", AWAITED, indirect=True)
async def test_a_stop_reaches_the_model(root: str, upstream: ScriptedUpstream, made: Any) -> None:  # noqa: ANN401 as above
    upstream.scripts["hi"] = Script([Text("w ")] * 99, hang_after=9)
    await (await AsyncDurableStream.create(f"{root}/s", content_type="application/json")).aclose()
    task = asyncio.create_task(write(await made, to=f"{root}/s"))
    await asyncio.wait_for(shows(f"{root}/s", lambda chunks: "w " in text_of(chunks)), HANG_S)
    [request] = upstream.requests
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(request.ended.wait(), HANG_S)
    assert request.end == "disconnected"
    assert (await stored(f"{root}/s"))[-1]["type"] == "abort"


@pytest.mark.parametrize("made", AWAITED, indirect=True)
async def test_a_stream_that_cannot_be_written_is_let_go(root: str, upstream: ScriptedUpstream, made: Any) -> None:  # noqa: ANN401 as above
    upstream.scripts["hi"] = Script([Text("w ")] * 99, hang_after=9)
    await write("first", to=f"{root}/s")
    with pytest.raises(AlreadyWrittenError):
        await write(await made, to=f"{root}/s")
    request = await asyncio.wait_for(upstream.arrived(), HANG_S)
    await asyncio.wait_for(request.ended.wait(), HANG_S)
    assert request.end == "disconnected"


@pytest.mark.parametrize("made", ["openai chat", "anthropic"], indirect=True)
async def test_a_stream_that_was_read_already_is_refused(root: str, upstream: ScriptedUpstream, made: Any) -> None:  # noqa: ANN401 as above
    """Half of it would pass for the whole."""
    stream = await made
    async for _event in stream:
        break
    with pytest.raises(UnusableError, match="has been read already"):
        await write(stream, to=f"{root}/s")
    await stream.close()
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/s")


@pytest.mark.parametrize("made", ["openai chat", "anthropic"], indirect=True)
async def test_an_upstreams_refusal_is_told_as_such(root: str, upstream: ScriptedUpstream, made: Any) -> None:  # noqa: ANN401 as above
    upstream.scripts["hi"] = Script(error_after=4)
    with pytest.raises(UpstreamError, match="scripted error"):
        await write(await made, to=f"{root}/s")
    assert "the model's provider reported an error" in (await stored(f"{root}/s"))[-1]["errorText"]


async def unusable_openai(base: str, exits: AsyncExitStack) -> list[tuple[Any, str]]:
    package, client = pytest.importorskip("openai"), await openai(base, exits)
    blocking = exits.enter_context(package.OpenAI(base_url=f"{base}/v1", api_key=KEY))
    stream = await asyncio.to_thread(blocking.chat.completions.create, model="m", messages=HI, stream=True)
    exits.callback(stream.close)
    types = package.types.chat
    return [
        (blocking, r"OpenAI\(\) is a client.*OpenAIChat\(AsyncOpenAI\(\), model\)"),
        (client, r"AsyncOpenAI\(\) is a client"),
        (stream, r"a Stream holds up everything .*AsyncOpenAI\(\) instead of OpenAI\(\)"),
        (blocking.responses.stream(model="m", input="hi"), "holds up everything"),
        (client.chat.completions.create, "'AsyncCompletions.create' was not called"),
        (
            types.ChatCompletion.model_construct(id="c", choices=[], object="chat.completion"),
            "ChatCompletion is a whole answer: ask for it with stream=True",
        ),
    ]


async def unusable_anthropic(base: str, exits: AsyncExitStack) -> list[tuple[Any, str]]:
    package, client = pytest.importorskip("anthropic"), await anthropic(base, exits)
    blocking = exits.enter_context(package.Anthropic(base_url=base, api_key=KEY))
    stream = await asyncio.to_thread(blocking.messages.create, model="m", max_tokens=9, messages=HI, stream=True)
    exits.callback(stream.close)
    return [
        (client, r"AsyncAnthropic\(\) is a client.*Anthropic\(AsyncAnthropic\(\), model\)"),
        (stream, r"AsyncAnthropic\(\) instead of Anthropic\(\)"),
        (blocking.messages.stream(model="m", max_tokens=9, messages=HI), "holds up everything"),
        (package.types.Message.model_construct(id="m", content=[]), "a whole answer"),
    ]


@pytest.mark.parametrize("make", [unusable_openai, unusable_anthropic], ids=["openai", "anthropic"])
async def test_what_cannot_be_used_is_refused_before_anything_is_written(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, make: Callable[..., Any], exits: AsyncExitStack
) -> None:
    for given, told in await make(upstream.base_url, exits):
        with pytest.raises(UnusableError, match=told):
            await write(given, to=f"{root}/s")
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/s")


def test_models_refuse_a_client_that_blocks() -> None:
    package = pytest.importorskip("openai")
    for make in (OpenAIChat, OpenAIResponses):
        with pytest.raises(UnusableError, match=r"OpenAI\(\) holds up everything .*: use AsyncOpenAI\(\)"):
            make(package.OpenAI(api_key=KEY), "m")
    package = pytest.importorskip("anthropic")
    with pytest.raises(UnusableError, match=r"use AsyncAnthropic\(\)"):
        Anthropic(package.Anthropic(api_key=KEY), "m")


async def test_litellm_answers_a_model_without_an_agent(root: str, upstream: ScriptedUpstream) -> None:
    pytest.importorskip("litellm")
    upstream.scripts["hi"] = Script([Text("Hello")])
    model = LiteLLM("openai/m", base_url=f"{upstream.base_url}/v1", api_key=KEY, stream=False)
    await write(model, to=f"{root}/s", messages="hi")
    assert text_of(await stored(f"{root}/s")) == "Hello"

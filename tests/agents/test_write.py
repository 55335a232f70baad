"""The library: one answer into one stream, whatever happens to the source, the caller and the network."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import (
    Agent,
    AlreadyWrittenError,
    Pace,
    RawText,
    Run,
    RunEndedError,
    Tool,
    ToolError,
    UpstreamCutError,
    UpstreamError,
    current_run,
    write,
)
from durable_streams.agents.codecs import Identity
from durable_streams.agents.events import ToolCalled
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.client import AsyncDurableStream, ProducerTriple, RetryPolicy, astream
from tests.agents.conftest import stored, text_of
from tests.agents.test_wires import WIRE
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import WIRES, Text, Thought, ToolUse
from tests.client.proxy import Cut, CuttingProxy
from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

QUICK = RetryPolicy(initial_s=0.001, max_s=0.01, give_up_after_s=HANG_S)
HISTORY = [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]


async def words(count: int, *, pause_s: float = 0.0) -> AsyncIterator[str]:
    for number in range(count):
        if pause_s:
            await pause(pause_s)
        yield f"w{number} "


def model(upstream: ScriptedUpstream, wire: str, name: str, *, silence_s: float = 30) -> HttpModel:
    base_url = upstream.base_url + ("" if wire == "anthropic" else "/v1")
    return HttpModel(Upstream(base_url, name, first_wait_s=0.01, silence_s=silence_s), WIRE[wire])


async def test_text_in_three_lines(root: str) -> None:
    written = await write(words(100), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert text_of(chunks) == "".join(f"w{n} " for n in range(100))
    assert [c["type"] for c in chunks][:2] == ["start", "text-start"]
    assert [c["type"] for c in chunks][-2:] == ["text-end", "finish"]
    async with AsyncDurableStream(f"{root}/s") as stream:
        head = await stream.head()
    assert (head.stream_closed, head.offset) == (True, written.final_offset)


async def test_raw_text_tells_every_ending_but_the_ordinary_one(root: str) -> None:
    await write(words(3), to=f"{root}/s", codec=RawText())
    with pytest.raises(ValueError, match="broken"):
        await write(failing(), to=f"{root}/t", codec=RawText())
    async with astream(f"{root}/s", live=False) as response:
        assert await response.read_text() == "w0 w1 w2 "
    async with astream(f"{root}/t", live=False) as response:
        assert re.fullmatch(r"half\n\[failed: the agent failed \(error \w+\)\]\n", await response.read_text())


async def failing() -> AsyncIterator[str]:
    yield "half"
    raise ValueError("broken")


async def test_a_failure_is_recorded_and_raised(root: str) -> None:
    with pytest.raises(ValueError, match="broken"):
        await write(failing(), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert chunks[-1]["type"] == "error"
    assert chunks[-1]["errorText"].startswith("the agent failed (error ")
    assert chunks[-2]["messageMetadata"]["ending"] == "failed"
    assert text_of(chunks) == "half"


async def test_a_cancelled_write_says_so(root: str) -> None:
    async def endless(run: Run) -> AsyncIterator[str]:
        yield "first"
        await run.durable()
        said.set()
        await asyncio.Event().wait()

    said = asyncio.Event()
    task = asyncio.create_task(write(endless, to=f"{root}/s"))
    await said.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    chunks = await stored(f"{root}/s")
    assert [c["type"] for c in chunks] == [
        "start",
        "text-start",
        "text-delta",
        "text-end",
        "message-metadata",
        "abort",
    ]


async def test_a_second_attempt_needs_a_stream_of_its_own(root: str) -> None:
    async with AsyncDurableStream(f"{root}/s", content_type="application/json") as stream:
        await stream.create_stream()
        await stream.append_as(ProducerTriple("gen", 0, 0), [b"{}"])
    with pytest.raises(AlreadyWrittenError):
        await write(words(2000), to=f"{root}/s")
    assert await stored(f"{root}/s") == [{}]


async def test_a_stream_closed_by_somebody_else_ends_the_source(root: str) -> None:
    released = asyncio.Event()

    async def endless(run: Run) -> AsyncIterator[str]:
        try:
            yield "a"
            await run.durable()
            said.set()
            while True:
                await pause(0.005)
                yield "b"
        finally:
            released.set()

    said = asyncio.Event()
    async with AsyncDurableStream(f"{root}/s", content_type="application/json") as stream:
        await stream.create_stream()
        task = asyncio.create_task(write(endless, to=stream))
        await said.wait()
        await stream.append_as(ProducerTriple("stop", 0, 0), [b'{"type":"abort"}'], close=True)
        with pytest.raises(RunEndedError):
            await task
    assert released.is_set()
    assert [c["type"] for c in await stored(f"{root}/s")].count("abort") == 1


@pytest.mark.parametrize("seed", range(8))
async def test_lost_answers_neither_double_nor_lose_a_delta(root: str, seed: int) -> None:
    async with AsyncDurableStream(f"{root}/s", content_type="application/json") as stream:
        await stream.create_stream()
    cuts = [
        Cut(answer_bytes=(seed * 37 + n * 61) % 300) if n % 2 else Cut(request_bytes=(seed * 53 + n * 71) % 700)
        for n in range(12)
    ]
    async with (
        CuttingProxy(f"{root}/s", cuts) as proxy,
        AsyncDurableStream(proxy.url, content_type="application/json", retry=QUICK) as cut,
    ):
        await write(words(60, pause_s=0.001), to=cut, pace=Pace(linger_ms=2))
    chunks = await stored(f"{root}/s")
    assert text_of(chunks) == "".join(f"w{n} " for n in range(60))
    assert [c["type"] for c in chunks].count("finish") == 1


async def test_deltas_are_joined_while_an_append_is_on_its_way(root: str) -> None:
    async def fast() -> AsyncIterator[str]:
        for _ in range(1000):
            yield "x" * 10
            await asyncio.sleep(0)

    await write(fast(), to=f"{root}/s")
    deltas = [c["delta"] for c in await stored(f"{root}/s") if c["type"] == "text-delta"]
    assert sum(map(len, deltas)) == 10_000
    assert len(deltas) < 250
    assert max(map(len, deltas)) <= 4096


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_over_http(root: str, upstream: ScriptedUpstream, wire: str) -> None:
    upstream.scripts["m"] = Script(
        [Thought("hm"), Text("Grüße "), Text("🦊")], split=lambda b: [b[:7], b[7:200], b[200:]]
    )
    source = model(upstream, wire, "m")
    await write(Agent(source, system="Be brief."), to=f"{root}/s", messages=HISTORY)
    await source.aclose()
    chunks = await stored(f"{root}/s")
    assert text_of(chunks) == "Grüße 🦊"
    assert [c["type"] for c in chunks if "step" in c["type"]] == ["start-step", "finish-step"]
    assert chunks[-1]["finishReason"] == "stop"
    assert chunks[-1]["messageMetadata"]["usage"] == {"inputTokens": 3, "outputTokens": 7}


@pytest.mark.parametrize("wire", WIRES)
async def test_tools_run_between_two_calls_of_the_model(root: str, upstream: ScriptedUpstream, wire: str) -> None:
    calls = [ToolUse("c1", "double", ('{"n":', "2}")), ToolUse("c2", "nonsense", ("{}",))]
    upstream.scripts["m"] = Script([Text("Let me see."), *calls], then=Script([Text("Four.")]))

    async def double(given: Mapping[str, Any]) -> object:
        before.extend(await stored(f"{root}/s"))
        return given["n"] * 2

    before: list[dict[str, Any]] = []
    source = model(upstream, wire, "m")
    await write(Agent(source, [Tool("double", double)]), to=f"{root}/s", messages=HISTORY)
    await source.aclose()
    assert "c1" in [c["toolCallId"] for c in before if c["type"] == "tool-input-available"], "durable before it ran"
    chunks = await stored(f"{root}/s")
    assert [c["output"] for c in chunks if c["type"] == "tool-output-available"] == [4]
    assert ["no tool" in c["errorText"] for c in chunks if c["type"] == "tool-output-error"] == [True]
    assert text_of(chunks) == "Let me see.Four."
    assert [c["type"] for c in chunks if "step" in c["type"]] == ["start-step", "finish-step"] * 2


async def test_a_tool_that_fails_is_reported_to_the_model(root: str, upstream: ScriptedUpstream) -> None:
    upstream.scripts["m"] = Script([ToolUse("c1", "fail", ("{}",))], then=Script([Text("Sorry.")]))

    async def fail(_given: Mapping[str, Any]) -> object:
        raise ToolError("no luck")

    source = model(upstream, "openai_chat", "m")
    await write(Agent(source, [Tool("fail", fail)]), to=f"{root}/s", messages=HISTORY)
    await source.aclose()
    assert upstream.requests[1].body["messages"][-1]["content"] == "no luck"
    chunks = await stored(f"{root}/s")
    assert [c["errorText"] for c in chunks if c["type"] == "tool-output-error"] == ["no luck"]


async def test_a_tool_of_a_run_that_was_ended_does_not_run(root: str, upstream: ScriptedUpstream) -> None:
    upstream.scripts["m"] = Script([ToolUse("c1", "charge", ("{}",))])

    async def source(run: Run) -> AsyncIterator[Any]:
        async with AsyncDurableStream(f"{root}/s", content_type="application/json") as other:
            await run.durable()
            await other.append_as(ProducerTriple("stop", 0, 0), [b'{"type":"abort"}'], close=True)

        async def charge() -> None:
            ran.append(1)

        await current_run().call(ToolCalled("c1", "charge", {}), charge)
        yield "never"

    ran: list[int] = []
    with pytest.raises(RunEndedError):
        await write(source, to=f"{root}/s")
    assert ran == []


async def test_a_call_under_an_id_that_is_used_up_is_recorded_all_the_same(root: str) -> None:
    async def source(run: Run) -> AsyncIterator[Any]:
        async def charge() -> object:
            recorded.append([c["input"] for c in await stored(f"{root}/s") if c["type"] == "tool-input-available"])
            return len(recorded)

        for cents in (1, 2, 3):
            await run.call(ToolCalled("call_0", "charge", {"cents": cents}), charge)
        yield "done"

    recorded: list[list[object]] = []
    await write(source, to=f"{root}/s")
    assert recorded == [[{"cents": cents} for cents in range(1, n + 1)] for n in (1, 2, 3)]
    outputs = [
        (c["toolCallId"], c["output"]) for c in await stored(f"{root}/s") if c["type"] == "tool-output-available"
    ]
    assert outputs == [("call_0", 1), ("call_0-2", 2), ("call_0-3", 3)]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("status", [429, 500, 529])
async def test_a_refusal_is_repeated_and_then_shown(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, wire: str, status: int
) -> None:
    upstream.scripts["better"] = Script(statuses=[status], retry_after="0")
    source = model(upstream, wire, "better")
    await write(Agent(source), to=f"{root}/s", messages=HISTORY)
    assert text_of(await stored(f"{root}/s")) == "Hello world"
    upstream.scripts["worse"] = Script(statuses=[status] * 3)
    other = model(upstream, wire, "worse")
    with pytest.raises(UpstreamError, match=f"scripted {status}"):
        await write(Agent(other), to=f"{root}/t", messages=HISTORY)
    assert (await stored(f"{root}/t"))[-1]["type"] == "error"
    await source.aclose()
    await other.aclose()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_cut_in_the_middle_of_an_event_is_a_failure(root: str, upstream: ScriptedUpstream, wire: str) -> None:
    upstream.scripts["m"] = Script([Text("0123456789")] * 20, cut_after_bytes=2500)
    source = model(upstream, wire, "m")
    with pytest.raises(UpstreamCutError):
        await write(Agent(source), to=f"{root}/s", messages=HISTORY)
    await source.aclose()
    chunks = await stored(f"{root}/s")
    assert (chunks[-1]["type"], chunks[-2]["messageMetadata"]["ending"]) == ("error", "failed")
    text = text_of(chunks)
    assert text
    assert text == ("0123456789" * 20)[: len(text)]


@pytest.mark.parametrize("wire", WIRES)
async def test_an_error_event_is_a_failure(root: str, upstream: ScriptedUpstream, wire: str) -> None:
    upstream.scripts["m"] = Script(error_after=3)
    source = model(upstream, wire, "m")
    with pytest.raises(UpstreamError, match="scripted error"):
        await write(Agent(source), to=f"{root}/s", messages=HISTORY)
    await source.aclose()
    assert "the model's provider reported an error" in (await stored(f"{root}/s"))[-1]["errorText"]


async def test_a_model_that_hangs_before_its_first_token_is_given_up(root: str, upstream: ScriptedUpstream) -> None:
    upstream.scripts["m"] = Script(hang_after=0)
    source = model(upstream, "openai_chat", "m", silence_s=0.1)
    with pytest.raises(UpstreamError):
        await write(Agent(source), to=f"{root}/s", messages=HISTORY, identity=Identity("m1", "r1", "t1"))
    await source.aclose()
    assert (await stored(f"{root}/s"))[0]["messageId"] == "m1"
    await asyncio.wait_for(upstream.requests[0].ended.wait(), HANG_S)
    assert upstream.requests[0].end == "disconnected"

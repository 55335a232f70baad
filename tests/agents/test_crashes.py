"""The adapter killed with -9 at each stage of a run, and frozen past its lease: every reader comes to an ending."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from durable_streams.client import astream
from tests.agents.conftest import shows, stored, text_of
from tests.agents.serving import AdapterProcess
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S, comes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Start = Callable[[], Awaitable[AdapterProcess]]

LEASE_MS = 3_000
"""Ten renewals: an owner that lives is not taken for dead because the machine is busy."""
WORDS = [Text(f"w{n} ") for n in range(300)]
ENDLESS = [Text(f"w{n} ") for n in range(20_000)]
"""More than is said before its owner is killed, or frozen and given up, however long that takes."""
WHOLE = "".join(word.text for word in ENDLESS)
TERMINAL = {"finish", "abort", "error"}

pytestmark = pytest.mark.slow


@pytest.fixture
async def adapters(root: str, upstream: ScriptedUpstream) -> AsyncIterator[Start]:
    """Start adapter processes with short leases; starting one does not block the loop that serves it."""
    with contextlib.ExitStack() as started:

        async def start() -> AdapterProcess:
            times = ["--lease-ms", str(LEASE_MS), "--renew-ms", "300", "--linger-ms", "20"]
            process = AdapterProcess(
                root,
                ["--source", "tests.agents.tool_source:make", *times],
                environment={
                    "MODEL_URL": f"{upstream.base_url}/v1",
                    "TOOL_URL": f"{upstream.base_url}/tool",
                },
            )
            await asyncio.to_thread(process.__enter__)
            started.callback(process.close)
            return process

        yield start
        # Their ends talk to the server in this loop.
        await asyncio.to_thread(started.close)


async def ask(adapter: AdapterProcess, text: str) -> dict[str, Any]:
    body = {"id": "s1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": text}]}]}
    async with aiohttp.ClientSession() as session, session.post(f"{adapter.url}/api/chat", json=body) as response:
        assert response.status == 201, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def to_the_end(url: str) -> list[dict[str, Any]]:
    async with astream(url) as response:
        return [chunk async for chunk in response.iter_json()]


STAGES: dict[str, tuple[Script, str]] = {
    "in the middle": (Script(ENDLESS, delay_s=0.005), "w40"),
    "before the close": (Script(WORDS, hang_after=301), "w299"),
}


async def killed(adapters: Start, owner: AdapterProcess, survivor: str) -> None:
    """Kill the owner, and have another process, from before or from afterwards."""
    if survivor == "running":
        await adapters()
    await asyncio.to_thread(owner.kill)
    if survivor == "started later":
        await adapters()


@pytest.mark.parametrize("survivor", ["running", "started later"])
@pytest.mark.parametrize("stage", STAGES)
async def test_an_owner_killed_while_its_model_speaks(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, adapters: Start, stage: str, survivor: str
) -> None:
    script, expected = STAGES[stage]
    upstream.scripts["go"] = script
    owner = await adapters()
    asked = await ask(owner, "go")
    reader = asyncio.create_task(to_the_end(asked["streamUrl"]))
    await asyncio.wait_for(shows(asked["streamUrl"], lambda chunks: expected in text_of(chunks)), HANG_S)
    await killed(adapters, owner, survivor)
    chunks = await asyncio.wait_for(reader, HANG_S)
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1] == {"type": "abort", "reason": "lost"}
    assert chunks[-2]["messageMetadata"]["ending"] == "lost"
    assert expected in text_of(chunks)
    assert WHOLE.startswith(text_of(chunks))
    assert [c["type"] for c in chunks].count("text-end") == [c["type"] for c in chunks].count("text-start")
    await asyncio.wait_for(shows(f"{root}/sessions/s1", lambda rows: _status(rows) == "lost"), HANG_S)


@pytest.mark.parametrize("survivor", ["running", "started later"])
async def test_an_owner_killed_before_its_model_has_said_anything(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, adapters: Start, survivor: str
) -> None:
    upstream.scripts["go"] = Script(WORDS, hang_after=0)
    owner = await adapters()
    asked = await ask(owner, "go")
    reader = asyncio.create_task(to_the_end(asked["streamUrl"]))
    await upstream.arrived()
    upstream.scripts["go"] = Script([Text("as if nothing had happened")])
    await killed(adapters, owner, survivor)
    chunks = await asyncio.wait_for(reader, HANG_S)
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1]["type"] == "finish"
    assert text_of(chunks) == "as if nothing had happened"
    assert [c["type"] for c in chunks].count("start-step") == 1
    await asyncio.wait_for(shows(f"{root}/sessions/s1", lambda rows: _status(rows) == "finished"), HANG_S)


@pytest.mark.parametrize("survivor", ["running", "started later"])
async def test_an_owner_killed_in_a_tool(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, adapters: Start, survivor: str
) -> None:
    calls = [ToolUse("c1", "add", ('{"n":1}',)), ToolUse("c2", "charge", ('{"n":1}',))]
    upstream.scripts["go"] = Script([Text("Charging."), *calls], then=Script([Text("Perhaps.")]))
    owner = await adapters()
    asked = await ask(owner, "go")
    reader = asyncio.create_task(to_the_end(asked["streamUrl"]))

    def added(chunks: list[dict[str, Any]]) -> bool:
        return any(chunk["type"] == "tool-output-available" for chunk in chunks)

    await asyncio.wait_for(shows(asked["streamUrl"], added), HANG_S)
    await asyncio.wait_for(upstream.tool_called.wait(), HANG_S)
    await killed(adapters, owner, survivor)
    chunks = await asyncio.wait_for(reader, HANG_S)
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1]["type"] == "finish"
    assert text_of(chunks) == "Charging.Perhaps."
    assert upstream.tool_calls == 1, "nothing is run twice"
    assert [c["output"] for c in chunks if c["type"] == "tool-output-available"] == [2]
    assert ["unknown" in c["errorText"] for c in chunks if c["type"] == "tool-output-error"] == [True]
    assert [c["type"] for c in chunks].count("start-step") == [c["type"] for c in chunks].count("finish-step") == 2
    shown = [message["content"] for message in upstream.requests[-1].body["messages"] if message["role"] == "tool"]
    assert [content == "2" or "unknown" in content for content in shown] == [True, True]
    assert len(upstream.requests) == 2
    await asyncio.wait_for(shows(f"{root}/sessions/s1", lambda rows: _status(rows) == "finished"), HANG_S)


async def test_a_frozen_owner_that_comes_back_writes_nothing(
    root: str, upstream: ScriptedUpstream, adapters: Start
) -> None:
    upstream.scripts["go"] = Script(ENDLESS, delay_s=0.02)
    owner = await adapters()
    await adapters()
    asked = await ask(owner, "go")
    await asyncio.wait_for(shows(asked["streamUrl"], lambda chunks: "w20" in text_of(chunks)), HANG_S)
    reader = asyncio.create_task(to_the_end(asked["streamUrl"]))
    owner.send_signal(signal.SIGSTOP)
    chunks = await asyncio.wait_for(reader, HANG_S)
    owner.send_signal(signal.SIGCONT)
    request = upstream.requests[0]
    await asyncio.wait_for(request.ended.wait(), HANG_S)
    assert request.end == "disconnected"
    assert await stored(asked["streamUrl"]) == chunks
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert (chunks[-1]["type"], chunks[-1]["reason"]) == ("abort", "lost")
    assert WHOLE.startswith(text_of(chunks))
    rows = await stored(f"{root}/sessions/s1")
    assert _status(rows) == "lost"
    # The owner is well: it takes the next prompt.
    upstream.scripts["again"] = Script([Text("fine")])
    again = {"id": "s1", "messages": [{"id": "u2", "role": "user", "parts": [{"type": "text", "text": "again"}]}]}
    async with aiohttp.ClientSession() as session, session.post(f"{owner.url}/api/chat", json=again) as response:
        assert response.status == 201
        url = (await response.json())["streamUrl"]
    assert text_of(await asyncio.wait_for(to_the_end(url), HANG_S)) == "fine"


async def test_whoever_opens_a_session_first_ends_what_was_lost_there(
    root: str, upstream: ScriptedUpstream, adapters: Start
) -> None:
    upstream.scripts["go"] = Script(WORDS, hang_after=3)
    owner = await adapters()
    asked = await ask(owner, "go")
    await asyncio.wait_for(shows(asked["streamUrl"], lambda chunks: "w0" in text_of(chunks)), HANG_S)
    await asyncio.to_thread(owner.kill)
    other = await adapters()

    async def nothing_is_written() -> bool:
        url = f"{other.url}/api/chat/s1/stream"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 204

    await comes_true(nothing_is_written)
    assert (await stored(asked["streamUrl"]))[-1] == {"type": "abort", "reason": "lost"}


def _status(rows: list[dict[str, Any]]) -> str:
    statuses: list[str] = [row["value"]["status"] for row in rows if row["type"] == "generation"]
    return statuses[-1] if statuses else ""

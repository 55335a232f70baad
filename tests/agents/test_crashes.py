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


STAGES: dict[str, tuple[Script, Callable[[list[dict[str, Any]]], bool] | None, str]] = {
    "before the first append": (Script(WORDS, hang_after=0), None, ""),
    "in the middle": (Script(ENDLESS, delay_s=0.005), lambda chunks: "w40" in text_of(chunks), "w40"),
    "in a tool": (
        Script([Text("Charging."), ToolUse("c1", "charge", ('{"n":1}',))]),
        lambda chunks: chunks[-1]["type"] == "tool-input-available",
        "Charging.",
    ),
    "before the close": (Script(WORDS, hang_after=301), lambda chunks: "w299" in text_of(chunks), "w299"),
}


@pytest.mark.parametrize("survivor", ["running", "started later"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_killed_owner(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, adapters: Start, stage: str, survivor: str
) -> None:
    script, reached, expected = STAGES[stage]
    upstream.scripts["go"] = script
    owner = await adapters()
    if survivor == "running":
        await adapters()
    asked = await ask(owner, "go")
    reader = asyncio.create_task(to_the_end(asked["streamUrl"]))
    await upstream.arrived()
    if reached is not None:
        await asyncio.wait_for(shows(asked["streamUrl"], reached), HANG_S)
    if stage == "in a tool":
        await asyncio.wait_for(upstream.tool_called.wait(), HANG_S)
    await asyncio.to_thread(owner.kill)
    if survivor == "started later":
        await adapters()
    chunks = await asyncio.wait_for(reader, HANG_S)
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1] == {"type": "abort", "reason": "lost"}
    assert chunks[-2]["messageMetadata"]["ending"] == "lost"
    text = text_of(chunks)
    assert expected in text
    if stage == "in a tool":
        assert upstream.tool_calls == 1
        assert ["unknown" in c["errorText"] for c in chunks if c["type"] == "tool-output-error"] == [True]
    else:
        assert WHOLE.startswith(text)
    assert [c["type"] for c in chunks].count("text-end") == [c["type"] for c in chunks].count("text-start")
    await asyncio.wait_for(shows(f"{root}/sessions/s1", lambda rows: _status(rows) == "lost"), HANG_S)


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

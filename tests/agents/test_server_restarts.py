"""The streams server killed and started again under a running answer: nothing is doubled, lost or left open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from durable_streams.client import astream
from tests.agents.conftest import shows, stored, text_of
from tests.agents.serving import AdapterProcess
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving import ServerProcess

WORDS = [Text(f"w{n} ") for n in range(400)]
WHOLE = "".join(word.text for word in WORDS)
TERMINAL = {"finish", "abort", "error"}
KILLS = 3

pytestmark = pytest.mark.slow


@pytest.fixture
def adapter(server: ServerProcess, upstream: ScriptedUpstream) -> Iterator[AdapterProcess]:
    upstream.scripts = {"words": Script(WORDS, delay_s=0.01), "endless": Script([*WORDS] * 50, delay_s=0.01)}
    arguments = ["--base-url", f"{upstream.base_url}/v1", "--model", "m", "--linger-ms", "10"]
    with AdapterProcess(server.stream_url("").rstrip("/"), arguments) as running:
        yield running
    print(running.log)  # noqa: T201 - shown when the test fails


async def post(adapter: AdapterProcess, path: str, body: object) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.post(adapter.url + path, json=body) as answer:
        assert answer.status in {200, 201}, await answer.text()
        said: dict[str, Any] = await answer.json()
        return said


async def ask(adapter: AdapterProcess, text: str) -> str:
    message = {"id": f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}
    url: str = (await post(adapter, "/api/chat", {"id": "s1", "messages": [message]}))["streamUrl"]
    return url


async def to_the_end(url: str) -> list[dict[str, Any]]:
    async with astream(url) as response:
        return [chunk async for chunk in response.iter_json()]


async def shows_word(url: str, number: int) -> None:
    await asyncio.wait_for(shows(url, lambda chunks: f"w{number} " in text_of(chunks)), HANG_S)


async def restart(server: ServerProcess) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def final_row(server: ServerProcess) -> dict[str, Any]:
    """Wait for the session to say that its last answer has ended."""
    rows: list[dict[str, Any]] = []

    def has_ended(seen: list[dict[str, Any]]) -> bool:
        rows[:] = [row["value"] for row in seen if row["type"] == "generation"]
        return bool(rows) and rows[-1]["status"] not in {"running", "queued"}

    await asyncio.wait_for(shows(server.stream_url("sessions/s1"), has_ended), HANG_S)
    return rows[-1]


async def test_every_delta_is_there_once_and_the_answer_is_finished(
    server: ServerProcess, adapter: AdapterProcess
) -> None:
    url = await ask(adapter, "words")
    reading = asyncio.create_task(to_the_end(url))
    for kill in range(KILLS):
        await shows_word(url, 20 + 100 * kill)
        await restart(server)
    chunks = await asyncio.wait_for(reading, HANG_S)
    assert text_of(chunks) == WHOLE
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1]["type"] == "finish"
    assert await stored(url) == chunks
    assert (await final_row(server))["status"] == "finished"


async def test_a_stop_after_it_ends_the_answer_and_reaches_the_model(
    server: ServerProcess, adapter: AdapterProcess, upstream: ScriptedUpstream
) -> None:
    url = await ask(adapter, "endless")
    reading = asyncio.create_task(to_the_end(url))
    await shows_word(url, 20)
    await restart(server)
    said = await post(adapter, "/api/chat/s1/stop", {"by": "eve"})
    assert (said["stopped"], said["by"]) == (True, "eve")
    chunks = await asyncio.wait_for(reading, HANG_S)
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1]["type"] == "abort"
    assert (WHOLE * 50).startswith(text_of(chunks))
    assert "w20 " in text_of(chunks)
    request = await upstream.arrived()
    await asyncio.wait_for(request.ended.wait(), HANG_S)
    assert request.end == "disconnected"
    assert await stored(url) == chunks
    row = await final_row(server)
    assert (row["status"], row["stopped_by"]) == ("aborted", "eve")


async def test_a_run_that_ends_while_there_is_no_server_is_finished_afterwards(
    server: ServerProcess, adapter: AdapterProcess, upstream: ScriptedUpstream
) -> None:
    url = await ask(adapter, "words")
    reading = asyncio.create_task(to_the_end(url))
    await shows_word(url, 20)
    await asyncio.to_thread(server.kill)
    request = await upstream.arrived()
    await asyncio.wait_for(request.ended.wait(), HANG_S)
    assert request.end == "complete"
    await asyncio.to_thread(server.start)
    chunks = await asyncio.wait_for(reading, HANG_S)
    assert text_of(chunks) == WHOLE
    assert chunks[-1]["type"] == "finish"
    assert (await final_row(server))["status"] == "finished"

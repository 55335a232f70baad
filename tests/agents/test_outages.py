"""The streams server away, processes frozen, a loop held: no healthy run is lost, and a stop reaches the model."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.agents.conftest import shows, stored, text_of
from tests.agents.serving import AdapterProcess
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S, comes_true, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.serving import ServerProcess

    Start = Callable[[], Awaitable[AdapterProcess]]

LEASE_S = 1.5
TIMES = ["--lease-ms", str(int(LEASE_S * 1000)), "--renew-ms", "150", "--linger-ms", "10"]
BEATS = 20
"""Of another process: more than a lease holds."""
WORDS = [Text(f"w{n} ") for n in range(40)]
WHOLE = "".join(word.text for word in WORDS)
TERMINAL = {"finish", "abort", "error"}

pytestmark = pytest.mark.slow


@pytest.fixture
async def adapters(server: ServerProcess, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Start]:
    upstream.scripts = {
        "gated": Script(WORDS, gate_after=20),
        "endless": Script([*WORDS] * 1000, delay_s=0.01),
        "block": Script([ToolUse("c1", "block", ("{}",))], then=Script([Text("unblocked")])),
    }
    with contextlib.ExitStack() as started:

        async def start() -> AdapterProcess:
            process = AdapterProcess(
                server.stream_url("").rstrip("/"),
                ["--source", "tests.agents.blocking_source:make", *TIMES],
                environment={"MODEL_URL": f"{upstream.base_url}/v1", "BLOCK_DIR": str(tmp_path)},
            )
            await asyncio.to_thread(process.__enter__)
            started.callback(process.close)
            return process

        yield start
        (tmp_path / "go").touch()
        await asyncio.to_thread(started.close)


async def post(url: str, body: object) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        return answer.status, await answer.json()


async def ask(adapter: AdapterProcess, text: str, session_id: str = "s1") -> str:
    message = {"id": f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}
    status, said = await post(f"{adapter.url}/api/chat", {"id": session_id, "messages": [message]})
    assert status == 201, said
    url: str = said["streamUrl"]
    return url


async def status_of(adapter: AdapterProcess, session_id: str = "s1") -> int:
    """Ask for what is being written, as a page does that is opened."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{adapter.url}/api/chat/{session_id}/stream") as answer,
    ):
        return answer.status


async def shows_word(url: str, number: int) -> None:
    await asyncio.wait_for(shows(url, lambda chunks: f"w{number} " in text_of(chunks)), HANG_S)


async def more_beats(server: ServerProcess, count: int = BEATS) -> None:
    """Wait until one process that beats has done so ``count`` times more than now."""
    url = server.stream_url(f"agents/running/{int(time.time()) // 3600}")
    before = len(await stored(url))

    def enough(said: list[dict[str, Any]]) -> bool:
        beaten = [one["owner"] for one in said[before:] if "beat" in one]
        return any(beaten.count(owner) >= count for owner in set(beaten))

    await asyncio.wait_for(shows(url, enough), HANG_S)


async def go(upstream: ScriptedUpstream) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{upstream.base_url}/go"):
        pass


async def final_row(server: ServerProcess, session_id: str = "s1") -> dict[str, Any]:
    rows: list[dict[str, Any]] = []

    def has_ended(seen: list[dict[str, Any]]) -> bool:
        rows[:] = [row["value"] for row in seen if row["type"] == "generation"]
        return bool(rows) and rows[-1]["status"] not in {"running", "queued"}

    await asyncio.wait_for(shows(server.stream_url(f"sessions/{session_id}"), has_ended), HANG_S)
    return rows[-1]


async def finishes(server: ServerProcess, upstream: ScriptedUpstream, url: str) -> None:
    await go(upstream)
    assert (await final_row(server))["status"] == "finished"
    chunks = await stored(url)
    assert text_of(chunks) == WHOLE
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_a_server_that_is_away_for_longer_than_the_lease_loses_no_run(  # noqa: PLR0917 fixtures and parameters
    server: ServerProcess, adapters: Start, upstream: ScriptedUpstream, how: str
) -> None:
    owner, other = await adapters(), await adapters()
    url = await ask(owner, "gated")
    await shows_word(url, 10)
    if how == "frozen":
        server.send_signal(signal.SIGSTOP)
        await pause(LEASE_S * 2)
        server.send_signal(signal.SIGCONT)
    else:
        await asyncio.to_thread(server.kill)
        await pause(LEASE_S * 2)
        await asyncio.to_thread(server.start)
    assert await status_of(owner) == await status_of(other) == 200
    await more_beats(server)
    assert await status_of(owner) == await status_of(other) == 200
    await finishes(server, upstream, url)


async def test_a_process_that_was_frozen_does_not_end_its_own_runs(
    server: ServerProcess, adapters: Start, upstream: ScriptedUpstream
) -> None:
    owner = await adapters()
    url = await ask(owner, "gated")
    await shows_word(url, 10)
    owner.send_signal(signal.SIGSTOP)
    await pause(LEASE_S * 2)
    owner.send_signal(signal.SIGCONT)
    assert await status_of(owner) == 200
    await more_beats(server)
    await finishes(server, upstream, url)


async def test_a_judge_that_was_frozen_with_all_the_others_ends_nothing(
    server: ServerProcess, adapters: Start, upstream: ScriptedUpstream
) -> None:
    owner, other = await adapters(), await adapters()
    url = await ask(owner, "gated")
    await shows_word(url, 10)
    for process in (owner, other):
        process.send_signal(signal.SIGSTOP)
    await pause(LEASE_S * 2)
    for process in (other, owner):
        process.send_signal(signal.SIGCONT)
    assert await status_of(other) == 200
    await more_beats(server)
    await finishes(server, upstream, url)


async def test_a_tool_that_holds_the_loop_loses_nobodys_run(  # noqa: PLR0917 fixtures and parameters
    server: ServerProcess, adapters: Start, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    owner, other = await adapters(), await adapters()
    url = await ask(owner, "gated")
    await shows_word(url, 10)
    blocked = await ask(owner, "block", "s2")

    async def held() -> bool:
        return (tmp_path / "held").exists()

    await comes_true(held)
    await more_beats(server)
    assert await status_of(other) == await status_of(other, "s2") == 200
    (tmp_path / "go").touch()
    assert (await final_row(server, "s2"))["status"] == "finished"
    assert text_of(await stored(blocked)) == "unblocked"
    await finishes(server, upstream, url)


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_a_stop_reaches_the_model_while_there_is_no_server(  # noqa: PLR0917 fixtures and parameters
    server: ServerProcess, adapters: Start, upstream: ScriptedUpstream, how: str
) -> None:
    owner = await adapters()
    url = await ask(owner, "endless")
    await shows_word(url, 10)
    if how == "frozen":
        server.send_signal(signal.SIGSTOP)
    else:
        await asyncio.to_thread(server.kill)
    status, said = await post(f"{owner.url}/api/chat/s1/stop", {"by": "eve"})
    request = upstream.requests[0]
    await asyncio.wait_for(request.ended.wait(), HANG_S)
    assert request.end == "disconnected"
    assert (status, said["stopped"], said["recorded"]) == (202, True, False)
    assert said["generationId"] == url.rpartition("/")[2]
    if how == "frozen":
        server.send_signal(signal.SIGCONT)
    else:
        await asyncio.to_thread(server.start)
    row = await final_row(server)
    assert (row["status"], row["stopped_by"]) == ("aborted", "eve")
    chunks = await stored(url)
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1]["type"] == "abort"
    status, said = await post(f"{owner.url}/api/chat/s1/stop", {"generationId": row["id"]})
    assert (status, said["stopped"], said["by"]) == (200, True, "eve")

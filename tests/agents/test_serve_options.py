"""`agent serve` as a process: who may use it, what it tells, and options that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.agents.serving import AdapterProcess
from tests.agents.upstream import Script, ScriptedUpstream
from tests.cli.running import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

HOOK = """
import pathlib
def told(ended):
    pathlib.Path(__file__).with_name("told").write_text(ended.attempt.status)
"""
PROMPT = {"id": "s1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "broken"}]}]}


async def test_options_arrive(server: ServerProcess, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    (tmp_path / "hooks_of_mine.py").write_text(HOOK)
    upstream.scripts["broken"] = Script(error_after=3)
    arguments = ["--base-url", f"{upstream.base_url}/v1", "--model", "m", "--show-errors"]
    arguments += ["--cors-origins", "http://localhost:5173, https://app.example", "--allowed-hosts", "chat.example"]
    arguments += ["--on-finish", "hooks_of_mine:told", "--session-tokens", "1000000"]
    streams = server.stream_url("").rstrip("/")
    with AdapterProcess(streams, arguments, environment={"PYTHONPATH": str(tmp_path)}) as adapter:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{adapter.url}/api/config", headers={"Origin": "https://app.example"}) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
            async with http.get(f"{adapter.url}/api/config", headers={"Host": "chat.example"}) as answer:
                assert answer.status == 200
            async with http.get(f"{adapter.url}/api/config", headers={"Host": "evil.example"}) as answer:
                assert answer.status == 403
            async with http.post(f"{adapter.url}/api/sse/chat", json=PROMPT) as answer:
                assert "scripted error" in await answer.text()
        # At its end a process waits for its hooks.
    assert (tmp_path / "told").read_text() == "failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cors-origins", "evil"], "is no origin"),
        (["--allowed-hosts", "http://chat.example"], "is no host"),
        (["--webhook-url", "http://127.0.0.1:1/"], "--webhook-secret is missing"),
        (["--webhook-url", "nowhere", "--webhook-secret", "s"], "is an http or https URL"),
        (["--on-finish", "nowhere:nothing"], "there is no 'nowhere:nothing'"),
        (["--session-tokens", "0"], "is not a whole number of at least 1"),
    ],
)
def test_options_that_cannot_be(arguments: list[str], said: str) -> None:
    finished = run("agent", "serve", "--port", "0", *arguments)
    assert finished.returncode in {1, 2}
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr

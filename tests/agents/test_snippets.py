"""Every snippet of docs/agents.md runs as it stands, as a file of its own, against the real server.

Only the addresses are others: those in the page may be taken, and in place of the vendors answers a scripted model.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from durable_streams.client import astream
from tests.agents.conftest import stored, text_of
from tests.agents.serving import AdapterProcess
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S
from tests.ports import free_port
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from tests.serving import ServerProcess

PAGE = (REPOSITORY / "docs" / "agents.md").read_text(encoding="utf-8")
MODULES = REPOSITORY / "tests" / "js-agents" / "node_modules"
STREAMS, ADAPTER, MODEL = "http://127.0.0.1:4437", "http://127.0.0.1:4438", "http://127.0.0.1:8080"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def blocks() -> dict[str, tuple[str, str]]:
    """Return the page's snippets by language, place in it, and source."""
    found = {}
    for number, (language, text) in enumerate(re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL), 1):
        source = re.search(r"agents\.sources\.(\w+)", text)
        name = f"{language}-{number}" + (f"-{source[1]}" if source else "")
        found[name] = (language, text)
    return found


BLOCKS = blocks()
PYTHON = [name for name, (language, _) in BLOCKS.items() if language == "python"]


@pytest.fixture
def model(upstream: ScriptedUpstream) -> ScriptedUpstream:
    upstream.scripts["Hello!"] = Script([Text("Hello"), Text(" there")])
    charge = ToolUse("c1", "charge", ('{"cents":', "5}"))
    upstream.scripts["Charge me 5 cents."] = Script([charge], then=Script([Text("Done.")]))
    return upstream


def environment(model: ScriptedUpstream) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DS_", "OPENAI_"))}
    return inherited | {
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": model.base_url,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{model.base_url}/v1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }


async def run(*command: str, cwd: Path, env: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await asyncio.wait_for(process.communicate(), HANG_S)
    assert process.returncode == 0, printed.decode()
    return printed.decode()


def test_every_snippet_is_of_a_kind_that_is_run() -> None:
    assert {language for language, _ in BLOCKS.values()} == {"python", "sh", "js"}
    assert len(PYTHON) >= 8


def missing(text: str) -> list[str]:
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    imported |= {"litellm"} if "LiteLLM" in text else set()
    return sorted(name for name in imported if importlib.util.find_spec(name) is None)


@pytest.mark.parametrize("name", PYTHON)
async def test_python_runs(  # noqa: PLR0917 fixtures and parameters
    name: str, server: ServerProcess, model: ScriptedUpstream, tmp_path: Path
) -> None:
    text = BLOCKS[name][1]
    if absent := missing(text):
        pytest.skip(f"{', '.join(absent)} is not installed in this environment: run `make test-sdks`")
    file = tmp_path / "snippet.py"
    file.write_text(text.replace(STREAMS, server.url).replace(MODEL, model.base_url), encoding="utf-8")
    printed = await run(sys.executable, str(file), cwd=tmp_path, env=environment(model))
    assert "Warning" not in printed
    streams = re.findall(r"answer-\d+", text)
    assert streams
    for stream in streams:
        chunks = await stored(server.stream_url(stream))
        assert chunks[-1]["type"] == "finish", chunks
        waits = {""} if "approval=True" in text else set()
        assert text_of(chunks) in {"Hello there", "Done.", "Hello!"} | waits
    assert {request.end for request in model.requests} <= {"complete"}


@pytest.mark.skipif(not MODULES.exists(), reason="npm packages of the agent tests are missing: run `make environment`")
@pytest.mark.parametrize("name", [name for name, (language, _) in BLOCKS.items() if language == "js"])
async def test_javascript_runs(  # noqa: PLR0917 fixtures and parameters
    name: str, server: ServerProcess, model: ScriptedUpstream, tmp_path: Path
) -> None:
    arguments = ["--base-url", f"{model.base_url}/v1", "--model", "m"]
    with AdapterProcess(server.stream_url("").rstrip("/"), arguments) as adapter:
        file = tmp_path / "snippet.mjs"
        file.write_text(BLOCKS[name][1].replace(ADAPTER, adapter.url), encoding="utf-8")
        (tmp_path / "node_modules").symlink_to(MODULES)
        printed = await run("node", str(file), cwd=tmp_path, env=environment(model))
    assert printed.count("text-delta") >= 2, printed
    assert "[ 'user', 'assistant' ]" in printed


@pytest.mark.parametrize("name", [name for name, (language, _) in BLOCKS.items() if language == "sh"])
async def test_shell_runs(name: str, model: ScriptedUpstream, tmp_path: Path) -> None:
    """Both services start and work together."""
    port, agent_port = free_port(), free_port()
    streams_url = f"http://127.0.0.1:{port}/v1/stream"
    env = environment(model) | {
        "DS_PORT": str(port),
        "DS_AGENT_PORT": str(agent_port),
        "DS_STREAMS_URL": streams_url,
        "PYTHONUNBUFFERED": "1",
    }
    file = tmp_path / "snippet.sh"
    file.write_text(BLOCKS[name][1].replace(MODEL, model.base_url), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        "sh", str(file), cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        await asyncio.wait_for(_says(process, f"http://127.0.0.1:{agent_port}"), HANG_S)
        body = {"id": "s1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hello!"}]}]}
        answered: Any = await _posted(f"http://127.0.0.1:{agent_port}/api/chat", body)
        async with asyncio.timeout(HANG_S), astream(answered["streamUrl"]) as response:
            chunks = [chunk async for chunk in response.iter_json()]
        assert text_of(chunks) == "Hello there"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def _says(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if text in line.decode():
            return
    raise AssertionError("it ended without a word")


async def _posted(url: str, body: object) -> object:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return await response.json()

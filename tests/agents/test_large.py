"""Answers that are larger than the server takes at once end, and their session goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents import Agent, Pace, Tool
from durable_streams.agents.codecs.ui_chunks import UiChunks
from durable_streams.agents.events import FileGiven, TextDelta, ToolFailed
from durable_streams.agents.fit import ERROR_MAX_CHARS, TEXT_MAX_CHARS, UnstorableError, fit
from durable_streams.agents.plain import VALUE_MAX_BYTES
from durable_streams.agents.runs.coalescer import Coalescer
from durable_streams.agents.runs.intake import DELTA_MAX_CHARS, Intake
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.bulk import RESTORED_BYTES, ROW_MAX_BYTES, keep, parted, restored
from durable_streams.agents.sessions.events import InvalidEventError, add_events, be_present
from durable_streams.agents.sessions.places import Places
from durable_streams.agents.sessions.prompts import InvalidPromptError, Prompt
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sources.given import as_source
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.engine.memory import MemoryEngine
from durable_streams.runtime.config import Bounds, ServerConfig
from durable_streams.server import Server
from tests.agents.conftest import ended, stored, text_of
from tests.agents.test_sessions import Speaker, asking, user
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from durable_streams.agents import Run
    from tests.agents.conftest import Adapters

MIB = 2**20


@asynccontextmanager
async def calling(root: str, upstream: ScriptedUpstream, *, size_bytes: int, count: int) -> AsyncIterator[Adapter]:
    """An adapter whose model calls a tool so often, which gives so much each time."""

    async def produce(_given: Mapping[str, Any]) -> object:
        return "x" * size_bytes

    calls = [ToolUse(f"c{n}", "produce", ("{}",)) for n in range(count)]
    upstream.scripts = {"go": Script(calls, then=Script([Text("done")])), "next": Script([Text("fine")])}
    model = HttpModel(Upstream(f"{upstream.base_url}/v1", "m"), OpenAIChatWire())
    async with Adapter(Settings(root, pace=Pace(linger_ms=5)), Agent(model, [Tool("produce", produce)])) as adapter:
        yield adapter
    await model.aclose()


@pytest.mark.slow
async def test_nine_results_of_two_megabytes(root: str, upstream: ScriptedUpstream) -> None:
    async with calling(root, upstream, size_bytes=2_000_000, count=9) as adapter:
        asked = await adapter.ask("s1", Prompt([user("u1", "go")]))
        final = await ended(adapter, "s1", asked.attempt.id)
        assert (final.status, final.reason) == ("finished", None)
        chunks = await stored(f"{root}/{final.stream}")
        assert [len(c["output"]) for c in chunks if c["type"] == "tool-output-available"] == [2_000_000] * 9
        rows = await stored(f"{root}/sessions/s1")
        assert max(len(orjson.dumps(row)) for row in rows) < ROW_MAX_BYTES + 4096
        parts = [part for part in rows[-2]["value"]["parts"] if part["type"] == "tool-produce"]
        assert {part["state"] for part in parts} == {"output-available"}
        assert {part["output"][:3] for part in parts} == {"xxx"}
        again = await adapter.ask("s1", Prompt([user("u2", "next")]))
        assert (await ended(adapter, "s1", again.attempt.id)).status == "finished"
        results = [m["content"] for m in upstream.requests[-1].body["messages"] if m["role"] == "tool"]
        assert sorted(len(result) > MIB for result in results) == [False] * 7 + [True] * 2
        assert RESTORED_BYTES < 3 * 2_000_000


@pytest.mark.slow
async def test_a_result_that_is_too_large_is_the_calls_failure_and_the_model_is_told(
    root: str, upstream: ScriptedUpstream
) -> None:
    async with calling(root, upstream, size_bytes=VALUE_MAX_BYTES, count=1) as adapter:
        asked = await adapter.ask("s1", Prompt([user("u1", "go")]))
        final = await ended(adapter, "s1", asked.attempt.id)
    assert final.status == "finished"
    chunks = await stored(f"{root}/{final.stream}")
    [failed] = [chunk for chunk in chunks if chunk["type"] == "tool-output-error"]
    assert "are the most" in failed["errorText"]
    [told] = [message["content"] for message in upstream.requests[-1].body["messages"] if message["role"] == "tool"]
    assert "are the most" in str(told)


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[str]:
    """A server that takes little at once."""
    bounds = Bounds(max_append_bytes=32 * 1024)
    server = Server(ServerConfig(port=0, engine="memory", data_dir=tmp_path / "narrow", bounds=bounds), MemoryEngine())
    await server.start()
    yield server.url.rstrip("/")
    await server.stop()


async def test_a_final_row_that_the_server_does_not_take_is_made_smaller(narrow: str) -> None:
    async def talk(run: Run) -> AsyncIterator[str]:
        for _ in range(20):
            yield "y" * 10_000
            await run.durable()

    speaker = Speaker()
    speaker.go.set()
    settings = Settings(narrow, pace=Pace(linger_ms=1, max_batch_bytes=8192))
    async with Adapter(settings, as_source(talk)) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
        assert final.status == "finished"
        [message] = [m for m in adapter.session("s1").state.messages.values() if m["role"] == "assistant"]
        assert message["parts"][0]["text"].startswith("yyy")
        assert len(orjson.dumps(message)) < 32 * 1024
    async with Adapter(settings, speaker) as adapter:
        asked = await adapter.ask("s1", asking("u2"))
        assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"


async def test_what_the_server_does_not_take_is_refused_and_leaves_nothing(narrow: str) -> None:
    speaker = Speaker()
    speaker.go.set()
    async with Adapter(Settings(narrow), speaker) as adapter:
        with pytest.raises(InvalidPromptError):
            await adapter.ask("s1", Prompt([user("u1", "long " * 10_000)]))
        large = {"type": "todo", "key": "1", "headers": {"operation": "insert"}, "value": {"text": "long " * 10_000}}
        with pytest.raises(InvalidEventError):
            await add_events(adapter.session("s1"), [large], None)
        with pytest.raises(InvalidEventError):
            await be_present(adapter.session("s1"), "tab", large, now_ms=1, lasts_ms=1)
        assert await stored(f"{narrow}/sessions/s1") == []
        async with adapter.places.session.get(f"{narrow}/__ds/streams?prefix=sessions/s1/") as answer:
            assert (await answer.json())["streams"] == []
        asked = await adapter.ask("s1", asking("u2"))
        assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"


async def test_what_is_kept_comes_back(root: str) -> None:
    path = "sessions/s1/gen/g1/kept"
    parts: list[dict[str, object]] = [
        {
            "type": "tool-t",
            "toolCallId": "c",
            "state": "output-available",
            "input": {},
            "output": {"rows": ["a" * 9000]},
        },
        {"type": "text", "text": "b" * (3 * MIB), "state": "done"},
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64," + "A" * 9000},
        {"type": "text", "text": "short", "state": "done"},
    ]
    message = {"id": "m", "role": "assistant", "parts": parts, "metadata": {}}
    small, items = parted(message, path, 4_000)
    assert len(orjson.dumps(small)) < 5_000
    assert [set(part.get("kept", ())) for part in small["parts"]] == [{"output"}, {"text"}, {"url"}, set()]
    places = Places(root)
    await keep(places, path, items)
    await keep(places, path, items)
    [whole] = await restored(places, "s1", [small])
    assert whole == message
    [foreign] = await restored(places, "s2", [small])
    assert foreign["parts"][1]["text"].startswith("bbb")
    assert len(foreign["parts"][1]["text"]) < 2_000, "another session's streams are not read"
    await places.aclose()
    assert await stored(f"{root}/{path}") == [orjson.loads(item) for item in items]


def test_a_message_of_very_many_parts_loses_the_last_ones() -> None:
    parts = [{"type": "text", "text": f"{n}" * 50} for n in range(1000)]
    small, items = parted({"id": "m", "role": "assistant", "parts": parts, "metadata": {"a": 1}}, "p", 16_384)
    assert items == []
    assert len(orjson.dumps(small)) <= 16_384 + 32
    assert small["metadata"] == {"a": 1, "cut": 1000 - len(small["parts"])}
    assert small["parts"] == parts[: len(small["parts"])]


def test_one_append_is_not_above_its_bound_however_much_waits() -> None:
    buffer = Coalescer(UiChunks(), 4096)
    outputs: list[dict[str, object]] = [
        {"type": "tool-output-available", "toolCallId": f"c{n}", "output": "z" * 1000} for n in range(10)
    ]
    for output in outputs:
        buffer.add([output])
    assert buffer.size_bytes > 10_000
    batches = []
    while len(buffer):
        batches.append(buffer.take(3_000))
    assert [len(batch) for batch in batches] == [2] * 5
    assert [orjson.loads(message) for batch in batches for message in batch] == outputs
    assert buffer.size_bytes == 0
    buffer.add(outputs[:1])
    assert len(buffer.take(10)) == 1, "one that is larger goes alone"


@pytest.mark.slow
async def test_a_delta_of_many_megabytes_is_stored_in_pieces(root: str, adapters: Adapters) -> None:
    text = "aé" * (8 * MIB)

    async def talk(_run: Run) -> AsyncIterator[str]:
        yield text

    async with adapters(talk) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
    assert final.status == "finished"
    assert text_of(await stored(f"{root}/{final.stream}")) == text


def test_long_texts_are_cut_or_in_pieces() -> None:
    taken = list(Intake().take(TextDelta("t", "a" * (DELTA_MAX_CHARS * 2 + 1))))
    assert [len(one.text) for one in taken if isinstance(one, TextDelta)] == [DELTA_MAX_CHARS, DELTA_MAX_CHARS, 1]
    failed = fit(ToolFailed("c", "e" * (ERROR_MAX_CHARS + 1)))
    assert isinstance(failed, ToolFailed)
    assert len(failed.error) == ERROR_MAX_CHARS
    file = FileGiven("image/png", "data:image/png;base64," + "A" * MIB)
    assert fit(file) is file
    with pytest.raises(UnstorableError, match="are the most"):
        fit(FileGiven("image/png", "data:," + "A" * TEXT_MAX_CHARS))

"""An exception's own text is nowhere that a reader looks: not in a stream, a row, an answer, nor shown to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from structlog.testing import capture_logs

from durable_streams.agents import (
    Agent,
    AguiEvents,
    RawText,
    Tool,
    ToolError,
    UpstreamCutError,
    UpstreamError,
    write,
)
from durable_streams.agents.events import TextDelta
from durable_streams.agents.models import NoModel
from durable_streams.agents.plain import NoFormError
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.telling import Teller
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.client import FetchError, astream
from tests.agents.conftest import ended, stored
from tests.agents.site import serving
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from durable_streams.agents import Run
    from durable_streams.agents.codecs import Codec
    from tests.agents.site import Site

SECRET = "postgresql://user:pw@host/db"
HELD = ("postgresql", "user:pw", "pw@host")


async def leaks(_given: Mapping[str, Any]) -> object:
    raise OSError(f"connection to {SECRET} refused")


async def tells(_given: Mapping[str, Any]) -> object:
    raise ToolError("there is no such table; ask for another")


def agent(upstream: ScriptedUpstream, tool: Any = leaks) -> Agent:  # noqa: ANN401 a tool's function
    upstream.scripts["m"] = Script([ToolUse("c1", "query", ("{}",))], then=Script([Text("sorry")]))
    return Agent(HttpModel(Upstream(f"{upstream.base_url}/v1", "m"), OpenAIChatWire()), [Tool("query", tool)])


def body(text: str = "hi") -> dict[str, object]:
    return {"id": "s1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": text}]}]}


async def everything(site: Site, gid: str) -> bytes:
    """Return all that there is to read: every stream, every answer."""
    root = site.adapter.places.root_url
    said = [orjson.dumps(await stored(f"{root}/{path}")) for path in ("sessions/s1", f"sessions/s1/gen/{gid}")]
    paths = ("/api/sessions", "/api/sessions/s1", "/api/sessions/s1/messages", "/api/config")
    said += [(await site.call("GET", path))[2] for path in paths]
    said.append((await site.call("POST", "/api/sse/chat", body()))[2])
    return b"\n".join(said)


def is_told(text: bytes | str) -> bool:
    shown = text.decode() if isinstance(text, bytes) else text
    return any(part in shown for part in HELD)


async def test_a_tools_exception_is_in_the_log_alone(root: str, upstream: ScriptedUpstream) -> None:
    with capture_logs() as logs:
        async with serving(Adapter(Settings(root), agent(upstream))) as site:
            message = body() | {"data": {}}
            status, _, text = await site.call("POST", "/api/sessions/s1/messages", message)
            assert status == 202
            gid = orjson.loads(text)["generationId"]
            await ended(site.adapter, "s1", gid)
            read = await everything(site, gid)
        agui = await stored(f"{root}/sessions/s1/agui")
    assert not is_told(read)
    assert not is_told(orjson.dumps(agui))
    [line] = [one for one in logs if one["event"] == "tool_failed"]
    assert SECRET in str(line["exc_info"])
    assert f"the tool failed (error {line['error_id']})".encode() in read
    assert [one["content"] for one in agui if one["type"] == "TOOL_CALL_RESULT"] == [
        f"the tool failed (error {line['error_id']})"
    ]
    # The model is shown what readers are: it is stored for both.
    assert not is_told(orjson.dumps(upstream.requests[-1].body))
    assert line["error_id"].encode() in orjson.dumps(upstream.requests[-1].body)


async def test_what_a_tool_says_on_purpose_is_told(root: str, upstream: ScriptedUpstream) -> None:
    async with serving(Adapter(Settings(root), agent(upstream, tells))) as site:
        _, _, text = await site.call("POST", "/api/sse/chat", body())
    assert b"there is no such table; ask for another" in text
    assert b"there is no such table; ask for another" in orjson.dumps(upstream.requests[-1].body)


async def test_for_development_everything_is_shown(root: str, upstream: ScriptedUpstream) -> None:
    async with serving(Adapter(Settings(root, show_errors=True), agent(upstream))) as site:
        _, _, text = await site.call("POST", "/api/sse/chat", body())
    assert SECRET.encode() in text


class Breaks:
    """Says a word, and fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def open(self, run: Run) -> AsyncGenerator[TextDelta, None]:
        yield TextDelta("t", "so far ")
        raise self._error


def unreachable() -> UpstreamError:
    error = UpstreamError(f"the model cannot be reached: {SECRET}")
    error.__cause__ = OSError(SECRET)
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(SECRET), "the agent failed"),
        (UpstreamError(SECRET, status=429), "the model's provider refused the request (429)"),
        (UpstreamError(SECRET), "the model's provider reported an error"),
        (unreachable(), "the model's provider cannot be reached"),
        (UpstreamCutError(f"cut: {SECRET}"), "the model's stream was cut short"),
        (ExceptionGroup(SECRET, [UpstreamError(SECRET, status=401)]), "the model's provider refused the request (401)"),
        (ExceptionGroup(SECRET, [OSError(SECRET), OSError(SECRET)]), "the agent failed"),
        (FetchError(SECRET), "the streams server cannot be reached"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_failed_run_is_told_by_its_kind(root: str, error: Exception, told: str) -> None:
    with capture_logs() as logs:
        async with serving(Adapter(Settings(root), Breaks(error))) as site:
            _, _, text = await site.call("POST", "/api/sessions/s1/messages", body())
            gid = orjson.loads(text)["generationId"]
            final = await ended(site.adapter, "s1", gid)
            read = await everything(site, gid)
        read += orjson.dumps(await stored(f"{root}/sessions/s1/agui"))
    [line] = [one for one in logs if one["event"] == "run_failed"]
    assert final.reason == f"{told} (error {line['error_id']})"
    assert not is_told(read)
    assert f'"message":"{final.reason}","code":"failed"'.encode() in read
    assert line["exc_info"] is error


@pytest.mark.parametrize("codec", [AguiEvents, RawText])
async def test_the_library_raises_it_and_stores_its_kind(root: str, codec: type[Codec]) -> None:
    with pytest.raises(ValueError, match="postgresql"):
        await write(Breaks(ValueError(SECRET)), to=f"{root}/answer", codec=codec())
    async with astream(f"{root}/answer", live=False) as response:
        read = await response.read_bytes()
    assert b"the agent failed (error " in read
    assert not is_told(read)


@pytest.mark.parametrize(
    "error", [ToolError("in words"), NoFormError("a value of type X cannot be written as JSON")], ids=repr
)
def test_words_that_are_meant_to_be_read_are_told(error: Exception) -> None:
    assert Teller().of_run(error) == Teller().of_tool(error, "t") == str(error)


def test_one_error_has_one_number() -> None:
    with capture_logs() as logs:
        error = ValueError(SECRET)
        tool, run = Teller().of_tool(error, "t"), Teller().of_run(error)
    assert tool.rpartition("(")[2] == run.rpartition("(")[2]
    assert len(logs) == 1


async def test_a_missing_model_is_told_in_words(root: str) -> None:
    async with serving(Adapter(Settings(root), NoModel("no model is configured: set --base-url"))) as site:
        assert b"no model is configured: set --base-url" in (await site.call("POST", "/api/sse/chat", body()))[2]


async def test_the_services_own_answers_tell_no_address(root: str) -> None:
    elsewhere = f"{root.rpartition('/v1/')[0]}/no-root"
    async with serving(Adapter(Settings(elsewhere), NoModel("none"))) as site:
        with capture_logs() as logs:
            status, headers, text = await site.call("POST", "/api/chat", body())
    said = orjson.loads(text)
    assert (status, headers["Content-Type"]) == (502, "application/problem+json")
    assert said["code"] == "streams-refused"
    assert b"127.0.0.1" not in text
    assert b"no-root" not in text
    assert said["error_id"] in {one.get("error_id") for one in logs}

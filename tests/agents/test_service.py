"""The service's endpoints over HTTP: what they answer, to whom, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents import Pace
from durable_streams.agents.events import TextDelta
from durable_streams.agents.models import ModelChoice, NoModel, SourceNotFoundError, choose
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.prompts import Prompt
from durable_streams.agents.sessions.settings import Settings
from durable_streams.client import StreamNotFoundError
from tests.agents.conftest import ended, stored, text_of
from tests.agents.site import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from durable_streams.agents import Run
    from tests.agents.site import Site


class Echo:
    """Answers with the request's own `say`, or the prompt's text; waits for `go` if the text is `wait`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def open(self, run: Run) -> AsyncGenerator[TextDelta, None]:
        text = run.messages[-1]["parts"][0]["text"]
        yield TextDelta("t", str(run.request.get("say", text)))
        if text == "wait":
            await self.go.wait()


@pytest.fixture
async def site(root: str) -> AsyncIterator[Site]:
    settings = Settings(root, public_streams_url="https://streams.example/root", pace=Pace(linger_ms=5))
    async with serving(Adapter(settings, Echo())) as running:
        yield running


def body(text: str = "hello", session_id: str = "s1", message_id: str = "u1", **more: object) -> dict[str, object]:
    return {
        "id": session_id,
        "messages": [{"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}],
    } | more


async def test_a_prompt_names_its_stream_in_header_and_body(site: Site) -> None:
    status, headers, text = await site.call("POST", "/api/chat", body(say="custom"))
    said = orjson.loads(text)
    assert status == 201
    assert headers["Location"] == said["streamUrl"]
    assert said["streamUrl"] == f"https://streams.example/root/sessions/s1/gen/{said['generationId']}"
    assert headers["Cache-Control"] == "no-store"
    final = await ended(site.adapter, "s1", said["generationId"])
    again, headers, _ = await site.call("POST", "/api/chat", body())
    assert (again, headers["Location"]) == (200, said["streamUrl"])
    assert text_of(await stored(f"{site.adapter.places.root_url}/{final.stream}")) == "custom"


async def test_a_prompt_while_one_is_answered_is_a_conflict(site: Site) -> None:
    _, _, first = await site.call("POST", "/api/chat", body("wait"))
    status, _, text = await site.call("POST", "/api/chat", body(message_id="u2"))
    assert status == 409
    assert orjson.loads(text)["generationId"] == orjson.loads(first)["generationId"]
    status, headers, _ = await site.call("GET", "/api/chat/s1/stream")
    assert (status, headers["Location"]) == (200, orjson.loads(first)["streamUrl"])


async def test_nothing_to_resume_is_no_content(site: Site) -> None:
    assert (await site.call("GET", "/api/chat/never-seen/stream"))[0] == 204
    assert (await site.call("GET", "/api/sse/chat/never-seen/stream"))[0] == 204


@pytest.mark.parametrize("how", ["by path", "by header"])
async def test_the_plain_stream(site: Site, how: str) -> None:
    if how == "by path":
        status, headers, text = await site.call("POST", "/api/sse/chat", body())
    else:
        status, headers, text = await site.call("POST", "/api/chat", body(), Accept="text/event-stream")
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    assert headers["x-vercel-ai-ui-message-stream"] == "v1"
    events = text.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert [orjson.loads(event[6:])["type"] for event in events[:-2]] == [
        "start",
        "text-start",
        "text-delta",
        "text-end",
        "finish",
    ]


async def test_stop_says_who_was_first(site: Site) -> None:
    _, _, first = await site.call("POST", "/api/chat", body("wait"))
    gid = orjson.loads(first)["generationId"]
    answers = await asyncio.gather(
        *(site.call("POST", "/api/chat/s1/stop", {"by": name, "activeStreamId": f"x/{gid}"}) for name in "ab")
    )
    said = [orjson.loads(text) for _, _, text in answers]
    assert [one["stopped"] for one in said] == [True, True]
    assert said[0] == said[1]
    assert said[0]["by"] in {"a", "b"}
    assert orjson.loads((await site.call("POST", "/api/sessions/s1/stop"))[2]) == {"stopped": False, "why": "idle"}


async def test_a_session_shows_everything(site: Site) -> None:
    _, _, first = await site.call("POST", "/api/chat", body(by="ann"))
    await ended(site.adapter, "s1", orjson.loads(first)["generationId"])
    await site.call("POST", "/api/sessions/s1/presence", {"id": "tab", "name": "Ann"})
    status, _, text = await site.call("GET", "/api/sessions/s1")
    said = orjson.loads(text)
    assert status == 200
    assert [message["role"] for message in said["messages"]] == ["user", "assistant"]
    assert [one["status"] for one in said["generations"]] == ["finished"]
    assert [one["name"] for one in said["presence"]] == ["Ann"]
    listed = orjson.loads((await site.call("GET", "/api/sessions"))[2])
    assert [(one["id"], one["title"]) for one in listed["sessions"]] == [("s1", "hello")]


async def test_a_sessions_messages_and_who_is_there(site: Site) -> None:
    assert orjson.loads((await site.call("GET", "/api/sessions/s1/messages"))[2])["messages"] == []
    for n in range(2):
        _, _, said = await site.call("POST", "/api/chat", body(f"prompt {n}", message_id=f"u{n}"))
        await ended(site.adapter, "s1", orjson.loads(said)["generationId"])
    await site.call("POST", "/api/sessions/s1/presence", {"id": "tab", "name": "Ann"})
    await site.call("POST", "/api/sessions/s1/presence", {"id": "gone", "name": "Bob"})
    await site.call("POST", "/api/sessions/s1/presence", {"id": "gone", "leave": True})
    messages = orjson.loads((await site.call("GET", "/api/sessions/s1/messages"))[2])["messages"]
    texts = [[part["text"] for part in one["parts"] if part["type"] == "text"] for one in messages]
    assert texts == [["prompt 0"], ["prompt 0"], ["prompt 1"], ["prompt 1"]]
    status, _, text = await site.call("GET", "/api/sessions/s1/presence")
    assert status == 200
    assert [one["name"] for one in orjson.loads(text)["presence"]] == ["Ann"]


async def test_who_has_not_said_so_in_time_is_not_there(root: str) -> None:
    adapter = Adapter(Settings(root, presence_ms=-1), Echo())
    async with serving(adapter) as site:
        await site.call("POST", "/api/sessions/s1/presence", {"id": "tab", "name": "Ann"})
        assert orjson.loads((await site.call("GET", "/api/sessions/s1/presence"))[2]) == {"presence": []}


SESSION_STREAMS = [("stream", "sessions/s1"), ("events", "sessions/s1"), ("agui", "sessions/s1/agui")]


@pytest.mark.parametrize(("name", "path"), SESSION_STREAMS)
async def test_session_streams_are_redirected_to(site: Site, name: str, path: str) -> None:
    await site.adapter.places.stream(path).create_stream(content_type="application/json")
    status, headers, _ = await site.call("GET", f"/api/sessions/s1/{name}?offset=-1&live=sse")
    assert (status, headers["Location"]) == (307, f"https://streams.example/root/{path}?offset=-1&live=sse")


@pytest.mark.parametrize(("name", "path"), SESSION_STREAMS)
@pytest.mark.parametrize("live", ["", "&live=long-poll", "&live=sse"])
async def test_a_session_that_has_not_begun_is_read_as_an_empty_stream(  # noqa: PLR0917 fixtures and parameters
    site: Site, name: str, path: str, live: str
) -> None:
    url = f"/api/sessions/s1/{name}?offset=-1"
    status, headers, text = await site.call("GET", url)
    assert (status, text, headers["Stream-Next-Offset"]) == (200, b"[]", "-1")
    assert headers["Stream-Up-To-Date"] == "true"
    if not live:
        return
    waiting = asyncio.create_task(site.call("GET", url + live))
    with pytest.raises(StreamNotFoundError):
        await stored(f"{site.adapter.places.root_url}/{path}")
    await site.adapter.places.stream(path).create_stream(content_type="application/json")
    status, headers, text = await waiting
    if live == "&live=long-poll":
        assert (status, headers["Location"]) == (307, f"https://streams.example/root/{path}?offset=-1{live}")
    elif status == 200:
        assert text.startswith(b'event: control\ndata: {"streamNextOffset":"-1"')
    assert (await site.call("GET", url + live))[0] == 307


def event(kind: str = "todo", key: str = "1", operation: str = "insert", **more: object) -> dict[str, Any]:
    return {"type": kind, "key": key, "headers": {"operation": operation}, **more}


async def test_events_are_added_once_by_their_key(site: Site) -> None:
    given = {"events": [event(value={"n": 1}), event(key="2", value={"n": 2}), event(operation="delete")]}
    for _ in range(2):
        status, _, _ = await site.call("POST", "/api/sessions/s1/events", given, Idempotency_Key="k1")
        assert status == 204
    assert await stored(f"{site.adapter.places.root_url}/sessions/s1") == given["events"]


@pytest.mark.parametrize(
    "given",
    [
        event(),
        event(kind="", value={}),
        event(key="", value={}),
        event(kind="generation", value={}),
        event(operation="reset", value={}),
        event(value=3),
        {"events": []},
        {"events": [3]},
        {"events": 3},
        {"headers": {"control": "reset"}},
    ],
)
async def test_events_that_would_break_readers_are_refused(site: Site, given: object) -> None:
    status, _, text = await site.call("POST", "/api/sessions/s1/events", given)
    assert status == 400, text
    assert (await site.call("GET", "/api/sessions/s1"))[0] == 200
    with pytest.raises(StreamNotFoundError):
        await stored(f"{site.adapter.places.root_url}/sessions/s1")


async def listed(site: Site) -> set[str]:
    """Return the paths of all streams but those of the processes."""
    url = f"{site.adapter.places.root_url}/__ds/streams?limit=1000"
    async with site.adapter.places.session.get(url) as answer:
        paths = {one["path"] for one in (await answer.json())["streams"]}
    return {path for path in paths if not path.startswith("agents/running/")}


async def test_to_look_at_a_session_creates_nothing(site: Site) -> None:
    routes = {
        route.resource.canonical
        for route in site.app.router.routes()
        if route.method == "GET" and route.resource is not None
    }
    assert "/api/sessions/{session_id}/agui" in routes
    for route in sorted(routes):
        path = route.replace("{session_id}", "fresh").replace("{generation_id}", "g1")
        status, _, _ = await site.call("GET", path)
        assert status in {200, 204, 403, 404, 405}, path
    assert await listed(site) == set()


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/api/chat", {}),
        ("/api/chat", {"id": "..", "messages": []}),
        ("/api/chat", {"id": "a/b", "messages": []}),
        ("/api/chat", {"id": "s1"}),
        ("/api/chat", {"id": "s1", "messages": [3]}),
        ("/api/chat", {"id": "s1", "messages": [{"id": "u", "role": "robot", "parts": []}]}),
        ("/api/chat", {"id": "s1", "messages": [{"id": "u", "role": "user", "parts": [3]}]}),
        ("/api/chat", body(trigger="nonsense")),
        ("/api/chat", [1]),
        ("/api/sessions/s1/presence", {}),
    ],
)
async def test_bad_requests_are_refused(site: Site, path: str, given: object) -> None:
    status, _, text = await site.call("POST", path, given)
    assert status == 400, text
    assert orjson.loads(text)["detail"]


async def test_presence_expires_and_leaves(root: str, site: Site) -> None:
    session = site.adapter.session("s1")
    await site.call("POST", "/api/sessions/s1/presence", {"id": "a", "typing": True})
    await site.call("POST", "/api/sessions/s1/presence", {"id": "b"})
    assert set((await session.refresh()).presence) == {"a", "b"}
    await site.call("POST", "/api/sessions/s1/presence", {"id": "b", "leave": True})
    assert set((await session.refresh()).presence) == {"a"}


async def test_what_is_there_tells_of_itself(site: Site) -> None:
    assert orjson.loads((await site.call("GET", "/api/config"))[2])["model"] == "echo"
    assert (await site.call("GET", "/"))[0] == 200
    status, headers, _ = await site.call("GET", "/nowhere")
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")


def test_the_model_is_what_was_asked_for_or_what_there_is_a_key_for() -> None:
    assert choose(ModelChoice(), {}) is None
    chosen = choose(ModelChoice(), {"OPENAI_API_KEY": "k"})
    assert chosen is not None
    assert "openai-chat" in chosen.about
    chosen = choose(ModelChoice(), {"ANTHROPIC_API_KEY": "k"})
    assert chosen is not None
    assert "anthropic" in chosen.about
    chosen = choose(ModelChoice(base_url="http://x", model="m", provider="openai-responses"), {})
    assert chosen is not None
    assert chosen.about == "m (openai-responses)"
    assert choose(ModelChoice(source="tests.agents.test_service:Echo"), {}) is not None
    with pytest.raises(SourceNotFoundError):
        choose(ModelChoice(source="nowhere:nothing"), {})


async def test_without_a_model_every_answer_says_so(root: str) -> None:
    async with Adapter(Settings(root), NoModel("no model is configured")) as adapter:
        message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
        asked = await adapter.ask("s1", Prompt([message]))
        final = await ended(adapter, "s1", asked.attempt.id)
    assert (final.status, final.reason) == ("failed", "no model is configured")

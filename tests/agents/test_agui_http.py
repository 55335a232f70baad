"""AG-UI over HTTP, by hand: what a run's input asks for, and which posts are one run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents.codecs.agui_reading import UnreadableMessageError, ui_messages
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings
from tests.agents.conftest import ended
from tests.agents.site import serving
from tests.agents.test_service import Echo
from tests.patience import comes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.site import Site


def run(text: str = "hello", *, thread: str = "t1", run_id: str = "r1", message_id: str = "u1") -> dict[str, Any]:
    return {
        "threadId": thread,
        "runId": run_id,
        "messages": [{"id": message_id, "role": "user", "content": text}],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
    }


@pytest.fixture
async def site(root: str) -> AsyncIterator[Site]:
    async with serving(Adapter(Settings(root), Echo())) as running:
        yield running


async def posted(site: Site, body: dict[str, Any]) -> list[dict[str, Any]]:
    status, headers, text = await site.call("POST", "/api/agui", body, Accept="text/event-stream")
    assert (status, headers["Content-Type"]) == (200, "text/event-stream"), text
    return [orjson.loads(event[6:]) for event in text.split(b"\n\n") if event]


async def test_a_run_is_told_from_its_start_to_its_end(site: Site) -> None:
    events = await posted(site, run())
    assert [event["type"] for event in events] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    for event in (events[0], events[-1]):
        assert (event["threadId"], event["runId"]) == ("t1", "r1")
    assert events[2]["delta"] == "hello"
    assert events[-1]["outcome"] == {"type": "success"}


async def test_the_same_run_is_found_again_and_another_answers_anew(site: Site) -> None:
    first = await posted(site, run())
    assert await posted(site, run()) == first
    state = await site.adapter.session("t1").refresh()
    assert len(state.attempts) == 1
    again = await posted(site, run(run_id="r2"))
    assert again[1]["messageId"] != first[1]["messageId"]
    gid = next(one.id for one in site.adapter.session("t1").state.attempts.values() if one.run_id == "r2")
    await ended(site.adapter, "t1", gid)
    messages = site.adapter.session("t1").state.messages.values()
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert await posted(site, run()) == first


async def test_a_run_posted_twice_at_once_is_one(site: Site) -> None:
    both = await asyncio.gather(posted(site, run()), posted(site, run()))
    assert both[0] == both[1]
    assert len((await site.adapter.session("t1").refresh()).attempts) == 1


async def test_another_run_waits_or_is_refused(site: Site) -> None:
    first = asyncio.create_task(posted(site, run("wait")))

    async def runs() -> bool:
        return await site.adapter.active("t1") is not None

    await comes_true(runs)
    status, _, text = await site.call("POST", "/api/agui", run(run_id="r2", message_id="u2"))
    assert (status, orjson.loads(text)["code"]) == (409, "busy")
    await site.call("POST", "/api/sessions/t1/stop", {"by": "eve"})
    events = await first
    assert events[-1]["type"] == "RUN_FINISHED"
    assert "outcome" not in events[-1]  # AG-UI knew none for a stop before its version 1
    assert (events[-1]["result"]["ending"], events[-1]["result"]["by"]) == ("aborted", "eve")

    versioned = await posted(site, run("wait") | {"protocolVersion": "1.0"})
    assert versioned == [*events[:-1], {**events[-1], "outcome": {"type": "cancelled"}}]


async def test_what_comes_with_a_run_is_for_its_source(root: str) -> None:
    seen: list[dict[str, Any]] = []

    class Notes(Echo):
        def open(self, run: Any) -> Any:  # noqa: ANN401 as the source it stands for
            seen.append(dict(run.request))
            return super().open(run)

    async with serving(Adapter(Settings(root), Notes())) as site:
        await posted(site, run() | {"context": [{"description": "d", "value": "v"}], "forwardedProps": {"a": 1}})
    assert seen == [{"context": [{"description": "d", "value": "v"}], "forwardedProps": {"a": 1}}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"threadId": "../x"},
        {"runId": ""},
        {"runId": 3},
        {"runId": "x" * 257},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [3]},
        {"messages": [{"id": "", "role": "user", "content": "x"}]},
        {"messages": [{"id": "a", "role": "assistant", "content": "x"}]},
        {"messages": [{"id": "a", "role": "user", "content": [{"type": "hologram"}]}]},
        {"resume": [{"interruptId": "i", "status": "resolved"}]},
    ],
)
async def test_what_cannot_be_answered_is_refused(site: Site, wrong: dict[str, Any]) -> None:
    status, headers, text = await site.call("POST", "/api/agui", run() | wrong)
    assert (status, headers["Content-Type"]) == (400, "application/problem+json"), text


async def test_a_clients_own_tools_are_refused_in_words(site: Site) -> None:
    messages = [
        {"id": "u1", "role": "user", "content": "x"},
        {"id": "x", "role": "tool", "toolCallId": "c", "content": "y"},
    ]
    status, _, text = await site.call("POST", "/api/agui", run() | {"messages": messages})
    assert status == 400
    assert "client's own tools" in orjson.loads(text)["detail"]


async def test_a_thread_that_is_new_here_brings_its_history(site: Site) -> None:
    earlier = [
        {"id": "d", "role": "developer", "content": "be brief"},
        {"id": "u0", "role": "user", "content": "before"},
        {"id": "r0", "role": "reasoning", "content": "hm"},
        {"id": "a0", "role": "assistant", "content": "answer"},
    ]
    body = run()
    await posted(site, body | {"messages": [*earlier, *body["messages"]]})
    messages = (await site.adapter.session("t1").refresh()).messages
    assert [one["id"] for one in messages.values()][:4] == ["d", "u0", "a0", "u1"]
    gid = next(iter(site.adapter.session("t1").state.attempts))
    assert (await ended(site.adapter, "t1", gid)).run_id == "r1"


def test_calls_and_their_results_are_one_part() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    broken = {"id": "c2", "type": "function", "function": {"name": "add", "arguments": '{"a'}}
    waits = {"id": "c3", "type": "function", "function": {"name": "add", "arguments": ""}}
    [message] = ui_messages(
        [
            {"id": "a", "role": "assistant", "toolCalls": [call, broken, waits]},
            {"id": "t", "role": "tool", "toolCallId": "c1", "content": "2"},
            {"id": "t", "role": "tool", "toolCallId": "nobody's", "content": "2"},
            {"id": "t", "role": "tool", "toolCallId": "c3", "content": "", "error": "no"},
        ]
    )
    assert message["parts"] == [
        {"type": "tool-add", "toolCallId": "c1", "state": "output-available", "input": {"a": 1}, "output": "2"},
        {
            "type": "tool-add",
            "toolCallId": "c2",
            "state": "output-error",
            "input": '{"a',
            "errorText": "the input is not JSON",
        },
        {"type": "tool-add", "toolCallId": "c3", "state": "output-error", "input": {}, "errorText": "no"},
    ]


def test_files_are_parts() -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "data", "value": "QQ==", "mimeType": "image/png"}},
        {"type": "document", "source": {"type": "url", "value": "https://x.example/a.pdf"}},
        {"type": "binary", "mimeType": "audio/wav", "data": "QQ==", "filename": "a.wav"},
    ]
    [message] = ui_messages([{"id": "u", "role": "user", "content": content}])
    assert message["parts"] == [
        {"type": "text", "text": "look"},
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,QQ=="},
        {"type": "file", "mediaType": "application/octet-stream", "url": "https://x.example/a.pdf"},
        {"type": "file", "mediaType": "audio/wav", "url": "data:audio/wav;base64,QQ==", "filename": "a.wav"},
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"id": "u", "role": "user", "content": 3},
        {"id": "u", "role": "user", "content": ["x"]},
        {"id": "u", "role": "user", "content": [{"type": "binary", "mimeType": "a/b", "id": "stored elsewhere"}]},
        {"id": "u", "role": "assistant", "toolCalls": [{"id": "c"}]},
        {"id": "u", "role": "robot", "content": "x"},
    ],
)
def test_messages_without_a_form(message: dict[str, Any]) -> None:
    with pytest.raises(UnreadableMessageError):
        ui_messages([message])

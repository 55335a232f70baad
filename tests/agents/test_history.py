"""What people do to sessions: rename, delete, choose a version of an answer, fork, read by pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents.sessions import catalogue
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings
from durable_streams.client import StreamNotFoundError
from tests.agents.conftest import ended, stored
from tests.agents.site import serving
from tests.agents.test_service import Echo, body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.site import Site


@pytest.fixture
async def site(root: str) -> AsyncIterator[Site]:
    async with serving(Adapter(Settings(root), Echo())) as running:
        yield running


async def said(site: Site, request: str, given: object = None) -> dict[str, Any]:
    method, path = request.split()
    status, _, text = await site.call(method, path, given)
    assert status < 300, text
    parsed: dict[str, Any] = orjson.loads(text or b"{}")
    return parsed


async def asked(site: Site, given: dict[str, Any]) -> str:
    """Post a prompt, wait for its answer, and return the answer's id."""
    answer = await said(site, "POST /api/chat", given)
    await ended(site.adapter, given["id"], answer["generationId"])
    message_id: str = answer["messageId"]
    return message_id


async def texts(site: Site, session_id: str = "s1") -> list[str]:
    found = await said(site, f"GET /api/sessions/{session_id}/messages")
    return ["".join(part.get("text", "") for part in one["parts"]) for one in found["messages"]]


def regenerate(message_id: str, say: str) -> dict[str, Any]:
    return {"id": "s1", "messages": [], "trigger": "regenerate-message", "messageId": message_id, "say": say}


async def turns(site: Site, count: int = 3) -> list[str]:
    return [await asked(site, body(f"prompt {n}", message_id=f"u{n}", say=f"answer {n}")) for n in range(count)]


async def test_an_answer_asked_for_anew_keeps_the_earlier_ones(site: Site) -> None:
    first = await asked(site, body("q", say="one"))
    second = await asked(site, regenerate(first, "two"))
    third = await asked(site, regenerate(second, "three"))
    assert await texts(site) == ["q", "three"]
    found: list[dict[str, Any]] = []
    for any_of_them in (first, second, third, "u1"):
        found = (await said(site, f"GET /api/sessions/s1/messages/{any_of_them}/versions"))["versions"]
        assert [(one["message"]["id"], one["selected"]) for one in found] == [
            (first, False),
            (second, False),
            (third, True),
        ]
    assert [one["message"]["parts"][0]["text"] for one in found] == ["one", "two", "three"]


async def test_a_version_that_is_chosen_is_what_everybody_and_the_model_sees(site: Site) -> None:
    first = await asked(site, body("q", say="one"))
    await asked(site, regenerate(first, "two"))
    await said(site, f"POST /api/sessions/s1/messages/{first}/select")
    assert await texts(site) == ["q", "one"]
    await said(site, f"POST /api/sessions/s1/messages/{first}/select")
    await asked(site, body("next", message_id="u2", say="three"))
    assert await texts(site) == ["q", "one", "next", "three"]
    found = (await said(site, f"GET /api/sessions/s1/messages/{first}/versions"))["versions"]
    assert [one["selected"] for one in found] == [True, False]
    assert (await site.call("POST", "/api/sessions/s1/messages/nobody/select"))[0] == 404


async def test_a_version_may_be_chosen_when_others_follow(site: Site) -> None:
    first = await asked(site, body("q", say="one"))
    await asked(site, regenerate(first, "two"))
    await asked(site, body("next", message_id="u2", say="three"))
    await said(site, f"POST /api/sessions/s1/messages/{first}/select")
    assert await texts(site) == ["q", "one", "next", "three"]


async def test_a_message_is_taken_out(site: Site) -> None:
    answers = await turns(site)
    assert (await site.call("DELETE", f"/api/sessions/s1/messages/{answers[1]}"))[0] == 204
    assert (await site.call("DELETE", "/api/sessions/s1/messages/u0"))[0] == 204
    assert await texts(site) == ["answer 0", "prompt 1", "prompt 2", "answer 2"]
    status, _, text = await site.call("DELETE", "/api/sessions/s1/messages/u0")
    assert (status, orjson.loads(text)["code"]) == (404, "unknown-message")


async def test_taking_out_an_answer_takes_its_versions(site: Site) -> None:
    first = await asked(site, body("q", say="one"))
    second = await asked(site, regenerate(first, "two"))
    await site.call("DELETE", f"/api/sessions/s1/messages/{second}")
    assert (await said(site, "GET /api/sessions/s1/messages/u1/versions"))["versions"] == []


async def test_messages_stay_while_an_answer_is_written(site: Site) -> None:
    await asked(site, body("q", say="one"))
    await said(site, "POST /api/chat", body("wait", message_id="u2"))
    for method, path in (("DELETE", "messages/u1"), ("POST", "messages/u1/select")):
        status, _, text = await site.call(method, f"/api/sessions/s1/{path}")
        assert (status, orjson.loads(text)["code"]) == (409, "busy")
    await site.call("POST", "/api/sessions/s1/stop")


async def test_pages_of_messages(site: Site) -> None:
    await turns(site)
    pages, before = [], ""
    while True:
        found = await said(site, f"GET /api/sessions/s1/messages?limit=4{before}")
        pages.append(["".join(part.get("text", "") for part in one["parts"]) for one in found["messages"]])
        if found["before"] is None:
            break
        before = f"&before={found['before']}"
    assert pages == [["prompt 1", "answer 1", "prompt 2", "answer 2"], ["prompt 0", "answer 0"]]
    for query in ("limit=0", "limit=x", "limit=1001"):
        assert (await site.call("GET", f"/api/sessions/s1/messages?{query}"))[0] == 400
    assert (await site.call("GET", "/api/sessions/s1/messages?before=nobody"))[0] == 404


async def test_a_session_gets_another_name(site: Site) -> None:
    await turns(site, 1)
    await asked(site, body("other", "s2", say="x"))
    about = await said(site, "PATCH /api/sessions/s1", {"title": "Ours"})
    assert about["title"] == "Ours"
    listed = (await said(site, "GET /api/sessions"))["sessions"]
    assert {one["id"]: one["title"] for one in listed} == {"s1": "Ours", "s2": "other"}
    assert (await said(site, "GET /api/sessions/s1"))["title"] == "Ours"
    for title in ("", 3, "x" * 201):
        assert (await site.call("PATCH", "/api/sessions/s1", {"title": title}))[0] == 400
    assert (await site.call("PATCH", "/api/sessions/never-begun", {"title": "x"}))[0] == 404


async def test_a_deleted_session_is_gone_everywhere(root: str, site: Site) -> None:
    await turns(site, 1)
    await asked(site, body("stays", "s2", say="x"))
    running = await said(site, "POST /api/chat", body("wait", message_id="u9"))
    await said(site, "POST /api/sessions/s1/messages", body("more", message_id="u9"))
    elsewhere = Adapter(Settings(root), Echo())
    async with serving(elsewhere) as other:
        assert len(await texts(other)) > 1
        assert (await site.call("DELETE", "/api/sessions/s1"))[0] == 204
        for path in ("sessions/s1", "sessions/s1/agui", f"sessions/s1/gen/{running['generationId']}"):
            with pytest.raises(StreamNotFoundError):
                await stored(f"{root}/{path}")
        for any_of_them in (site, other):
            assert [one["id"] for one in (await said(any_of_them, "GET /api/sessions"))["sessions"]] == ["s2"]
            assert await texts(any_of_them) == []
            assert (await any_of_them.call("DELETE", "/api/sessions/s1"))[0] == 404


async def test_a_fork_has_the_messages_up_to_one_and_goes_its_own_way(site: Site) -> None:
    answers = await turns(site)
    fork = {"messageId": answers[1], "id": "f1"}
    status, _, text = await site.call("POST", "/api/sessions/s1/fork", fork)
    assert (status, orjson.loads(text)["id"]) == (201, "f1")
    assert (await site.call("POST", "/api/sessions/s1/fork", fork))[0] == 200
    await asked(site, body("elsewhere", "f1", message_id="u9", say="new"))
    assert await texts(site, "f1") == ["prompt 0", "answer 0", "prompt 1", "answer 1", "elsewhere", "new"]
    assert len(await texts(site)) == 6
    listed = (await said(site, "GET /api/sessions"))["sessions"]
    assert [(one["id"], one["title"]) for one in listed] == [("f1", "prompt 0"), ("s1", "prompt 0")]
    assert listed[0]["forked_from"] == {"session": "s1", "message": answers[1]}
    # Without an id it gets one; an id that is another's is not taken.
    assert (await said(site, "POST /api/sessions/s1/fork", {"messageId": "u0", "title": "Mine"}))["id"]
    status, _, text = await site.call("POST", "/api/sessions/s1/fork", {"messageId": "u0", "id": "f1"})
    assert (status, orjson.loads(text)["code"]) == (409, "session-exists")
    assert (await site.call("POST", "/api/sessions/s1/fork", {"messageId": "nobody"}))[0] == 404
    assert (await site.call("POST", "/api/sessions/s1/fork", {}))[0] == 400


def listed(*rows: tuple[str, dict[str, Any] | None]) -> list[Any]:
    return [
        {
            "type": "session",
            "key": "a",
            "headers": {"operation": operation},
            **({} if value is None else {"value": value}),
        }
        for operation, value in rows
    ]


@pytest.mark.parametrize(
    ("rows", "amount_to"),
    [
        (listed(("insert", {"n": 1})), {"a": {"n": 1}}),
        (listed(("insert", {"n": 1}), ("update", {"n": 2})), {"a": {"n": 2}}),
        (listed(("update", {"n": 2}), ("insert", {"n": 1})), {"a": {"n": 2}}),
        (listed(("delete", None), ("insert", {"n": 1})), {}),
        ([3, {}, {"type": "session", "key": 3}, {"type": "session", "key": "a", "value": 3}], {}),
    ],
)
def test_a_late_announcement_undoes_nothing(rows: list[Any], amount_to: dict[str, Any]) -> None:
    assert catalogue.folded(rows) == amount_to

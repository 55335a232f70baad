"""Who is let in: no page of another origin reads or changes anything, under whatever name it reaches the adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.agents.service.access import Access, InvalidAccessError
from durable_streams.agents.service.app import make_app
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings
from durable_streams.client import StreamNotFoundError
from tests.agents.conftest import stored
from tests.agents.site import serving
from tests.agents.test_service import Echo

if TYPE_CHECKING:
    from tests.agents.site import Site

EVIL = "https://evil.example"
FRIEND = "http://localhost:5173"
READS = {"GET", "HEAD"}
PROMPT = orjson.dumps(
    {"id": "s1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "spend"}]}]}
)


async def routes() -> list[tuple[str, str]]:
    """Return every method and path there is."""
    app = make_app(Adapter(Settings(), Echo()))
    found = set()
    for route in app.router.routes():
        resource = route.resource
        assert resource is not None
        path = resource.canonical.replace("{session_id}", "s1").replace("{message_id}", "m1")
        found.add((route.method, "/page/app.js" if path == "/page" else path))
    return sorted(found)


def served(root: str) -> Adapter:
    return Adapter(Settings(root), Echo())


async def creates_nothing(site: Site) -> None:
    with pytest.raises(StreamNotFoundError):
        await stored(f"{site.adapter.places.root_url}/sessions/s1")


async def test_a_foreign_page_reads_and_changes_nothing_on_any_route(root: str) -> None:
    async with serving(served(root), Access.of("127.0.0.1", origins=[FRIEND])) as site:
        for method, path in await routes():
            if method not in READS:
                for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
                    status, answered, text = await site.call(method, path, {}, **headers)
                    assert (status, orjson.loads(text)["code"]) == (403, "foreign-origin"), (method, path, headers)
                    assert "Access-Control-Allow-Origin" not in answered, (method, path)
            status, answered, _ = await site.call("OPTIONS", path, Origin=EVIL)
            assert status == 403, path
            assert not any(name.startswith("Access-Control") for name in answered), path
        for path in ("/api/sessions", "/api/config", "/api/sessions/s1", "/nowhere"):
            _, answered, _ = await site.call("GET", path, Origin=EVIL)
            assert not any(name.startswith("Access-Control") for name in answered), path
            assert answered["Vary"] == "Origin"
        await creates_nothing(site)


async def test_a_name_that_a_page_could_give_away_is_refused_on_any_route(root: str) -> None:
    async with serving(served(root), Access.of("127.0.0.1")) as site:
        for method, path in await routes():
            for name in ("evil.example", "evil.example:4438", "localhost.evil.example", "127.0.0.1.evil.example"):
                status, _, text = await site.call(method, path, None if method in READS else {}, Host=name)
                assert status == 403, (method, path, name)
                assert method == "HEAD" or orjson.loads(text)["code"] == "unknown-host"
        await creates_nothing(site)


async def test_a_body_that_any_page_may_send_is_refused_on_any_route(root: str) -> None:
    async with serving(served(root)) as site:
        for method, path in await routes():
            if method in READS:
                continue
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", None):
                headers = {} if kind is None else {"Content_Type": kind}
                status, _, text = await site.send(method, path, PROMPT, **headers)
                assert (status, orjson.loads(text)["code"]) == (415, "not-json"), (method, path, kind)
        await creates_nothing(site)


async def test_an_allowed_page_does_everything(root: str) -> None:
    async with serving(served(root), Access.of("127.0.0.1", origins=[FRIEND])) as site:
        status, headers, _ = await site.call("OPTIONS", "/api/chat", Origin=FRIEND)
        assert (status, headers["Access-Control-Allow-Origin"]) == (204, FRIEND)
        assert "POST" in headers["Access-Control-Allow-Methods"]
        status, headers, _ = await site.send(
            "POST", "/api/sse/chat", PROMPT, Content_Type="application/json", Origin=FRIEND
        )
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, FRIEND)
        assert "Location" in headers["Access-Control-Expose-Headers"]
        status, headers, _ = await site.call("POST", "/api/chat", {"id": ".."}, Origin=FRIEND)
        assert (status, headers["Access-Control-Allow-Origin"], headers["Vary"]) == (400, FRIEND, "Origin")
        status, headers, _ = await site.call("GET", "/nowhere", Origin=FRIEND)
        assert (status, headers["Access-Control-Allow-Origin"]) == (404, FRIEND)


async def test_the_own_page_and_programs_need_no_leave(root: str) -> None:
    async with serving(served(root), Access.of("127.0.0.1")) as site:
        own = site.url
        for headers in ({"Origin": own}, {"Origin": "https://proxy.example", "Sec_Fetch_Site": "same-origin"}, {}):
            status, answered, _ = await site.call("POST", "/api/sessions/s1/stop", {}, **headers)
            assert status == 200, headers
            assert "Access-Control-Allow-Origin" not in answered
        assert (await site.send("POST", "/api/sessions/s1/stop", b""))[0] == 200


async def test_all_origins_may_be_allowed(root: str) -> None:
    async with serving(served(root), Access.of("127.0.0.1", origins=["*"])) as site:
        status, headers, _ = await site.call("POST", "/api/sessions/s1/stop", {}, Origin=EVIL)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")


@pytest.mark.parametrize(
    ("listening", "hosts", "host", "answered"),
    [
        ("127.0.0.1", (), "localhost:4438", True),
        ("127.0.0.1", (), "LOCALHOST.", True),
        ("127.0.0.1", (), "[::1]:4438", True),
        ("127.0.0.1", (), "127.0.0.2", True),
        ("127.0.0.1", (), "chat.example", False),
        ("127.0.0.1", ("chat.example",), "chat.example:8080", True),
        ("127.0.0.1", ("*",), "chat.example", True),
        ("localhost", (), "192.0.2.1", False),
        ("::1", (), "evil.example", False),
        ("192.0.2.1", (), "chat.example", True),
        ("192.0.2.1", ("chat.example",), "evil.example", False),
        ("192.0.2.1", ("chat.example",), "192.0.2.1:80", True),
    ],
)
def test_names_that_are_answered_to(listening: str, hosts: tuple[str, ...], host: str, *, answered: bool) -> None:
    assert Access.of(listening, hosts=hosts).answers_to({"Host": host}) is answered


def test_what_sends_no_name_is_no_browser() -> None:
    assert Access.of("127.0.0.1").answers_to({})


@pytest.mark.parametrize(
    "origin", ["evil", "https://a.example/", "https://a.example/x", "ftp://a", "https://u@a", "null"]
)
def test_an_origin_that_is_none(origin: str) -> None:
    with pytest.raises(InvalidAccessError):
        Access.of("127.0.0.1", origins=[origin])


@pytest.mark.parametrize("host", ["", "https://a.example", "a.example:80", "a/b"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(InvalidAccessError):
        Access.of("127.0.0.1", hosts=[host])

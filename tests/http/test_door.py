"""Browsers as attackers: whose pages may use a server on loopback, and what they may make of a stream's bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durable_streams.http.door import Door
from durable_streams.http.messages import Request
from durable_streams.protocol.errors import HostNotAllowedError, OriginNotAllowedError
from durable_streams.runtime.config import ServerConfig

if TYPE_CHECKING:
    from typing import Any

    from tests.http.conftest import Run
    from tests.http.site import Site

EVIL = "https://evil.example"
OWN = ("localhost", "localhost:4437", "app.localhost", "127.0.0.1:4437", "[::1]:4437", "10.0.0.7", "streams", "")
OTHERS = ("evil.example", "evil.example:4437", "localhost.evil.example", "127.0.0.1.nip.example:4437", "a.b")


def refused(config: dict[str, Any], host: str = "localhost:4437", origin: str | None = None) -> str:
    """Return what is refused of a request: ``host``, ``origin`` or nothing."""
    request = Request("GET", "/", (), {} if origin is None else {"Origin": origin}, b"", f"http://{host}")
    try:
        Door(ServerConfig(**config)).check(request)
    except HostNotAllowedError:
        return "host"
    except OriginNotAllowedError:
        return "origin"
    return ""


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_on_loopback_a_server_answers_to_its_own_names(listens_on: str) -> None:
    config = {"host": listens_on}
    assert [host for host in OWN if refused(config, host)] == []
    assert [host for host in OTHERS if refused(config, host) != "host"] == []


@pytest.mark.parametrize(
    "config",
    [
        {"allow_hosts": ("EVIL.example", "a.b", "localhost.evil.example", "127.0.0.1.nip.example")},
        {"allow_hosts": ("*",)},
        {"trust_forwarded": "x-forwarded"},
        {"host": "0.0.0.0"},  # noqa: S104 what a configuration says
        {"host": "::"},
        {"host": "192.0.2.7"},
    ],
)
def test_others_are_answered_where_that_is_meant(config: dict[str, Any]) -> None:
    assert [host for host in (*OWN, *OTHERS) if refused(config, host)] == []


def test_the_public_url_names_a_host_and_an_origin() -> None:
    config = {"public_url": "https://Streams.example:8443/prefix"}
    assert refused(config, "streams.example") == ""
    assert refused(config, "localhost", "https://streams.example:8443") == ""
    assert refused(config, "localhost", "https://streams.example") == "origin"
    assert refused(config, "other.example") == "host"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, ""),
        ("http://localhost:4437", ""),
        ("http://localhost:5173", ""),
        ("https://app.localhost", ""),
        ("http://127.0.0.1:4438", ""),
        ("http://[::1]:4438", ""),
        (EVIL, "origin"),
        ("http://localhost.evil.example", "origin"),
        ("null", "origin"),
        ("", "origin"),
        ("localhost", "origin"),
        ("file://", "origin"),
    ],
)
def test_pages_of_this_machine_may_use_a_server_on_loopback(origin: str | None, expected: str) -> None:
    assert refused({}, origin=origin) == expected
    assert refused({"host": "192.0.2.7"}, origin=origin) == ""


def test_named_origins_are_the_only_ones_beside_ones_own() -> None:
    config = {"allow_origins": ("https://app.example", "http://other.example:81"), "host": "0.0.0.0"}  # noqa: S104 as above
    for origin in ("https://app.example", "HTTPS://APP.example", "http://other.example:81", "http://own.example"):
        assert refused(config, "own.example", origin) == ""
    for origin in (EVIL, "http://app.example", "https://app.example:444", "http://localhost:5173", "null"):
        assert refused(config, "own.example", origin) == "origin"
    assert refused({"allow_origins": ("*",)}, origin=EVIL) == ""


async def test_a_foreign_page_can_neither_read_nor_write_nor_delete(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"kept")
    target = client.target("s")
    body = {"Content-Type": "text/plain", "Origin": EVIL}
    streaming = {**body, "Stream-Append-Mode": "stream"}
    for method, path, fields, sent in (
        ("GET", target + "?offset=-1", body, b""),
        ("GET", target + "?offset=-1&live=sse", body, b""),
        ("HEAD", target, body, b""),
        ("POST", target, body, b"more"),
        ("POST", target, streaming, b"more"),
        ("PUT", client.target("t"), body, b""),
        ("DELETE", target, body, b""),
        ("GET", client.target("__ds/streams"), body, b""),
        ("GET", "/_ui", body, b""),
    ):
        reply = await client.send(method, path, fields, sent)
        assert reply.status == 403, (method, path)
        assert method == "HEAD" or reply.code == "origin-not-allowed"
    preflight = await client.send("OPTIONS", target, {**body, "Access-Control-Request-Method": "DELETE"})
    assert preflight.status == 204  # as the official suite wants it; what it asks for was refused above
    rebound = await client.send("DELETE", target, {"Host": "evil.example:4437"})
    assert (rebound.status, rebound.code) == (421, "host-not-allowed")
    assert (await client.read_all("s"))[0] == b"kept"
    listed = json.loads((await client.send("GET", client.target("__ds/streams"))).body)
    assert [stream["path"] for stream in listed["streams"]] == ["s"]


async def test_a_page_of_this_machine_uses_it(fronted: Site) -> None:
    client = fronted.client
    fields = {"Content-Type": "text/plain", "Origin": "http://localhost:5173"}
    assert (await client.send("PUT", client.target("s"), fields, b"x")).status == 201
    reply = await client.send("GET", client.target("s", offset="-1"), fields)
    assert (reply.body, reply.headers["access-control-allow-origin"]) == (b"x", "*")


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/xhtml+xml; charset=utf-8"])
async def test_a_browser_runs_nothing_that_a_stream_holds(fronted: Site, content_type: str) -> None:
    client = fronted.client
    await client.put("page", content_type, b"<script>alert(origin)</script>")
    waiting = await client.get("page", offset="-1", live="long-poll")
    for reply in (await client.get("page", offset="-1"), await client.head("page"), waiting):
        assert reply.status == 200
        assert reply.headers["content-type"] == content_type
        assert reply.headers["content-security-policy"].startswith("sandbox")
        assert reply.headers["content-disposition"] == "attachment"
        assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "image/png"])
async def test_what_is_inert_is_sent_as_it_is(fronted: Site, content_type: str) -> None:
    await fronted.client.put("s", content_type)
    reply = await fronted.client.get("s", offset="-1")
    assert not {"content-security-policy", "content-disposition"} & set(reply.headers)


@pytest.mark.parametrize("host", ["a:99999", "[::1]:65536", "%zz", "a%4", "[1]", "[:::1]", "a b", "a/b", "u@h"])
async def test_a_malformed_host_is_400(fronted: Site, host: str) -> None:
    reply = await fronted.client.send("GET", fronted.client.target("s"), {"Host": host})
    assert (reply.status, reply.code) == (400, "invalid-header")


@pytest.mark.parametrize("mode", [{}, {"Stream-Append-Mode": "stream"}])
@pytest.mark.parametrize("coding", ["gzip, chunked", "GZIP,chunked", "deflate , chunked"])
async def test_another_transfer_coding_is_501(fronted: Site, coding: str, mode: dict[str, str]) -> None:
    """RFC 9112 §6.1. It was taken for chunked alone, and what it coded was stored as it came."""
    client = fronted.client
    await client.put("s", "text/plain")
    fields = {"Host": "h", "Content-Type": "text/plain", "Transfer-Encoding": coding, **mode}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with client.wire() as wire:
        await wire.send(f"POST {client.target('s')} HTTP/1.1\r\n{lines}\r\n1\r\na\r\n0\r\n\r\n".encode())
        reply = await wire.reply("POST")
    assert (reply.status, reply.code) == (501, "unknown-transfer-coding")
    assert (await client.read_all("s"))[0] == b""


async def test_an_option_opens_it(run: Run) -> None:
    async with run(allow_origins=(EVIL,), allow_hosts=("streams.example",)) as site:
        client = site.client
        fields = {"Host": "streams.example", "Origin": EVIL, "Content-Type": "text/plain"}
        assert (await client.send("PUT", client.target("s"), fields)).status == 201

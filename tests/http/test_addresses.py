"""The absolute URLs that the server tells clients and receivers: where it is seen, not where it stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import Site

HOOK = json.dumps({"type": "webhook", "pattern": "*", "webhook": {"url": "http://127.0.0.1:9/hook"}}).encode()
X_FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.org:8443", "X-Forwarded-Prefix": "/pre/fix/"}
FORWARDED = {"Forwarded": 'for=1.2.3.4;proto=https;host="example.org:8443"'}
PUBLIC = "https://streams.example/at/here"


async def seen(site: Site, fields: dict[str, str]) -> set[str]:
    """Return the beginnings of all URLs that one client is told, up to the stream root's path."""
    client, text = site.client, {"Content-Type": "text/plain"}
    created = await client.send("PUT", client.target("a/b%20c"), {**text, **fields})
    assert created.status == 201, created.body
    target = client.target("__ds/subscriptions/hook")
    hook = await client.send("PUT", target, {"Content-Type": "application/json", **fields}, HOOK)
    assert hook.status == 201, hook.body
    urls = [
        created.headers["location"].removesuffix("/a/b%20c"),
        json.loads(hook.body)["webhook"]["signing"]["jwks_url"].removesuffix("/__ds/jwks.json"),
    ]
    assert all(url.endswith("/v1/stream") for url in urls)
    return {url.removesuffix("/v1/stream") for url in urls}


@pytest.mark.parametrize(
    ("config", "fields", "url"),
    [
        ({}, {}, "http://test"),
        ({}, {**X_FORWARDED, **FORWARDED}, "http://test"),
        ({"public_url": PUBLIC}, {}, PUBLIC),
        ({"public_url": PUBLIC, "trust_forwarded": "x-forwarded"}, X_FORWARDED, PUBLIC),
        ({"trust_forwarded": "x-forwarded"}, X_FORWARDED, "https://example.org:8443/pre/fix"),
        ({"trust_forwarded": "x-forwarded"}, {"X-Forwarded-Proto": "https"}, "https://test"),
        ({"trust_forwarded": "x-forwarded"}, FORWARDED, "http://test"),
        ({"trust_forwarded": "forwarded"}, FORWARDED, "https://example.org:8443"),
        ({"trust_forwarded": "forwarded"}, {**FORWARDED, **X_FORWARDED}, "https://example.org:8443"),
        ({"trust_forwarded": "forwarded"}, {"Forwarded": "host=evil, proto=https"}, "https://test"),
    ],
)
async def test_one_url_is_told_everywhere(
    run: Run,
    lane: bool,  # noqa: FBT001 pytest hands fixtures over like this
    *,
    config: dict[str, Any],
    fields: dict[str, str],
    url: str,
) -> None:
    async with run(lane=lane, allow_local_webhooks=True, **config) as site:
        assert await seen(site, fields) == {url}


@pytest.mark.parametrize(
    ("trusted", "fields"),
    [
        ("x-forwarded", {"X-Forwarded-Host": "evil/x"}),
        ("x-forwarded", {"X-Forwarded-Prefix": "//evil"}),
        ("forwarded", {"Forwarded": "host=a b"}),
    ],
)
async def test_a_proxy_that_is_trusted_must_make_sense(
    run: Run,
    lane: bool,  # noqa: FBT001 as above
    *,
    trusted: str,
    fields: dict[str, str],
) -> None:
    async with run(lane=lane, trust_forwarded=trusted) as site:
        client = site.client
        reply = await client.send("PUT", client.target("s"), {"Content-Type": "text/plain", **fields})

        assert (reply.status, reply.code) == (400, "invalid-header")
        assert (await client.head("s")).status == 404


@pytest.mark.parametrize("host", ["a b", "h/evil", "u@h", "h:x", "[::1", "\udcff", "ü"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "OPTIONS"])
async def test_a_host_that_is_none_is_refused(fronted: Site, method: str, host: str) -> None:
    """RFC 9112 §3.2."""
    reply = await fronted.client.send(method, fronted.client.target("s"), {"Host": host, "Content-Type": "text/plain"})

    assert (reply.status, reply.code) == (400, "invalid-header")


@pytest.mark.parametrize("head", ["PUT /v1/stream/s HTTP/1.0\r\n", "PUT /v1/stream/s HTTP/1.1\r\nHost:\r\n"])
async def test_without_a_host_a_location_is_relative(fronted: Site, head: str) -> None:
    """It names no host of our own making, such as this machine's name."""
    async with fronted.client.wire() as wire:
        await wire.send(f"{head}Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n".encode())
        reply = await wire.reply("PUT")

    assert (reply.status, reply.headers["location"]) == (201, "/v1/stream/s")


async def test_a_callback_needs_a_host(run: Run, lane: bool) -> None:  # noqa: FBT001 as above
    async with run(lane=lane, allow_local_webhooks=True) as site:
        target = site.client.target("__ds/subscriptions/hook")
        reply = await site.client.send("PUT", target, {"Host": "", "Content-Type": "application/json"}, HOOK)

        assert reply.status == 400
        assert (await site.client.send("GET", target)).status == 404


async def test_an_absolute_target_goes_before_the_host(fronted: Site) -> None:
    """RFC 9112 §3.2.2."""
    target = f"http://[::1]:81{fronted.client.target('s')}"
    reply = await fronted.client.send("PUT", target, {"Content-Type": "text/plain", "Host": "other"})

    assert reply.headers["location"] == target


async def test_a_source_is_named_as_the_client_sees_it(run: Run, lane: bool) -> None:  # noqa: FBT001 as above
    """With the prefix that the proxy takes off, or without."""
    async with run(lane=lane, public_url="https://h/v1") as site:
        client = site.client
        await client.put("s", "text/plain", b"x")
        for number, source in enumerate(["/v1/v1/stream/s", "/v1/stream/s"]):
            assert (await client.put(f"fork{number}", stream_forked_from=source)).status == 201
            assert (await client.get(f"fork{number}", offset="-1")).body == b"x"
        assert (await client.put("none", stream_forked_from="/v2/v1/stream/s")).code == "not-found"

    async with run(lane=lane) as site:
        fields = {"Host": "", "Content-Type": "text/plain", "Stream-Forked-From": "stream/s"}
        assert (await site.client.send("PUT", site.client.target("f"), fields)).code == "not-found"

"""The list of streams: all of them once, in order, in pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import pytest

from tests.http.wire import request_bytes

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.http.wire import Client

MANY = 10_000
WRITERS = 100


async def listed(client: Client, **query: str | int) -> dict[str, Any]:
    reply = await client.send("GET", client.target("__ds/streams", **query))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    page = orjson.loads(reply.body)
    assert isinstance(page, dict)
    return page


async def paths(client: Client, **query: str | int) -> list[str]:
    """Return the paths of all pages."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await listed(client, after=quote(after, safe=""), **query)
        found += [stream["path"] for stream in page["streams"]]
        after = page["next_after"]
    return found


async def create(client: Client, names: list[str]) -> None:
    async with client.wire() as wire:
        await wire.send(b"".join(request_bytes("PUT", client.target(name), {"Content-Type": "a/b"}) for name in names))
        for _ in names:
            assert (await wire.reply("PUT")).status == 201


@pytest.mark.slow
async def test_ten_thousand_streams_come_in_pages(site: Site) -> None:
    client = site.client
    names = [f"{number % 7}/{number:05d}" for number in range(MANY)]
    await asyncio.gather(*(create(client, names[start::WRITERS]) for start in range(WRITERS)))

    assert await paths(client, limit=1_000) == sorted(names)
    assert await paths(client, limit=333, prefix="3/") == sorted(name for name in names if name.startswith("3/"))
    assert len((await listed(client))["streams"]) == 100
    assert await paths(client, limit=1_000, prefix="3/0000") == ["3/00003"]


async def test_a_stream_is_described(site: Site) -> None:
    client = site.client
    await client.put("plain", "text/plain; charset=utf-8", b"hello")
    await client.put("closed", "application/json", b"[1,2]", stream_closed="true")
    await client.put("ttl", "text/plain", stream_ttl="60")
    await client.put("until", "text/plain", stream_expires_at="2030-01-01T00:00:00Z")
    await client.fork("fork", "plain", stream_fork_offset="0" * 15 + "2")

    streams = {stream.pop("path"): stream for stream in (await listed(client))["streams"]}

    plain = {"content_type": "text/plain; charset=utf-8", "closed": False}
    assert streams["plain"] == {**plain, "next_offset": f"{5:016d}"}
    assert streams["closed"] == {"content_type": "application/json", "next_offset": f"{4:016d}", "closed": True}
    assert streams["ttl"]["ttl_s"] == 60
    assert streams["until"]["expires_at"] == "2030-01-01T00:00:00.000Z"
    assert streams["fork"] == {
        **plain,
        "next_offset": f"{2:016d}",
        "forked_from": "plain",
        "fork_offset": f"{2:016d}",
    }


async def test_what_is_gone_is_not_listed_and_pages_go_on_past_it(site: Site) -> None:
    client = site.client
    for number in range(20):
        await client.put(f"s{number:02d}", "text/plain", stream_ttl="10" if number % 2 else "3600")
    await client.fork("heir", "s00")
    for path in ("s00", "s02", "s04"):
        await client.delete(path)
    site.clock.advance_ms(10_000)

    expected = ["heir", *(f"s{number:02d}" for number in range(6, 20, 2))]
    for limit in (1, 3, 1_000):
        assert await paths(client, limit=limit) == expected


async def test_order_and_prefix_are_of_bytes(site: Site) -> None:
    client = site.client
    names = ["Z", "a", "a b", "a/b", "a%2Fb?", "ab", "é", "ü/x", "😀", "a\u00a0b", "~"]
    for name in names:
        assert (await client.put(quote(name, safe=""))).status == 201

    assert await paths(client, limit=2) == sorted(names, key=str.encode)
    assert await paths(client, prefix="a") == sorted((name for name in names if name[0] == "a"), key=str.encode)
    assert await paths(client, prefix=quote("é")) == ["é"]
    assert await paths(client, prefix="%F0%9F%98%80") == ["😀"]
    assert await paths(client, prefix="nothing") == []
    assert (await listed(client, after="a"))["streams"][0]["path"] == "a b"


@pytest.mark.parametrize(
    "query", ["prefix=" + "x" * 2_000, "after=" + "x" * 2_000, "prefix=%FF", "after=%FF%00", "prefix=%00"]
)
async def test_odd_places_in_the_list_are_empty_or_refused(site: Site, query: str) -> None:
    await site.client.put("s")

    reply = await site.client.send("GET", f"/v1/stream/__ds/streams?{query}")

    assert reply.status in {200, 400}
    assert (await site.client.head("s")).status == 200
    assert (await site.client.post("s", b"x")).status == 204

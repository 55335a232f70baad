"""How deep messages may be nested, on every way in; and that what came in can be read by everybody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.json_scan import DEPTH_MAX
from tests.http.test_streaming_append import upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.http.site import Site
    from tests.http.wire import Client

JSON = "application/json"


def nested(depth: int) -> bytes:
    """Return an object so deep, its innermost an array, which every way in takes as one message."""
    return b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1)


async def by_append(client: Client, body: bytes) -> bool:
    reply = await client.post("j", body, JSON)
    assert reply.status == 204 or (reply.status, reply.code) == (400, "invalid-json")
    return reply.status == 204


async def by_create(client: Client, body: bytes) -> bool:
    await client.delete("j")
    reply = await client.put("j", JSON, body)
    if reply.status != 201:
        assert (reply.status, reply.code) == (400, "invalid-json")
        await client.put("j", JSON)
    return reply.status == 201


async def by_batch(client: Client, body: bytes) -> bool:
    """A line far too deep is no line of a batch, which is refused for it; else the line alone is."""
    line = b'{"path":"j","json":%b}' % body
    reply = await client.send("POST", client.target("__ds/batch"), {"Content-Type": "application/x-ndjson"}, line)
    if reply.status != 200:
        assert (reply.status, reply.code) == (400, "invalid-json")
        return False
    outcome = json.loads(reply.body)
    assert outcome["status"] == 204 or (outcome["status"], outcome["code"]) == (400, "invalid-json")
    return bool(outcome["status"] == 204)


async def by_upload(client: Client, body: bytes) -> bool:
    async with upload(client, "j") as sending:
        await sending.chunk(body + b"\n")
        reply = await sending.end()
    assert reply.status == 204 or (reply.status, reply.code) == (400, "invalid-json")
    return reply.status == 204


@pytest.mark.parametrize("write", [by_append, by_create, by_batch, by_upload])
async def test_every_way_in_has_the_same_bound(
    fronted: Site, write: Callable[[Client, bytes], Awaitable[bool]]
) -> None:
    client = fronted.client
    await client.put("j", JSON)

    for too_deep in (DEPTH_MAX + 1, 990, 2_000, 100_000):
        assert not await write(client, nested(too_deep))
        assert (await client.read_all("j"))[0] == b""

    assert await write(client, nested(DEPTH_MAX))
    page = await client.get("j", offset="-1")
    assert page.body == b"[" + nested(DEPTH_MAX) + b"]"
    assert len(json.loads(page.body)) == 1

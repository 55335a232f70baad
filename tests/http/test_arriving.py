"""Large bodies that are on their way at once: bounded all together, and small ones let through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_streams.http.fronts.arriving import FREE_BYTES
from tests.http.site import bounded, until
from tests.http.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Wire

ROOM = 100_000
LARGE = b"x" * (FREE_BYTES + ROOM)
"""One of these fills the room."""


@pytest.fixture(params=[False, True], ids=["aiohttp", "lane"])
async def site(run: Run, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with run(lane=request.param, bounds=bounded(arriving_bytes=ROOM + 2, max_append_bytes=len(LARGE))) as site:
        await site.client.put("s")
        yield site


def held_bytes(site: Site) -> int:
    return site.server._front.arriving.held_bytes


def chunked_head(client: Client) -> bytes:
    head = request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"})
    return head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")


async def begin(client: Client, wire: Wire, *, chunked: bool) -> bytes:
    """Send all of a large body but its last bytes, and return those."""
    if chunked:
        head = chunked_head(client)
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE)
        await wire.send(head + framed[:-10])
        return framed[-10:]
    whole = request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, LARGE)
    await wire.send(whole[:-10])
    return whole[-10:]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_one_large_body_too_many_is_refused_until_there_is_room(site: Site, *, chunked: bool) -> None:
    client = site.client
    async with client.wire() as first, client.wire() as second:
        rest = await begin(client, first, chunked=chunked)
        await until(lambda: held_bytes(site) >= ROOM - 10)
        await begin(client, second, chunked=chunked)
        refused = await second.reply("POST")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
        assert ROOM - 10 <= held_bytes(site) <= ROOM
        assert (await client.post("s", LARGE[:FREE_BYTES])).status == 204, "small ones are let through"

        await first.send(rest)
        assert (await first.reply("POST")).status == 204
    assert held_bytes(site) == 0
    assert (await client.post("s", LARGE)).status == 204
    assert held_bytes(site) == 0
    assert (await client.read_all("s"))[0] == LARGE[:FREE_BYTES] + LARGE + LARGE


async def test_a_client_that_leaves_makes_room(site: Site) -> None:
    async with site.client.wire() as gone:
        await begin(site.client, gone, chunked=False)
        await until(lambda: held_bytes(site) > 0)
    await until(lambda: held_bytes(site) == 0)

    assert (await site.client.post("s", LARGE)).status == 204


async def test_a_body_too_large_and_one_cut_short_make_room(site: Site) -> None:
    async with site.client.wire() as wire:
        await wire.send(chunked_head(site.client) + b"%x\r\n%b\r\n" % (len(LARGE), LARGE))
        await wire.send(b"2\r\nxx\r\n")
        reply = await wire.reply("POST")
        assert (reply.status, reply.code) == (413, "body-too-large")
    assert held_bytes(site) == 0


async def test_many_bodies_at_once_are_all_stored_or_refused(site: Site) -> None:
    replies = await asyncio.gather(*(site.client.post("s", LARGE) for _ in range(8)))

    assert {reply.status for reply in replies} <= {204, 503}
    stored = [reply for reply in replies if reply.status == 204]
    assert len((await site.client.read_all("s"))[0]) == len(stored) * len(LARGE)
    assert held_bytes(site) == 0

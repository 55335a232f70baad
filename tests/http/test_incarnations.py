"""A stream that goes, or is replaced, under its readers: they are told, and no offset is taken for another's."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.protocol.offsets import format_offset
from tests.http.site import until
from tests.http.wire import LiveBody, request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client

EXPIRY, AFTER_MS = "2027-01-15T08:00:10Z", 10_000


async def delete(site: Site) -> None:
    await site.client.delete("s")


async def delete_softly(site: Site) -> None:
    await site.client.fork("fork", "s")
    await site.client.delete("s")


async def let_expire(site: Site) -> None:
    site.clock.advance_ms(AFTER_MS)
    await site.upkeep()


async def create_over_expired(site: Site) -> None:
    site.clock.advance_ms(AFTER_MS)
    assert (await site.client.put("s", "text/plain", b"another")).status == 201


@dataclass(frozen=True)
class Way:
    """How a stream goes, and what a request is told that comes after it."""

    end: Callable[[Site], Awaitable[None]]
    status: int
    code: str


DELETED, REPLACED = Way(delete, 404, "not-found"), Way(create_over_expired, 410, "replaced")
WAYS = {"deleted": DELETED, "replaced": REPLACED}
WAYS |= {"softly": Way(delete_softly, 410, "gone"), "expired": Way(let_expire, 404, "not-found")}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@asynccontextmanager
async def followed(client: Client, *wanted: dict[str, Any]) -> AsyncIterator[LiveBody]:
    """Follow many streams."""
    async with client.wire() as wire:
        await wire.send(request_bytes("POST", client.target("__ds/follow"), {}, json.dumps(wanted).encode()))
        yield LiveBody(wire, await wire.reply_head())


@each_way
async def test_a_live_reader_is_told(fronted: Site, way: Way) -> None:
    """Whether its stream is gone, gone softly, or another's: as a new request would be."""
    client = fronted.client
    await client.put("s", "text/plain", b"x", stream_expires_at=EXPIRY)
    async with client.events("s", offset="-1") as events:
        await events.pair()
        await way.end(fronted)
        (gone,) = await events.rest()
        assert await events.wire.rest() == b""
    assert (gone.kind, json.loads(gone.text)["code"]) == ("gone", way.code)
    assert set(json.loads(gone.text)) == {"code", "detail"}
    assert fronted.followers() == 0


@each_way
async def test_a_waiting_poll_is_answered_as_a_new_request_would_be(fronted: Site, way: Way) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"x", stream_expires_at=EXPIRY)
    async with client.wire() as wire:
        await wire.send(request_bytes("GET", client.target("s", offset=format_offset(1), live="long-poll")))
        await until(lambda: fronted.followers() == 1)
        await way.end(fronted)
        reply = await wire.reply()
    assert (reply.status, reply.code, reply.headers["cache-control"]) == (way.status, way.code, "no-store")
    assert fronted.followers() == 0


@each_way
async def test_a_follower_of_many_is_told_of_the_one(fronted: Site, way: Way) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"x", stream_expires_at=EXPIRY)
    await client.put("stays", "text/plain")
    async with followed(client, {"path": "s"}, {"path": "stays"}) as body:
        await until(lambda: fronted.followers() == 2)
        await way.end(fronted)
        while b"event: gone" not in (piece := await body.chunk()):
            pass
        assert piece.startswith(b"id:s\nevent: gone\ndata:")
        assert json.loads(piece.partition(b"data:")[2])["code"] == way.code
        await client.post("stays", b"y")
        assert (await body.chunk()).startswith(b"id:stays\nevent: data\ndata:y\n")


async def test_a_reader_that_was_not_live_when_it_happened_is_told_too(run: Run) -> None:
    """It was catching up: its stream went, and another came, between two of its pages."""
    async with run() as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * 10)
        async with client.events("s", offset="-1") as events:
            await events.pair()
            (reader,) = site.server._readers.connected
            (feed,) = reader._feeds
            feed.leave_tail()  # as one does that has fallen behind
            await client.delete("s")
            await client.put("s", "text/plain", b"y" * 20)
            feed.catch_up()
            (gone,) = await events.rest()
        assert (gone.kind, json.loads(gone.text)["code"]) == ("gone", "replaced")


async def replace(client: Client, first: bytes, second: bytes, **fields: str) -> str:
    """Put a stream, get a cursor of it, and put another in its place."""
    await client.put("s", "text/plain", first, **fields)
    cursor = (await client.get("s", offset="-1", live="long-poll")).headers["stream-cursor"]
    await client.delete("s")
    assert (await client.put("s", "text/plain", second)).status == 201
    return cursor


@pytest.mark.parametrize("live", ["long-poll", "sse", None])
async def test_an_offset_that_comes_with_the_cursor_of_another_incarnation_is_refused(
    fronted: Site, live: str | None
) -> None:
    """The new stream is longer, shorter, or as long as the old one: nothing but the cursor tells them apart."""
    client = fronted.client
    query = {} if live is None else {"live": live}
    for second in (b"12", b"1234", b"123456"):
        cursor = await replace(client, b"abcd", second)
        reply = await client.send("GET", client.target("s", offset=format_offset(4), cursor=cursor, **query))
        assert (reply.status, reply.code, reply.headers["cache-control"]) == (410, "replaced", "no-store")
        await client.delete("s")


async def test_the_beginning_and_the_tail_are_right_for_every_incarnation(fronted: Site) -> None:
    client = fronted.client
    cursor = await replace(client, b"abcd", b"1234")
    for offset in ("-1", format_offset(0)):
        reply = await client.get("s", offset=offset, live="long-poll", cursor=cursor)
        assert (reply.status, reply.body) == (200, b"1234")
        assert int(reply.headers["stream-cursor"]) > int(cursor)
    async with client.events("s", offset="now", cursor=cursor) as events:
        assert (await events.control())["streamNextOffset"] == format_offset(4)


async def test_a_reader_that_goes_on_from_an_event_stream_is_refused(fronted: Site) -> None:
    """As the official clients do after any end of a connection: with the last control event's offset and cursor."""
    client = fronted.client
    await client.put("s", "application/json", b"[1,2]")
    async with client.events("s", offset="-1") as events:
        control = (await events.pair())[1]
    await client.delete("s")
    await client.put("s", "application/json", b"[1,2,3,4]")
    reply = await client.get("s", offset=control["streamNextOffset"], cursor=control["streamCursor"], live="sse")
    assert (reply.status, reply.code) == (410, "replaced")
    async with client.events("s", offset=control["streamNextOffset"], cursor="3600000") as events:
        assert events.head.status == 200, "another server's cursor says nothing"


async def test_a_cursor_survives_what_is_no_other_incarnation(run: Run) -> None:
    """Appends, closing, and a restart on the same data."""
    cursor = ""
    async with run(engine="lmdb") as site:
        await site.client.put("s", "text/plain", b"x")
        cursor = (await site.client.get("s", offset="-1", live="long-poll")).headers["stream-cursor"]
    async with run(engine="lmdb") as site:
        await site.client.post("s", b"y", stream_closed="true")
        reply = await site.client.get("s", offset=format_offset(1), live="long-poll", cursor=cursor)
        assert (reply.status, reply.body) == (200, b"y")


async def test_a_fork_goes_on_where_its_source_was_left(fronted: Site) -> None:
    """It has the source's offsets, and the bytes before them, up to its base; beyond, the same offset is another's."""
    client = fronted.client
    await client.put("s", "text/plain", b"abcd")
    await client.fork("fork", "s")
    await client.fork("deeper", "fork")
    await client.post("s", b"ef")
    await client.post("fork", b"EFGH")
    await client.post("deeper", b"56")
    cursor = (await client.get("s", offset="-1", live="long-poll")).headers["stream-cursor"]
    for path, rest in (("fork", b"EFGH"), ("deeper", b"56")):
        reply = await client.get(path, offset=format_offset(4), cursor=cursor, live="long-poll")
        assert (reply.status, reply.body) == (200, rest)
        reply = await client.get(path, offset=format_offset(5), cursor=cursor, live="long-poll")
        assert (reply.status, reply.code) == (410, "replaced")


async def test_an_entity_tag_of_another_incarnation_matches_nothing(fronted: Site) -> None:
    """It is a cache's, which may ask for somebody who has never seen that incarnation: it gets the page there is."""
    client = fronted.client
    await client.put("s", "text/plain", b"abcd")
    tag = (await client.get("s", offset=format_offset(2))).headers["etag"]
    await client.delete("s")
    await client.put("s", "text/plain", b"1234")
    reply = await client.get("s", {"If-None-Match": tag}, offset=format_offset(2))
    assert (reply.status, reply.body) == (200, b"34")
    assert reply.headers["etag"] != tag


async def test_following_many_with_a_cursor_of_another_incarnation(fronted: Site) -> None:
    client = fronted.client
    cursor = await replace(client, b"abcd", b"12")
    await client.put("stays", "text/plain")
    wanted = {"path": "s", "offset": format_offset(4), "cursor": cursor}
    async with followed(client, wanted, {"path": "stays", "offset": "now", "cursor": cursor}) as body:
        opening = await body.chunk()
        assert opening.startswith(b"id:s\nevent: refused\ndata:")
        assert b'"code":"replaced"' in opening
        assert b"id:stays\nevent: stream\n" in opening

"""Large bodies that are on their way at once: bounded all together, and small ones let through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_streams.http.extensions.streaming_append import READY_MAX
from durable_streams.http.fronts.arriving import FREE_BYTES, UNREAD_MAX_BYTES
from durable_streams.http.fronts.lane import HELD_MAX_BYTES
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


# --- what is held of uploads, and behind a request that is to be answered ---


async def test_a_line_that_has_not_ended_counts(run: Run) -> None:
    bounds = bounded(arriving_bytes=ROOM + 2, max_append_bytes=2 * len(LARGE))
    async with run(bounds=bounds) as site:
        client = site.client
        await client.put("j", "application/json")
        fields = {"Content-Type": "application/json", "Stream-Append-Mode": "stream", "Transfer-Encoding": "chunked"}
        head = request_bytes("POST", client.target("j"), fields).replace(b"Content-Length: 0\r\n", b"")
        unfinished = b'1\n"' + LARGE[:-10]
        async with client.wire() as first, client.wire() as second:
            await first.send(head + b"%x\r\n%b\r\n" % (len(unfinished), unfinished))
            await until(lambda: held_bytes(site) >= ROOM - 10)
            await second.send(head + b"%x\r\n%b\r\n" % (len(unfinished), unfinished))
            refused = await second.reply("POST")
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
            assert refused.headers["stream-append-count"] == "1", "what came before it is durable"

            await first.send(b'2\r\n"\n\r\n0\r\n\r\n')
            assert (await first.reply("POST")).headers["stream-append-count"] == "2"
        assert (held_bytes(site), site.server._front.arriving.started_bytes) == (0, 0)


async def test_tiny_lines_are_made_appends_a_slice_at_a_time(run: Run) -> None:
    """240 KB of them at once: what is ready never exceeds its bound, and counts."""
    async with run() as site:
        client = site.client
        await client.put("j", "application/json")
        fields = {"Content-Type": "application/json", "Stream-Append-Mode": "stream"}
        lines, most = b"1\n" * 60_000, 0
        async with client.wire() as wire:
            await wire.send(request_bytes("POST", client.target("j"), fields, lines))
            replying = asyncio.create_task(wire.reply("POST"))
            while not replying.done():
                most = max(most, site.server.committer._queued_count)
                await asyncio.sleep(0)
        assert replying.result().headers["stream-append-count"] == "60000"
        assert most <= READY_MAX


async def test_what_comes_behind_a_request_counts_and_is_no_longer_read(run: Run) -> None:
    async with run(lane=True) as site:
        client = site.client
        await client.put("s")
        async with client.wire() as wire:
            await wire.send(request_bytes("GET", client.target("s", offset="now", live="long-poll")))
            await until(lambda: site.followers() == 1)
            behind = request_bytes(
                "POST", client.target("s"), {"Content-Type": "text/plain"}, b"y" * 3 * HELD_MAX_BYTES
            )
            await wire.send(behind)
            (connection,) = site.server._lane.connections  # type: ignore[union-attr]
            await until(lambda: not connection._transport.is_reading())
            arriving = site.server._front.arriving
            assert arriving.held_bytes + arriving.started_bytes == len(connection._buffer) > HELD_MAX_BYTES

            await client.post("s", b"x")
            assert (await wire.reply()).body == b"x"
            assert (await wire.reply("POST")).status == 204
            assert (arriving.held_bytes, arriving.started_bytes) == (0, 0)


async def test_where_there_is_no_room_nothing_is_taken_behind_a_request(run: Run) -> None:
    async with run(lane=True, bounds=bounded(arriving_bytes=1)) as site:
        client = site.client
        await client.put("s")
        async with client.wire() as wire:
            await wire.send(request_bytes("GET", client.target("s", offset="now", live="long-poll")))
            await until(lambda: site.followers() == 1)
            await wire.send(request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"y" * 100_000))
            (connection,) = site.server._lane.connections  # type: ignore[union-attr]
            await until(lambda: connection._ended)
            assert connection._buffer == b""

            await client.post("s", b"x")
            assert (await wire.reply()).body == b"x", "the one before is answered all the same"
            assert await wire.rest() == b""
        assert (await client.read_all("s"))[0] == b"x"


async def test_a_body_in_tiny_parts_is_looked_at_when_it_is_whole(run: Run) -> None:
    async with run(lane=True) as site:
        client = site.client
        await client.put("s")
        raw = request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"z" * 5_000)
        async with client.wire() as wire:
            await wire.send(raw[:-4_000])
            lane = site.server._lane.connections  # type: ignore[union-attr]
            await until(lambda: any(connection._awaited for connection in lane))
            (connection,) = (connection for connection in lane if connection._awaited)
            for at in range(len(raw) - 4_000, len(raw) - 1):
                connection.data_received(raw[at : at + 1])
                assert connection._buffer == b"", "it is kept in parts, and nothing looks at it"
            connection.data_received(raw[-1:])
            assert (await wire.reply("POST")).status == 204
        assert (await client.read_all("s"))[0] == b"z" * 5_000


async def test_what_the_general_front_has_read_is_bounded_over_all_connections(run: Run) -> None:
    async with run(lane=False) as site:
        client, arriving = site.client, site.server._front.arriving
        await client.put("s")
        async with client.wire() as wire:
            await wire.send(chunked_head(client) + b"5\r\nhello\r\n")
            await until(lambda: arriving.unread_bytes > 0)
            taken = UNREAD_MAX_BYTES - arriving.unread_bytes
            arriving.read(taken)
            await wire.send(b"5\r\nworld\r\n")
            refused = await wire.reply("POST")
            assert (refused.status, refused.code) == (503, "overloaded")
            assert await wire.rest() == b""
            arriving.read(-taken)
        assert (await client.post("s", b"again")).status == 204
        await until(lambda: arriving.unread_bytes == 0)


async def test_one_connection_too_many_is_closed(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(lane=lane, bounds=bounded(connections_count=2)) as site:
        client = site.client
        async with client.wire() as first, client.wire() as second:
            for wire in (first, second):
                await wire.send(request_bytes("GET", "/healthz"))
                assert (await wire.reply()).status == 200
            async with client.wire() as third:
                with pytest.raises(ConnectionError):
                    await third.reply_head()
        lanes = site.server._lane.connections if site.server._lane is not None else ()
        await until(lambda: site.server._front.count() + len(lanes) == 0)
        assert (await client.get("s", offset="-1")).status == 404

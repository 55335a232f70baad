"""Waiting for the next bytes (§5.7)."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.offsets import format_offset
from tests.http.site import bounded, until
from tests.http.wire import request_bytes
from tests.loops import time_passes

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import EngineName, Site
    from tests.http.wire import Client, Reply, Wire

RACES = 300


async def ask(client: Client, wire: Wire, path: str, **query: str) -> None:
    await wire.send(request_bytes("GET", client.target(path, **query, live="long-poll")))


async def test_what_is_there_comes_at_once(fronted: Site) -> None:
    await fronted.client.put("s", "application/json", b"[1,2]")

    reply = await fronted.client.get("s", offset="-1", live="long-poll")

    assert (reply.status, reply.body, reply.offset, reply.up_to_date) == (200, b"[1,2]", format_offset(4), True)
    assert reply.headers["stream-cursor"].isdigit()


async def test_what_comes_is_answered_with_and_no_more(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"old")
    for offset in (format_offset(3), "now"):
        async with client.wire() as wire:
            await ask(client, wire, "s", offset=offset)
            await until(lambda: fronted.followers() == 1)
            tail = int((await client.head("s")).offset)
            await client.post("s", b"new")
            reply = await wire.reply()
            assert (reply.status, reply.body, reply.offset) == (200, b"old"[3:] + b"new", format_offset(tail + 3))
            assert fronted.followers() == 0
            if offset != "now":
                await client.delete("s")
                await client.put("s", "text/plain", b"old")


@pytest.mark.slow
async def test_an_append_between_look_and_wait_is_not_missed(run: Run, engine_name: EngineName) -> None:
    """The poll and the append race; whichever is first, the poll answers with the append, long before its timeout."""
    async with run(engine=engine_name, bounds=bounded(long_poll_timeout_ms=60_000)) as site:
        client, chance = site.client, random.Random(3)
        await client.put("s", "text/plain")
        post = request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"x")

        async with client.wire() as reader, client.wire() as writer:
            for number in range(RACES):
                poll = request_bytes("GET", client.target("s", offset=format_offset(number), live="long-poll"))
                pair = [(reader, poll), (writer, post)]
                chance.shuffle(pair)
                for wire, raw in pair:
                    wire.writer.write(raw)
                    for _ in range(chance.randrange(6)):
                        await asyncio.sleep(0)
                polled, posted = await asyncio.gather(reader.reply(), writer.reply("POST"))
                assert (posted.status, polled.status, polled.body) == (204, 200, b"x")


@pytest.mark.slow
async def test_a_wait_in_vain_ends_where_the_client_stands(run: Run, lane: bool) -> None:  # noqa: FBT001
    """204 names the client's own offset, never one beyond bytes that it has not got."""
    async with run(bounds=bounded(long_poll_timeout_ms=2), lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain")
        sent = b"".join(b"%04d" % number for number in range(200))
        waits = 0

        async def write() -> None:
            async with client.wire() as wire:
                for start in range(0, len(sent), 4):
                    await wire.send(
                        request_bytes(
                            "POST", client.target("s"), {"Content-Type": "text/plain"}, sent[start : start + 4]
                        )
                    )
                    assert (await wire.reply("POST")).status == 204
                    if start % 40 == 0:  # now and then the reader is to wait in vain
                        before = waits
                        await until(lambda before=before: waits > before)  # type: ignore[misc]
            await client.finish("s")

        async def read() -> bytes:
            nonlocal waits
            got, closed = b"", False
            async with client.wire() as wire:
                while not closed:
                    await ask(client, wire, "s", offset=format_offset(len(got)))
                    reply: Reply = await wire.reply()
                    if reply.status == 204:
                        waits += 1
                    else:
                        assert reply.status == 200
                        got += reply.body
                    assert reply.offset == format_offset(len(got))
                    assert reply.up_to_date
                    closed = reply.closed
            return got

        got, _ = await asyncio.gather(read(), write())

        assert got == sent


async def test_the_end_does_not_have_to_be_waited_for(run: Run) -> None:
    async with run(bounds=bounded(long_poll_timeout_ms=60_000)) as site:
        client = site.client
        await client.put("s", "text/plain", b"x", stream_closed="true")
        for offset in (format_offset(1), "now"):
            reply = await client.get("s", offset=offset, live="long-poll")
            assert (reply.status, reply.closed, reply.up_to_date, reply.offset) == (204, True, True, format_offset(1))


@pytest.mark.parametrize("body", [b"", b"last"])
async def test_a_close_ends_the_wait(run: Run, body: bytes) -> None:
    async with run(bounds=bounded(long_poll_timeout_ms=60_000)) as site:
        client = site.client
        await client.put("s")
        async with client.wire() as wire:
            await ask(client, wire, "s", offset="-1")
            await until(lambda: site.followers() == 1)
            await client.post("s", body, stream_closed="true")
            reply = await wire.reply()

    assert (reply.status, reply.body) == (200 if body else 204, body)
    assert (reply.closed, reply.up_to_date, reply.offset) == (True, True, format_offset(len(body)))


async def test_a_delete_ends_the_wait(site: Site) -> None:
    client = site.client
    await client.put("s")
    async with client.wire() as wire:
        await ask(client, wire, "s", offset="-1")
        await until(lambda: site.followers() == 1)
        await client.delete("s")
        assert (await wire.reply()).code == "not-found"
    assert site.followers() == 0


async def test_a_client_that_has_gone_is_waited_for_no_longer(fronted: Site) -> None:
    client = fronted.client
    await client.put("s")
    for leave in ("reset", "finish"):
        async with client.wire() as wire:
            await ask(client, wire, "s", offset="-1")
            await until(lambda: fronted.followers() == 1)
            if leave == "finish":
                wire.writer.close()
        await until(lambda: fronted.followers() == 0)


@pytest.mark.still_time
async def test_a_source_does_not_wake_its_fork(run: Run) -> None:
    async with run(bounds=bounded(long_poll_timeout_ms=30_000)) as site:
        client = site.client
        await client.put("s", "text/plain", b"x")
        await client.fork("fork", "s")
        async with client.wire() as wire:
            await ask(client, wire, "fork", offset=format_offset(1))
            await until(lambda: site.followers() == 1)
            await client.post("s", b"y")
            await time_passes(29)
            assert site.followers() == 1
            await time_passes(1)
            assert (await wire.reply()).status == 204
        assert (await client.get("fork", offset="-1", live="long-poll")).body == b"x"


async def test_a_cursor_never_goes_back(client: Client) -> None:
    await client.put("s", "text/plain", b"x")
    first = (await client.get("s", offset="-1", live="long-poll")).headers["stream-cursor"]

    for echoed in (first, str(int(first) + 5), str(10**14)):
        reply = await client.get("s", offset="-1", live="long-poll", cursor=echoed)
        assert int(reply.headers["stream-cursor"]) > int(echoed)
    for echoed in ("0", "-5", "x", "", "9" * 100):
        reply = await client.get("s", offset="-1", live="long-poll", cursor=echoed)
        assert reply.headers["stream-cursor"] == first


async def test_a_page_is_a_page(run: Run) -> None:
    async with run(bounds=bounded(max_chunk_bytes=10)) as site:
        client = site.client
        await client.put("s")
        async with client.wire() as wire:
            await ask(client, wire, "s", offset="-1")
            await until(lambda: site.followers() == 1)
            await client.post("s", b"x" * 25)
            reply = await wire.reply()
        assert (len(reply.body), reply.offset, reply.up_to_date) == (10, format_offset(10), False)


@pytest.mark.slow
async def test_a_thousand_wait_and_all_are_answered(run: Run) -> None:
    async with run(bounds=bounded(long_poll_timeout_ms=60_000)) as site:
        client = site.client
        await client.put("s")
        async with AsyncExitStack() as connections:
            wires = [await connections.enter_async_context(client.wire()) for _ in range(1_000)]
            for wire in wires:
                await ask(client, wire, "s", offset="-1")
            await until(lambda: site.followers() == 1_000)
            await client.post("s", b"x")
            replies = await asyncio.gather(*(wire.reply() for wire in wires))
        assert {reply.body for reply in replies} == {b"x"}
        assert site.followers() == 0

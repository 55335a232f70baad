"""Readers that take their bytes slowly, or not at all: bounded, served in the end, and cut when dead."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from durable_streams.runtime.config import KIB, MIB
from tests.http.site import bounded, until
from tests.http.wire import EVENT_MAX_BYTES, Events, Wire, request_bytes
from tests.loops import time_passes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client

NARROW_BYTES = 64 * KIB
WRITE_TIMEOUT_S = 30
CUT_LOOKS = 5
"""Write timeouts that it may take to see that nothing moves: what the kernel still takes at first is a movement."""


@asynccontextmanager
async def narrow(client: Client, target: str, ahead_bytes: int = NARROW_BYTES) -> AsyncIterator[Wire]:
    """Connect with small buffers on this side, ask, and read nothing yet."""
    host, _, port = client.origin.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    connection.setblocking(False)  # noqa: FBT003 the socket module's signature
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    wire = Wire(*await asyncio.open_connection(sock=connection, limit=ahead_bytes))
    try:
        await wire.send(request_bytes("GET", target))
        yield wire
    finally:
        wire.close()


def lines(count: int, seed: int) -> bytes:
    chance = random.Random(seed)
    return b"".join(b"%06d %s\n" % (number, chance.randbytes(40).hex().encode()) for number in range(count))


def unsent_bytes(site: Site) -> int:
    return max((reader._transport.get_write_buffer_size() for reader in site.server._readers.connected), default=0)


@pytest.mark.slow
async def test_a_reader_that_stops_costs_its_bound_and_goes_on_from_where_it_stopped(run: Run) -> None:
    """32 MB pass by while it stands still; then it gets every byte, once and in order."""
    bounds = bounded(sse_buffer_bytes=64 * KIB, max_chunk_bytes=128 * KIB, write_timeout_ms=600_000)
    async with run(bounds=bounds) as site:
        client = site.client
        await client.put("s", "text/plain")
        async with narrow(client, client.target("s", offset="-1", live="sse"), EVENT_MAX_BYTES) as wire:
            await until(lambda: site.followers() == 1)
            sent = lines(360_000, 7)
            worst = 0
            for start in range(0, len(sent), MIB // 2):
                await client.post("s", sent[start : start + MIB // 2])
                worst = max(worst, unsent_bytes(site))
            await client.finish("s")

            # One frame larger than the bound may be handed over whole: it is one append of half a mebibyte.
            assert worst <= 64 * KIB + MIB
            assert site.followers() == 0

            events = Events(wire, await wire.reply_head())
            received = await events.rest()
            assert "".join(event.text for event in received if event.kind == "data").encode() == sent
            assert received[-1].control["streamClosed"] is True


@pytest.mark.slow
@pytest.mark.still_time
@pytest.mark.parametrize("mode", ["sse", "page", "many pages", "whole"])
async def test_a_peer_that_takes_nothing_is_cut(run: Run, mode: str, lane: bool) -> None:  # noqa: FBT001
    paging = {} if mode == "whole" else {"max_chunk_bytes": 16 * MIB}
    bounds = bounded(write_timeout_ms=WRITE_TIMEOUT_S * 1000, **paging)
    async with run(bounds=bounds, lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", bytes(15 * MIB))
        query = {"offset": "-1", "live": "sse"} if mode == "sse" else {"offset": "-1"}
        async with narrow(client, client.target("s", **query)) as wire:
            if mode == "many pages":
                await wire.send(request_bytes("GET", client.target("s", **query)) * 100)
            await until(lambda: held(site) == 1)
            await time_passes(WRITE_TIMEOUT_S - 1)
            assert held(site) == 1
            for _ in range(CUT_LOOKS):
                await time_passes(WRITE_TIMEOUT_S)
            assert held(site) == 0
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012 two steps to one end
                await wire.reader.readexactly(15 * MIB)
                await wire.reader.readexactly(15 * MIB)


def held(site: Site) -> int:
    """How many connections the fronts still have, and how many live readers."""
    lane = len(site.server._lane.connections) if site.server._lane is not None else 0
    return lane + len(site.server._front._server.connections) + len(site.server._readers.connected)


@pytest.mark.slow
@pytest.mark.still_time
@pytest.mark.parametrize(
    "mode", ["sse", "page on the lane", "page by aiohttp", "whole on the lane", "whole by aiohttp"]
)
async def test_a_peer_that_takes_little_is_not(run: Run, mode: str) -> None:
    """It takes many write timeouts to read one page, but something in each."""
    paging = {} if "whole" in mode else {"max_chunk_bytes": 16 * MIB}
    bounds = bounded(write_timeout_ms=WRITE_TIMEOUT_S * 1000, **paging)
    async with run(bounds=bounds, lane="aiohttp" not in mode) as site:
        client = site.client
        size = 8 * MIB
        await client.put("s", "text/plain", b"x" * size, stream_closed="true")
        query = {"offset": "-1", "live": "sse"} if mode == "sse" else {"offset": "-1"}
        async with narrow(client, client.target("s", **query)) as wire:
            got = 0
            while got < size:
                got += len(await wire.reader.readexactly(128 * KIB))
                await time_passes(WRITE_TIMEOUT_S / 4)

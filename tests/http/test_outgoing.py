"""The account of what clients have not taken: counted once however many are sent it, bounded, and given back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from durable_streams.http.live.connection import FEED_BYTES
from durable_streams.http.outgoing import PARCEL_BYTES, SMALL_MAX_BYTES, Outgoing
from durable_streams.runtime.config import KIB, MIB
from tests.http.site import bounded, until
from tests.http.test_slow_readers import CUT_LOOKS, held, narrow
from tests.loops import time_passes

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Wire

MESSAGE = b'"' + b"x" * (8 * MIB) + b'"'
READERS = 6


def outgoing(site: Site) -> Outgoing:
    return site.server._readers.outgoing


async def stuck(stack: AsyncExitStack, client: Client, target: str) -> Wire:
    """Ask, and take nothing of the answer."""
    return await stack.enter_async_context(narrow(client, target))


def waiting(site: Site) -> int:
    """How many connections hold what their clients have not taken."""
    lane = site.server._lane
    held = 0 if lane is None else sum(connection._paused for connection in lane.connections)
    return held + sum(reader._stalled for reader in site.server._readers.connected)


async def test_a_parcel_counts_while_anybody_holds_it() -> None:
    account = Outgoing(1_000)
    first = account.shared("key", lambda: b"x" * 500)
    assert account.shared("key", lambda: b"never made") is first
    other = account.parcel(b"x" * 500)
    assert (account.held_bytes, account.is_full) == (2 * (500 + PARCEL_BYTES), True)

    called: list[str] = []
    account.wait(lambda: called.append("told"))
    await asyncio.sleep(0)
    assert called == []
    del first, other
    await asyncio.sleep(0)
    assert (account.held_bytes, called) == (0, ["told"])


async def test_who_waits_is_called_while_there_is_room_and_not_behind_it() -> None:
    account = Outgoing(1_000)
    full = account.parcel(bytes(1_000))
    made = []
    for _ in range(3):
        account.wait(lambda: made.append(account.parcel(bytes(900))))
    del full
    await asyncio.sleep(0)
    assert len(made) == 1


@pytest.mark.parametrize("query", [{"max-bytes": 16 * MIB}, {"live": "long-poll"}, {"live": "sse"}, {}], ids=str)
async def test_a_message_is_held_once_for_all_who_do_not_take_it(run: Run, query: dict[str, str | int]) -> None:
    """Whatever they ask for it by, the account holds it once; without one each would hold eight mebibytes."""
    async with run() as site, AsyncExitStack() as stack:
        await site.client.put("s", "application/json", MESSAGE)
        for number in range(1, READERS + 1):
            await stuck(stack, site.client, site.client.target("s", offset="-1", **query))
            await until(lambda number=number: waiting(site) == number)  # type: ignore[misc]
        assert 0 < outgoing(site).held_bytes < len(MESSAGE) + READERS * (FEED_BYTES + 4 * SMALL_MAX_BYTES)
        await stack.aclose()
        await until(lambda: outgoing(site).held_bytes == 0)


async def test_beyond_the_account_a_page_is_refused_and_a_wait_goes_on_when_there_is_room(run: Run) -> None:
    async with run(bounds=bounded(sending_bytes=2 * MIB)) as site, AsyncExitStack() as stack:
        client = site.client
        for name in ("full", "other"):
            await client.put(name, "application/json", MESSAGE)
        holder = await stuck(stack, client, client.target("full", offset="-1", max_bytes=16 * MIB))
        await until(lambda: outgoing(site).is_full)

        for query in ({}, {"max_bytes": 16 * MIB}, {"live": "sse"}):
            refused = await client.get("other", None, offset="-1", **query)
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
        assert (await client.post("other", b"1", "application/json")).status == 204

        holder.close()
        await until(lambda: not outgoing(site).is_full)
        whole, _ = await client.read_all("other")
        assert whole == MESSAGE + b",1"


async def test_who_reads_already_waits_for_room(run: Run, lane: bool) -> None:  # noqa: FBT001
    """A long answer, on either front, and a live reader that catches up."""
    async with run(bounds=bounded(sending_bytes=4 * MIB), lane=lane) as site, AsyncExitStack() as stack:
        client = site.client
        text = b"0123456789abcdef" * (MIB // 2)
        await client.put("s", "text/plain", text, stream_closed="true")
        whole = await stuck(stack, client, client.target("s", offset="-1"))
        events = await stack.enter_async_context(client.events("s", offset="-1"))
        full = outgoing(site).parcel(bytes(4 * MIB))
        head = await whole.reply_head()
        reading = asyncio.create_task(whole.exactly(int(head.headers["content-length"])))
        shown = asyncio.create_task(events.rest())
        await until(lambda: len(outgoing(site)._waiting) == 2)
        assert {reading.done(), shown.done()} == {False}

        del full
        assert await reading == text
        assert "".join(event.text for event in await shown if event.kind == "data").encode() == text


@pytest.mark.still_time
@pytest.mark.parametrize("mode", ["lane", "aiohttp", "sse"])
async def test_a_peer_that_takes_less_than_the_least_rate_is_cut(run: Run, mode: str) -> None:
    """It takes 64 KiB in 30 seconds; any movement at all would keep it for ever."""
    bounds = bounded(write_timeout_ms=30_000, least_rate_bytes=64 * KIB)
    async with run(bounds=bounds, lane=mode != "aiohttp") as site:
        client = site.client
        await client.put("s", "text/plain", bytes(15 * MIB))
        query = {"live": "sse"} if mode == "sse" else {}
        async with narrow(client, client.target("s", offset="-1", **query)) as wire:
            await until(lambda: held(site) == 1)
            for _ in range(CUT_LOOKS):
                await wire.reader.readexactly(64 * KIB)
                await time_passes(30)
            assert held(site) == 0

"""Streams that end by themselves: what keeps them, what does not, and that nothing of them is left (§5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.http.site import bounded, until
from tests.loops import time_passes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.runtime.clock import ManualClock
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client

TTL_S = 10
ALMOST_MS = 9_000
LONG_MS = 3_600_000


async def read_live(client: Client, mode: str) -> None:
    if mode == "sse":
        async with client.events("s", offset="-1") as events:
            await events.pair()
    else:
        assert (await client.get("s", offset="-1", live=mode)).status == 200


TOUCHES: dict[str, Callable[[Client], Awaitable[object]]] = {
    "read": lambda client: client.get("s", offset="-1"),
    "read without offset": lambda client: client.get("s"),
    "read at the tail": lambda client: client.get("s", offset="now"),
    "read the last": lambda client: client.get("s", tail=1),
    "not modified": lambda client: client.get("s", {"If-None-Match": "*"}, offset="-1"),
    "append": lambda client: client.post("s", b"1", "application/json"),
    "long-poll": lambda client: read_live(client, "long-poll"),
    "sse": lambda client: read_live(client, "sse"),
}
GLANCES: dict[str, Callable[[Client], Awaitable[object]]] = {
    "nothing": lambda client: client.head("other"),
    "head": lambda client: client.head("s"),
    "list": lambda client: client.get("__ds/streams"),
    "preflight": lambda client: client.send("OPTIONS", client.target("s")),
}


async def ttl_stream(site: Site) -> None:
    assert (await site.client.put("s", "application/json", b"0", stream_ttl=str(TTL_S))).status == 201


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
async def test_reads_and_writes_slide_a_ttl(site: Site, touch: Callable[[Client], Awaitable[object]]) -> None:
    await ttl_stream(site)
    for _ in range(4):
        site.clock.advance_ms(ALMOST_MS)
        await site.upkeep()
        await touch(site.client)
        await until(lambda: site.followers() == 0)
    site.clock.advance_ms(ALMOST_MS)
    await site.upkeep()
    assert (await site.client.head("s")).status == 200

    site.clock.advance_ms(TTL_S * 1000 - ALMOST_MS)
    assert (await site.client.head("s")).status == 404


@pytest.mark.parametrize("glance", GLANCES.values(), ids=GLANCES.keys())
async def test_looking_at_a_stream_does_not(site: Site, glance: Callable[[Client], Awaitable[object]]) -> None:
    await ttl_stream(site)
    site.clock.advance_ms(ALMOST_MS)
    await glance(site.client)
    site.clock.advance_ms(TTL_S * 1000 - ALMOST_MS - 1)
    assert (await site.client.head("s")).status == 200

    site.clock.advance_ms(1)
    for reply in (
        await site.client.head("s"),
        await site.client.get("s", offset="-1"),
        await site.client.post("s", b"1", "application/json"),
        await site.client.delete("s"),
    ):
        assert reply.status == 404


async def test_an_absolute_expiry_does_not_slide(site: Site) -> None:
    await site.client.put("s", "text/plain", b"x", stream_expires_at="2027-01-15T08:00:10Z")  # the clock says …:00
    for _ in range(9):
        site.clock.advance_ms(1_000)
        assert (await site.client.post("s", b"x")).status == 204
        assert (await site.client.get("s", offset="-1")).status == 200

    site.clock.advance_ms(1_000)
    assert (await site.client.get("s", offset="-1")).status == 404


@pytest.mark.parametrize("mode", ["sse", "long-poll"])
async def test_a_live_reader_keeps_a_ttl_stream_alive(site: Site, mode: str) -> None:
    client = site.client
    await ttl_stream(site)

    async with client.wire() as wire:
        await wire.send(
            b"GET " + client.target("s", offset="now", live=mode).encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        await until(lambda: site.followers() == 1)
        for _ in range(5):
            site.clock.advance_ms(LONG_MS)
            await site.upkeep()
            assert (await client.head("s")).status == 200
        assert (await client.post("s", b"1", "application/json")).status == 204
        site.clock.advance_ms(LONG_MS)
        await site.upkeep()
    await until(lambda: site.followers() == 0)

    if mode == "sse":
        site.clock.advance_ms(ALMOST_MS)
        assert (await client.head("s")).status == 200
    site.clock.advance_ms(LONG_MS)
    assert (await client.head("s")).status == 404


@pytest.mark.still_time
async def test_a_reader_that_polls_keeps_a_stream_whose_ttl_is_shorter_than_the_poll(run: Run) -> None:
    """The TTL starts anew when the last live reader leaves; the reader that comes back finds its stream."""
    async with run(bounds=bounded(long_poll_timeout_ms=30_000)) as site:
        client = site.client
        await ttl_stream(site)
        offset = (await client.head("s")).offset
        for _ in range(3):
            async with client.wire() as wire:
                target = client.target("s", offset=offset, live="long-poll")
                await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await until(lambda: site.followers() == 1)
                site.clock.advance_ms(LONG_MS)
                await time_passes(30)
                assert (await wire.reply()).status == 204
        assert (await client.head("s")).status == 200


@pytest.mark.still_time
async def test_a_reader_that_reconnects_finds_its_stream(run: Run) -> None:
    async with run(bounds=bounded(sse_lifetime_ms=60_000)) as site:
        client = site.client
        await ttl_stream(site)
        for _ in range(3):
            async with client.events("s", offset="now") as events:
                await until(lambda: site.followers() == 1)
                site.clock.advance_ms(LONG_MS)
                await time_passes(60)
                await events.rest()
        assert (await client.head("s")).status == 200


async def test_a_live_reader_does_not_keep_an_absolute_expiry(site: Site) -> None:
    client = site.client
    await client.put("s", "text/plain", b"x", stream_expires_at="2027-01-15T08:00:10Z")

    async with client.events("s", offset="-1") as events:
        assert (await events.pair())[0] == "x"
        site.clock.advance_ms(10_000)
        assert (await client.head("s")).status == 404
        await site.upkeep()
        assert [event.kind for event in await events.rest()] == ["gone"]
    assert (await client.get("s", offset="-1")).status == 404


async def test_a_waiting_poll_of_an_expired_stream_is_told(site: Site) -> None:
    client = site.client
    await client.put("s", "text/plain", b"x", stream_expires_at="2027-01-15T08:00:10Z")

    async with client.wire() as wire:
        target = client.target("s", offset="now", live="long-poll")
        await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: site.followers() == 1)
        site.clock.advance_ms(10_000)
        await site.upkeep()
        assert (await wire.reply()).code == "not-found"


async def test_what_expired_is_removed_from_the_store(site: Site) -> None:
    client = site.client
    for number in range(30):
        fields = {"producer_id": "p", "producer_epoch": "0", "producer_seq": "0"}
        await client.put(f"s{number}", "text/plain", stream_ttl=str(TTL_S))
        assert (await client.post(f"s{number}", b"x" * 1000, **fields)).status == 200
    await client.put("stays", "text/plain", b"here")
    sids = [head.sid for head in site.engine.scan("s", "", 100) if head.path != "stays"]
    assert len(sids) == 30

    site.clock.advance_ms(TTL_S * 1000)
    await site.upkeep()

    assert [head.path for head in site.engine.scan("", "", 100)] == ["stays"]
    assert site.engine.due(site.clock.now_ms() * 2, 100) == []
    for sid in sids:
        assert site.engine.read(sid, 0, 1000, 1000) == []
        assert site.engine.load_producers([(sid, "p")]) == [None]
    assert site.engine.collect(100) == 0
    assert (await client.read_all("stays"))[0] == b"here"


async def test_the_sweep_works_in_slices(run: Run) -> None:
    async with run(engine="lmdb", bounds=bounded(sweep_count=10)) as site:
        for number in range(35):
            await site.client.put(f"s{number}", "text/plain", b"x", stream_ttl="1")
        site.clock.advance_ms(1_000)

        assert await site.server._upkeep.round() is True
        assert len(site.engine.scan("", "", 100)) == 25
        await site.upkeep()
        assert site.engine.scan("", "", 100) == []
        assert site.engine.collect(100) == 0


async def test_an_expired_path_is_free_for_another_stream(site: Site) -> None:
    """Swept or not."""
    client = site.client
    for swept in (False, True):
        await client.put("s", "text/plain", b"old", stream_ttl="1")
        site.clock.advance_ms(1_000)
        if swept:
            await site.upkeep()
        assert (await client.put("s", "application/json", b'"new"')).status == 201
        assert (await client.read_all("s"))[0] == b'"new"'
        await client.delete("s")


async def test_an_expired_source_lives_on_in_its_forks(site: Site) -> None:
    client = site.client
    await client.put("s", "text/plain", b"inherited ", stream_ttl=str(TTL_S))
    await client.fork("fork", "s", stream_ttl=str(10 * TTL_S))
    await client.post("fork", b"own")
    site.clock.advance_ms(TTL_S * 1000)
    await site.upkeep()

    assert (await client.get("s", offset="-1")).status == 410
    assert (await client.put("s")).code == "path-blocked"
    assert (await client.read_all("fork"))[0] == b"inherited own"

    await client.delete("fork")
    await site.upkeep()
    assert site.engine.scan("", "", 10) == []
    assert (await client.put("s")).status == 201


async def test_a_fork_that_expires_lets_go_of_its_source(site: Site) -> None:
    client = site.client
    await client.put("s", "text/plain", b"x")
    await client.fork("fork", "s", stream_ttl="1")
    site.clock.advance_ms(1_000)
    await site.upkeep()

    assert (await client.delete("s")).status == 204
    assert (await client.put("s")).status == 201


async def restarted(run: Run, clock: ManualClock) -> tuple[int, bytes]:
    async with run(engine="lmdb", clock=clock) as site:
        reply = await site.client.head("s")
        return reply.status, (await site.client.read_all("s"))[0] if reply.status == 200 else b""


async def test_ttl_streams_survive_restarts_and_so_do_their_touches(run: Run) -> None:
    async with run(engine="lmdb") as site:
        clock = site.clock
        await site.client.put("s", "text/plain", b"x", stream_ttl=str(TTL_S))
        clock.advance_ms(5_000)
        await site.client.get("s", offset="-1")

    clock.advance_ms(ALMOST_MS)
    assert await restarted(run, clock) == (200, b"x")
    clock.advance_ms(ALMOST_MS)
    assert await restarted(run, clock) == (200, b"x")
    clock.advance_ms(TTL_S * 1000)
    assert await restarted(run, clock) == (404, b"")


async def test_what_expired_while_the_server_was_down_is_swept(run: Run) -> None:
    async with run(engine="lmdb") as site:
        clock = site.clock
        await site.client.put("s", "text/plain", b"x", stream_ttl=str(TTL_S))
    clock.advance_ms(TTL_S * 1000)

    async with run(engine="lmdb", clock=clock) as site:
        await site.upkeep()
        assert site.engine.scan("", "", 10) == []
        assert site.engine.collect(10) == 0


async def test_the_list_shows_what_a_read_has_kept_alive(site: Site) -> None:
    await ttl_stream(site)
    site.clock.advance_ms(ALMOST_MS)
    await site.client.get("s", offset="-1")
    site.clock.advance_ms(ALMOST_MS)

    listed = orjson.loads((await site.client.get("__ds/streams")).body)["streams"]

    assert [stream["path"] for stream in listed] == ["s"]


async def test_nothing_is_cached_past_the_end_of_its_stream(site: Site) -> None:
    client = site.client
    await client.put("s", "text/plain", b"x", stream_expires_at="2027-01-15T08:00:10Z")
    await client.put("t", "text/plain", b"x", stream_ttl="30")
    await client.put("u", "text/plain", b"x", stream_ttl="3600")
    site.clock.advance_ms(5_000)

    ages = [
        int((await client.get(path, offset="-1")).headers["cache-control"].split("max-age=")[1].split(",")[0])
        for path in ("s", "t", "u")
    ]

    assert ages == [5, 30, 60]

"""A catch-up is answered with everything up to the tail of that moment, read as it is sent (§5.6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.engine.base import EngineFailedError
from durable_streams.engine.memory import MemoryEngine
from durable_streams.protocol.offsets import format_offset
from durable_streams.runtime.config import MIB
from tests.http.site import bounded, until
from tests.http.test_pages import messages
from tests.http.test_slow_readers import lines, narrow
from tests.http.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.engine.base import Chunk
    from tests.http.conftest import Run
    from tests.http.site import EngineName, Site
    from tests.http.wire import Reply, Wire

PIECE = 100
SMALL = bounded(page_bytes=PIECE)
LARGE_BYTES = 24 * MIB
"""More than the kernel holds of an answer for a peer that takes nothing."""


class WatchedEngine(MemoryEngine):
    """Notes the turn of the loop in which each read was made; fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.read_in: list[int] = []
        self.broken = False

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 - the seam's
        if self.broken:
            raise EngineFailedError("the disk has gone")
        self.read_in.append(self.turn)
        return super().read(sid, start, end, max_bytes)

    def count_turns(self) -> None:
        """Count the loop's turns from here on."""
        self.turn += 1
        asyncio.get_running_loop().call_soon(self.count_turns)


# --- what is in it ---


@pytest.mark.parametrize("together", [True, False], ids=["one append", "many appends"])
async def test_all_messages_are_one_array(run: Run, engine_name: EngineName, lane: bool, together: bool) -> None:  # noqa: FBT001, PLR0917
    async with run(engine=engine_name, bounds=SMALL, lane=lane) as site:
        client, sent = site.client, messages(60)
        sent[20] = b'{"large":"%b"}' % (b"x" * 5 * PIECE)
        await client.put("s", "application/json")
        for body in [b"[" + b",".join(sent) + b"]"] if together else sent:
            await client.post("s", body, "application/json")

        for query in ({}, {"offset": "-1"}, {"tail": "60"}):
            check_whole(await client.get("s", None, **query), b"[" + b",".join(sent) + b"]", sum(map(len, sent)) + 60)
        check_whole(await client.get("s", tail=41), b"[" + b",".join(sent[19:]) + b"]", sum(map(len, sent)) + 60)


def check_whole(reply: Reply, body: bytes, tail: int) -> None:
    assert (reply.status, reply.body) == (200, body)
    assert int(reply.headers["content-length"]) == len(body)
    assert (reply.offset, reply.up_to_date) == (format_offset(tail), True)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 10 * PIECE + 7])
async def test_all_bytes_come_whatever_their_number(run: Run, lane: bool, size: int) -> None:  # noqa: FBT001
    async with run(bounds=SMALL, lane=lane) as site:
        sent = lines(20, 3)[:size]
        await site.client.put("s", "text/plain", sent)
        check_whole(await site.client.get("s", offset="-1"), sent, size)

        for start in range(0, size, 37):
            check_whole(await site.client.get("s", offset=format_offset(start)), sent[start:], size)


async def test_a_fork_is_read_through_its_sources(run: Run, engine_name: EngineName, lane: bool) -> None:  # noqa: FBT001
    async with run(engine=engine_name, bounds=SMALL, lane=lane) as site:
        client, sent = site.client, messages(90)
        await client.put("a", "application/json", b"[" + b",".join(sent[:30]) + b"]")
        await client.fork("b", "a")
        await client.post("a", b'"only here"', "application/json")
        await client.post("b", b"[" + b",".join(sent[30:60]) + b"]", "application/json")
        await client.fork("c", "b")
        await client.post("c", b"[" + b",".join(sent[60:]) + b"]", "application/json")
        await client.delete("b")

        check_whole(await client.get("c"), b"[" + b",".join(sent) + b"]", sum(map(len, sent)) + 90)


@pytest.mark.parametrize("own", [b"", b'"own"'])
async def test_what_a_fork_inherits_is_read_in_pieces_too(run: Run, lane: bool, own: bytes) -> None:  # noqa: FBT001
    """Of a source's chunk that is larger than a piece; and nothing follows the last one."""
    engine, inherited = WatchedEngine(), b'"%b"' % (b"x" * (10 * PIECE - 3))
    async with run(engine=engine, bounds=SMALL, lane=lane) as site:
        client = site.client
        await client.put("source", "application/json", inherited)
        await client.fork("fork", "source")
        if own:
            await client.post("fork", own, "application/json")
        engine.read_in.clear()
        async with client.wire() as wire:
            for _ in range(2):
                await wire.send(request_bytes("GET", client.target("fork")))
                assert (await wire.reply()).body == b"[%b]" % b",".join(filter(None, [inherited, own]))
        assert len(engine.read_in) == 2 * (10 + bool(own))


async def test_the_end_of_a_closed_stream_is_told(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(bounds=SMALL, lane=lane) as site:
        await site.client.put("s", "text/plain", b"x" * 5 * PIECE)
        assert not (await site.client.get("s")).closed
        await site.client.finish("s")

        assert (await site.client.get("s")).closed


async def test_requests_behind_a_whole_answer_are_answered_after_it(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(bounds=SMALL, lane=lane) as site:
        client, sent = site.client, lines(100, 5)
        await client.put("s", "text/plain", sent)
        async with client.wire() as wire:
            whole, page = (
                request_bytes("GET", client.target("s", **query))
                for query in ({}, {"offset": format_offset(len(sent) - 9)})
            )
            append = request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"more")
            await wire.send(whole + page + append + whole)

            assert (await wire.reply()).body == sent
            assert (await wire.reply()).body == sent[-9:]
            assert (await wire.reply("POST")).status == 204
            assert (await wire.reply()).body == sent + b"more"


# --- pages, for who asks ---


async def test_a_request_may_ask_for_pages(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(bounds=SMALL, lane=lane) as site:
        client, sent = site.client, messages(60)
        await client.put("j", "application/json", b"[" + b",".join(sent) + b"]")
        await client.put("t", "text/plain", b"".join(sent))

        for bound, count in ((1, 60), (70, None), (10**15, None)):
            read, pages = await client.read_all("j", max_bytes=bound)
            assert read == b",".join(sent)
            assert all(len(page.body) - 1 <= min(bound, PIECE) or len(orjson.loads(page.body)) == 1 for page in pages)
            assert count in {None, len(pages)}
        read, pages = await client.read_all("t", max_bytes=70)
        assert (read, {len(page.body) for page in pages[:-1]}) == (b"".join(sent), {70})
        polled = await client.get("t", offset="-1", live="long-poll", max_bytes=7)
        assert (polled.body, polled.up_to_date) == (b"".join(sent)[:7], False)


async def test_a_waiting_poll_gets_a_page_as_small_as_it_asked_for(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain")
    async with client.wire() as small, client.wire() as large:
        for wire, bound in ((small, 3), (large, 1000)):
            await wire.send(request_bytes("GET", client.target("s", offset="now", live="long-poll", max_bytes=bound)))
        await until(lambda: fronted.followers() == 2)
        await client.post("s", b"0123456789")

        assert (await small.reply()).body == b"012"
        assert (await large.reply()).body == b"0123456789"


async def test_an_operator_may_have_pages_for_all(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(bounds=bounded(max_chunk_bytes=PIECE), lane=lane) as site:
        sent = lines(20, 1)
        await site.client.put("s", "text/plain", sent)

        read, pages = await site.client.read_all("s")

        assert (read, {len(page.body) for page in pages[:-1]}) == (sent, {PIECE})


@pytest.mark.parametrize("size", ["", "0", "00", "-1", "+1", "1.5", "1k", "x", "1" * 17, "1&max-bytes=1"])
async def test_what_is_no_size_of_a_page(fronted: Site, size: str) -> None:
    await fronted.client.put("s", "text/plain", b"x")
    assert (await fronted.client.get("s", offset="-1", max_bytes=size)).code == "invalid-query"
    assert (await fronted.client.get("s", offset="-1", live="long-poll", max_bytes=size)).code == "invalid-query"


async def test_polls_are_answered_by_pages(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(bounds=SMALL, lane=lane) as site:
        await site.client.put("s", "text/plain", b"x" * 5 * PIECE)

        reply = await site.client.get("s", offset="-1", live="long-poll")

        assert (len(reply.body), reply.up_to_date) == (PIECE, False)


# --- how it is read ---


async def test_an_unchanged_answer_is_not_read_again(run: Run, lane: bool) -> None:  # noqa: FBT001
    engine = WatchedEngine()
    async with run(engine=engine, bounds=SMALL, lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * 5 * PIECE)
        whole = await client.get("s", offset="-1")
        engine.read_in.clear()

        again = await client.get("s", {"If-None-Match": whole.headers["etag"]}, offset="-1")
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", whole.headers["etag"])
        assert engine.read_in == []

        await client.post("s", b"y")
        more = await client.get("s", {"If-None-Match": whole.headers["etag"]}, offset="-1")
        assert (more.status, more.body) == (200, whole.body + b"y")


async def test_others_come_in_between_the_pieces(run: Run, lane: bool) -> None:  # noqa: FBT001
    engine = WatchedEngine()
    async with run(engine=engine, bounds=SMALL, lane=lane) as site:
        await site.client.put("s", "text/plain", b"x" * 50 * PIECE)
        engine.count_turns()

        await site.client.get("s", offset="-1")

        assert len(engine.read_in) == len(set(engine.read_in)) == 50


@pytest.mark.slow
async def test_a_reader_that_stops_costs_no_more_than_was_on_its_way(run: Run, lane: bool) -> None:  # noqa: FBT001
    """And gets every byte of the answer when it goes on, but none that was appended meanwhile."""
    engine = WatchedEngine()
    async with run(engine=engine, bounds=bounded(write_timeout_ms=600_000), lane=lane) as site:
        client, sent = site.client, lines(LARGE_BYTES // 88, 2)
        await client.put("s", "text/plain")
        for start in range(0, len(sent), 8 * MIB):
            await client.post("s", sent[start : start + 8 * MIB])
        async with narrow(client, client.target("s")) as wire:
            head = await wire.reply_head()
            await until(lambda: is_paused(site))
            assert len(engine.read_in) * MIB < len(sent) // 2
            await client.post("s", b"appended meanwhile")

            assert await wire.exactly(int(head.headers["content-length"])) == sent
            assert head.offset == format_offset(len(sent))
            await wire.send(request_bytes("GET", client.target("s", offset=head.offset)))
            assert (await wire.reply()).body == b"appended meanwhile"


def is_paused(site: Site) -> bool:
    """Whether some connection's transport is full."""
    lane = site.server._lane.connections if site.server._lane is not None else ()
    return any(connection._paused for connection in (*lane, *site.server._front._server.connections))


# --- what may happen meanwhile ---


async def check_cut(wire: Wire, head: Reply) -> None:
    """The body ends before its length, so that nobody takes it for whole."""
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await wire.exactly(int(head.headers["content-length"]))


async def delete(site: Site) -> None:
    assert (await site.client.delete("s")).status == 204


async def replace(site: Site) -> None:
    await site.client.delete("s")
    await site.client.put("s", "text/plain", b"y" * LARGE_BYTES)


async def delete_softly(site: Site) -> None:
    await site.client.fork("fork", "s")
    await site.client.delete("s")


async def expire(site: Site) -> None:
    site.clock.advance_ms(3_600_001)


async def break_store(site: Site) -> None:
    assert isinstance(site.engine, WatchedEngine)
    site.engine.broken = True


@pytest.mark.slow
@pytest.mark.parametrize("happening", [delete, replace, delete_softly, expire, break_store])
async def test_an_answer_that_cannot_go_on_is_cut(
    run: Run,
    lane: bool,  # noqa: FBT001 pytest hands fixtures over like this
    happening: Callable[[Site], Awaitable[None]],
) -> None:
    bounds = bounded(write_timeout_ms=600_000, max_append_bytes=2 * LARGE_BYTES)
    async with run(engine=WatchedEngine(), bounds=bounds, lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * LARGE_BYTES, stream_ttl="3600")
        async with narrow(client, client.target("s")) as wire:
            head = await wire.reply_head()
            assert (head.status, int(head.headers["content-length"])) == (200, LARGE_BYTES)
            await until(lambda: is_paused(site))
            await happening(site)

            await check_cut(wire, head)


async def test_a_store_that_cannot_be_read_from_the_start_is_an_error(run: Run, lane: bool) -> None:  # noqa: FBT001
    engine = WatchedEngine()
    async with run(engine=engine, bounds=SMALL, lane=lane) as site:
        await site.client.put("s", "text/plain", b"x" * 5 * PIECE)
        engine.broken = True

        assert (await site.client.get("s")).status == 503


@pytest.mark.slow
async def test_a_slow_reader_keeps_its_stream_alive(run: Run, lane: bool) -> None:  # noqa: FBT001
    """Every piece is a read, and a read slides the TTL (§5.1)."""
    async with run(bounds=bounded(write_timeout_ms=600_000, max_append_bytes=2 * LARGE_BYTES), lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * LARGE_BYTES, stream_ttl="60")
        async with narrow(client, client.target("s")) as wire:
            head, received = await wire.reply_head(), 0
            while received < LARGE_BYTES:
                received += len(await wire.reader.readexactly(min(4 * MIB, LARGE_BYTES - received)))
                if received < LARGE_BYTES - 8 * MIB:
                    await until(lambda: is_paused(site))
                    site.clock.advance_ms(40_000)
            assert head.up_to_date


# --- at the end of the server ---


@pytest.mark.slow
async def test_a_drain_lets_an_answer_go_out(run: Run, lane: bool) -> None:  # noqa: FBT001
    bounds = bounded(drain_timeout_ms=600_000, max_append_bytes=2 * LARGE_BYTES)
    async with run(bounds=bounds, lane=lane) as site:
        client, sent = site.client, lines(LARGE_BYTES // 88, 4)
        await client.put("s", "text/plain", sent)
        async with narrow(client, client.target("s")) as wire:
            head = await wire.reply_head()
            await until(lambda: is_paused(site))
            stopping = asyncio.create_task(site.server.stop())
            await until(lambda: site.server.committer._draining)

            assert await wire.exactly(int(head.headers["content-length"])) == sent
            assert await wire.rest() == b""
            await stopping
        site.server.stop = lambda: asyncio.sleep(0)  # type: ignore[method-assign] # stopped already


@pytest.mark.slow
async def test_a_drain_does_not_wait_for_ever(run: Run, lane: bool) -> None:  # noqa: FBT001
    bounds = bounded(drain_timeout_ms=100, write_timeout_ms=600_000, max_append_bytes=2 * LARGE_BYTES)
    async with run(bounds=bounds, lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * LARGE_BYTES)
        async with narrow(client, client.target("s")) as wire:
            head = await wire.reply_head()
            await until(lambda: is_paused(site))

            await site.server.stop()

            await check_cut(wire, head)
        site.server.stop = lambda: asyncio.sleep(0)  # type: ignore[method-assign] # stopped already

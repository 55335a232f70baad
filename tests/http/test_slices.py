"""Work that many clients cause at once: so much of it in one turn of the loop, and the rest in the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import orjson

from durable_streams.protocol.offsets import format_offset
from durable_streams.runtime.turns import STEP_BYTES, TURN_BYTES
from tests.http.site import until
from tests.http.test_whole_answers import WatchedEngine
from tests.http.wire import EVENT_MAX_BYTES, LiveBody, request_bytes

if TYPE_CHECKING:
    from durable_streams.engine.base import Chunk
    from tests.http.conftest import Run

MANY = 8


class Looked(WatchedEngine):
    """Notes the turn of each look backwards too, and what was read in each turn."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_in: list[int] = []
        self.bytes_in: Counter[int] = Counter()

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 - the seam's
        found = super().read(sid, start, end, max_bytes)
        self.bytes_in[self.turn] += sum(len(chunk.payload) for chunk in found)
        return found

    def read_before(self, sid: int, end: int) -> Chunk | None:
        self.looked_in.append(self.turn)
        return super().read_before(sid, end)


async def test_searches_share_a_slice_a_turn(run: Run) -> None:
    engine = Looked()
    async with run(engine=engine) as site:
        client = site.client
        await client.put("j", "application/json", b'"' + b"x" * (1 << 20) + b'"')
        for _ in range(3):
            await client.post("j", b'"' + b"y" * (1 << 20) + b'"', "application/json")
        engine.count_turns()
        answers = await asyncio.gather(*(client.get("j", None, tail=4, max_bytes=1) for _ in range(MANY)))
        assert {answer.status for answer in answers} == {200}
        most = max(Counter(engine.looked_in).values())
        assert (len(engine.looked_in), most) == (4 * MANY, 1), "each message is a slice, and a turn has one"


async def test_forks_are_looked_for_before_their_batch_and_share_a_slice_a_turn(run: Run) -> None:
    engine = Looked()
    async with run(engine=engine) as site:
        client = site.client
        sizes = b",".join([b"1"] * 300_000)
        await client.put("j", "application/json", b"[" + sizes + b"]")
        engine.count_turns()
        forks = [
            client.fork(f"f{number}", "j", stream_fork_offset="-1", stream_fork_sub_offset="90000")
            for number in range(MANY)
        ]
        assert {answer.status for answer in await asyncio.gather(*forks)} == {201}
        assert len(engine.read_in) >= MANY
        assert max(Counter(engine.read_in).values()) == 1
        for number in range(MANY):
            assert (await client.head(f"f{number}")).offset == format_offset(2 * 90_000)


async def test_a_fork_of_what_came_meanwhile_is_looked_for_again(run: Run) -> None:
    """What was not found before the batch may be there when it decides; what is another stream's counts for nothing."""
    async with run() as site:
        client = site.client
        await client.put("j", "application/json", b"[1]")
        assert (await client.fork("f", "j", stream_fork_offset="-1", stream_fork_sub_offset="2")).status == 400
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(client.wire()) for _ in range(2)]
            post = request_bytes("POST", client.target("j"), {"Content-Type": "application/json"}, b"2")
            fields = {
                "Stream-Forked-From": client.target("j"),
                "Stream-Fork-Sub-Offset": "2",
                "Stream-Fork-Offset": "-1",
            }
            await asyncio.gather(wires[0].send(post), wires[1].send(request_bytes("PUT", client.target("f"), fields)))
            assert (await wires[0].reply("POST")).status == 204
            forked = await wires[1].reply("PUT")
            assert forked.status in {201, 400}
            if forked.status == 201:
                assert (await client.head("f")).offset == format_offset(4)


async def test_a_thousand_streams_on_a_connection_catch_up_a_turn_s_worth_at_a_time(run: Run) -> None:
    engine, count, size = Looked(), 200, 20_000
    async with run(engine=engine) as site:
        client = site.client
        for number in range(count):
            await client.put(f"s{number}", "text/plain", b"x" * size, stream_closed="true")
        body = orjson.dumps([{"path": f"s{number}"} for number in range(count)])
        engine.count_turns()
        async with client.wire(limit=EVENT_MAX_BYTES) as wire:
            await wire.send(request_bytes("POST", f"{client.root}/__ds/follow", {}, body))
            shown = await LiveBody(wire, await wire.reply_head()).rest()
        assert shown.count(b"event: data") == count
        assert max(engine.bytes_in.values()) <= TURN_BYTES + size
        assert max(Counter(engine.read_in).values()) <= TURN_BYTES // (size + STEP_BYTES) + 1


async def test_many_connections_catch_up_in_shared_turns(run: Run) -> None:
    engine = Looked()
    async with run(engine=engine) as site, AsyncExitStack() as stack:
        client = site.client
        for number in range(MANY):
            await client.put(f"s{number}", "text/plain", b"x" * 3 * TURN_BYTES, stream_closed="true")
        engine.count_turns()
        follows = [await stack.enter_async_context(client.events(f"s{number}", offset="-1")) for number in range(MANY)]
        for shown in await asyncio.gather(*(events.rest() for events in follows)):
            assert sum(len(event.text) for event in shown if event.kind == "data") == 3 * TURN_BYTES
        assert max(Counter(engine.read_in).values()) == 1, "a page is a turn's worth, whoever it is for"


async def test_a_batch_is_read_a_slice_a_turn(run: Run) -> None:
    async with run() as site:
        client = site.client
        await client.put("s", "application/json")
        lines = b"\n".join(b'{"path":"s","json":%d}' % number for number in range(1_000))
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        async with client.wire() as wire:
            await wire.send(request_bytes("POST", f"{client.root}/__ds/batch", {}, lines))
            await until(lambda: site.server._reads._searches._handle is not None)
            turn()
            assert (await wire.reply("POST")).body.count(b'"status":204') == 1_000
        assert turns >= 1_000 * 2_048 // (256 * 1024) - 1
        whole, _ = await client.read_all("s")
        assert whole == b",".join(b"%d" % number for number in range(1_000))


async def test_a_large_json_body_is_checked_in_passes(run: Run) -> None:
    async with run() as site:
        client = site.client
        await client.put("j", "application/json")
        good = b"[" + b",".join([b'"\xc3\xa4"'] * 300_000) + b"]"
        assert (await client.post("j", good, "application/json")).status == 204
        for bad in (
            good[:-1],
            good.replace(b"]", b",1e999]"),
            good.replace(b'\xc3\xa4"]', b'\xff"]'),
            b"[" * 2_000_000,
        ):
            refused = await client.post("j", bad, "application/json")
            assert (refused.status, refused.code) == (400, "invalid-json")
        assert (await client.read_all("j"))[0] == good[1:-1]

"""More than fits into the queue: refused at once, and nothing lost of what was taken."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.http.gated import GatedEngine
from tests.http.site import bounded, until
from tests.http.wire import request_bytes

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Wire

ROOM = 5


async def send_append(client: Client, wire: Wire, body: bytes) -> None:
    await wire.send(request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, body))


async def queued(site: Site, count: int) -> None:
    await until(lambda: len(site.server.committer._queue) == count)


@pytest.mark.parametrize("bound", ["commands", "bytes"])
async def test_what_does_not_fit_is_refused_and_what_was_taken_is_kept(run: Run, bound: str) -> None:
    engine = GatedEngine()
    bounds = bounded(queue_commands=ROOM) if bound == "commands" else bounded(queue_bytes=ROOM * 100)
    async with run(engine=engine, bounds=bounds) as site, AsyncExitStack() as connections:
        client = site.client
        await client.put("s")
        wires = [await connections.enter_async_context(client.wire()) for _ in range(4 * ROOM)]
        bodies = [b"%02d" % number + b"x" * 98 for number in range(4 * ROOM)]
        engine.gate.clear()
        committing = engine.arrived
        await send_append(client, wires[0], bodies[0])
        await until(lambda: engine.arrived == committing + 1)  # it has left the queue, which is empty again

        for wire, body in zip(wires[1:], bodies[1:], strict=True):
            await send_append(client, wire, body)
        refused = await asyncio.gather(*(wire.reply("POST") for wire in wires[1 + ROOM :]))
        assert {(reply.status, reply.code, reply.headers["retry-after"]) for reply in refused} == {
            (503, "overloaded", "1")
        }
        assert (await client.get("s", offset="-1")).body == b""
        engine.gate.set()
        taken = await asyncio.gather(*(wire.reply("POST") for wire in wires[: 1 + ROOM]))

        assert {reply.status for reply in taken} == {204}
        assert (await client.read_all("s"))[0] == b"".join(bodies[: 1 + ROOM])
        assert (await client.post("s", b"again")).status == 204


async def test_batches_have_bounds_and_keep_the_order(run: Run) -> None:
    engine = GatedEngine()
    async with run(engine=engine, bounds=bounded(batch_commands=3, batch_bytes=1_000)) as site:
        client = site.client
        await client.put("s")
        engine.gate.clear()
        committing = engine.arrived
        async with client.wire() as wire, AsyncExitStack() as connections:
            await send_append(client, wire, b"0000;")
            await until(lambda: engine.arrived == committing + 1)
            wires = []
            for number in range(1, 30):
                other = await connections.enter_async_context(client.wire())
                wires.append(other)
                await send_append(client, other, b"%04d;" % number + b"y" * (2_000 if number % 5 == 0 else 0))
                await queued(site, number)
            engine.gate.set()
            assert {(await other.reply("POST")).status for other in (wire, *wires)} == {204}

        written = (await client.read_all("s"))[0].replace(b"y", b"")
        assert written == b"".join(b"%04d;" % number for number in range(30))
        assert engine.arrived - committing >= 10


async def test_a_client_that_leaves_does_not_take_its_append_along(run: Run, lane: bool) -> None:  # noqa: FBT001
    engine = GatedEngine()
    async with run(engine=engine, lane=lane) as site:
        client = site.client
        await client.put("s")
        engine.gate.clear()
        committing = engine.arrived
        async with client.wire() as wire:
            await send_append(client, wire, b"sent")
            await until(lambda: engine.arrived == committing + 1)
        engine.gate.set()

        assert (await client.post("s", b" and more")).offset == f"{13:016d}"
        assert (await client.read_all("s"))[0] == b"sent and more"


async def test_readers_see_nothing_of_a_commit_under_way(run: Run) -> None:
    engine = GatedEngine()
    async with run(engine=engine, bounds=bounded(long_poll_timeout_ms=50)) as site:
        client = site.client
        await client.put("s", "text/plain", b"durable")
        async with client.events("s", offset="-1") as events, client.wire() as wire:
            await events.pair()
            engine.gate.clear()
            committing = engine.arrived
            await send_append(client, wire, b" not yet")
            await until(lambda: engine.arrived == committing + 1)

            assert (await client.head("s")).offset == f"{7:016d}"
            assert (await client.get("s", offset="-1")).body == b"durable"
            assert (await client.get("s", offset=f"{7:016d}", live="long-poll")).status == 204
            assert (await client.get("s", offset=f"{8:016d}")).code == "offset-beyond-tail"

            engine.gate.set()
            assert (await events.pair())[0] == " not yet"
            assert (await wire.reply("POST")).offset == f"{15:016d}"

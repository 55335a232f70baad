"""Clients that shut their side once they have asked: they are answered, and then the connection ends."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.http.gated import GatedEngine
from tests.http.site import bounded, until
from tests.http.wire import Reply, request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Wire

PATIENT = bounded(half_closed_probe_ms=60_000)
"""Nobody is sent anything but the answer."""
POST = b"POST /v1/stream/s HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"
NEVER_WHOLE = {
    "head": POST,
    "no byte of a body": POST + b"Stream-Closed: true\r\nContent-Length: 5\r\n\r\n",
    "no byte of an upload": POST
    + b"Stream-Closed: true\r\nStream-Append-Mode: stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "body": POST + b"Content-Length: 5\r\n\r\nab",
    "large body": POST + b"Content-Length: 99999\r\n\r\nab",
    "chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "upload": POST + b"Stream-Append-Mode: stream\r\nContent-Length: 5\r\n\r\n",
}


@pytest.fixture
async def patient(run: Run, lane: bool) -> AsyncIterator[Site]:  # noqa: FBT001 pytest hands fixtures over like this
    async with run(lane=lane, bounds=PATIENT) as site:
        yield site


async def send_and_shut(wire: Wire, raw: bytes) -> None:
    await wire.send(raw)
    wire.writer.write_eof()


def append(client: Client, body: bytes, **fields: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return request_bytes("POST", client.target("s"), {"Content-Type": "text/plain", **named}, body)


async def final(wire: Wire, method: str = "GET") -> Reply:
    """Return the answer behind any that only say that one will come."""
    while (reply := await wire.reply_head()).status == 100:
        pass
    if method == "HEAD" or reply.status == 204:
        return reply
    return Reply(reply.status, reply.headers, await wire.reader.readexactly(int(reply.headers["content-length"])))


@pytest.mark.parametrize("upload", [False, True])
async def test_an_append_is_answered_and_the_connection_ends(patient: Site, *, upload: bool) -> None:
    client = patient.client
    await client.put("s")
    fields = {"stream_append_mode": "stream"} if upload else {}
    async with client.wire() as wire:
        await send_and_shut(wire, append(client, b"x", **fields))
        reply = await wire.reply("POST")
        assert (reply.status, reply.offset) == (204, f"{1:016d}")
        assert await wire.rest() == b""


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_so_is_every_other_request(patient: Site, method: str) -> None:
    client = patient.client
    await client.put("s", "text/plain", b"x")
    async with client.wire() as wire:
        await send_and_shut(wire, request_bytes(method, client.target("s"), {"Content-Type": "text/plain"}))
        assert (await wire.reply(method)).status in {200, 204}
        assert await wire.rest() == b""


async def test_an_append_under_way_is_waited_for(run: Run, lane: bool) -> None:  # noqa: FBT001 as above
    engine = GatedEngine()
    async with run(engine=engine, lane=lane, bounds=PATIENT) as site:
        client = site.client
        await client.put("s")
        engine.gate.clear()
        committing = engine.arrived
        async with client.wire() as wire:
            await send_and_shut(wire, append(client, b"x"))
            await until(lambda: engine.arrived == committing + 1)
            await until(lambda: not reading(site))
            assert (await client.get("s", offset="-1")).body == b""
            engine.gate.set()
            assert (await wire.reply("POST")).status == 204
            assert await wire.rest() == b""


def chunked(body: bytes) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("cut", [0, 3])
async def test_large_bodies_behind_an_append_under_way_are_taken_whole(run: Run, lane: bool, *, cut: int) -> None:  # noqa: FBT001
    """The end comes before the front that takes them has looked at all their bytes; the last may be cut."""
    engine, large, less = GatedEngine(), b"y" * 800_000, b"w" * 200_000
    async with run(engine=engine, lane=lane, bounds=PATIENT) as site:
        client = site.client
        await client.put("s")
        engine.gate.clear()
        committing = engine.arrived
        async with client.wire() as wire:
            await wire.send(append(client, b"x"))
            await until(lambda: engine.arrived == committing + 1)
            raw = chunked(large) + append(client, b"z") + chunked(less)
            await send_and_shut(wire, raw[: len(raw) - cut])
            if site.server._lane is not None:
                held = site.server._lane.connections
                await until(lambda: not any(one._transport.is_reading() for one in held))
            engine.gate.set()
            statuses = [(await wire.reply("POST")).status for _ in range(4)]
            assert statuses == [204, 204, 204, 400 if cut else 204]
            assert await wire.rest() == b""
        assert (await client.read_all("s"))[0] == b"x" + large + b"z" + (b"" if cut else less)


def address(site: Site) -> tuple[str, int]:
    host, _, port = site.client.origin.removeprefix("http://").rpartition(":")
    return host, int(port)


async def test_all_requests_on_the_connection_are_answered_first(patient: Site) -> None:
    """The odd one among them makes the connection the other front's."""
    client = patient.client
    await client.put("s")
    odd = append(client, b"b", connection="keep-alive, x", te="trailers")
    async with client.wire() as wire:
        await send_and_shut(wire, append(client, b"a") + odd + append(client, b"c") * 40)
        for position in range(1, 43):
            assert (await wire.reply("POST")).offset == f"{position:016d}"
        assert await wire.rest() == b""
    assert (await client.read_all("s"))[0] == b"ab" + b"c" * 40


async def test_a_large_answer_is_sent_whole(patient: Site) -> None:
    client, large = patient.client, bytes(range(256)) * 4_000
    await client.put("s", "application/octet-stream", large)
    async with client.wire() as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        ask = request_bytes("GET", client.target("s", offset="-1"))
        await send_and_shut(wire, ask * 8)
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(8):
            assert (await wire.reply()).body == large
        assert await wire.rest() == b""


@pytest.mark.parametrize("part", NEVER_WHOLE)
@pytest.mark.parametrize("before", [b"", b"a"])
async def test_what_will_never_be_whole_is_refused_and_changes_nothing(
    patient: Site, caplog: pytest.LogCaptureFixture, *, part: str, before: bytes
) -> None:
    client = patient.client
    await client.put("s")
    async with client.wire() as wire:
        whole = append(client, before) if before else b""
        await send_and_shut(wire, whole + NEVER_WHOLE[part])
        if before:
            assert (await wire.reply("POST")).status == 204
        if part != "head":
            reply = await wire.reply("POST")
            assert (reply.status, reply.code) == (400, "malformed-request")
        assert await wire.rest() == b""
    assert (await client.read_all("s"))[0] == before
    assert not (await client.head("s")).closed
    assert patient.server._front.arriving.held_bytes == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_connection_that_asks_nothing_ends(patient: Site) -> None:
    async with patient.client.wire() as wire:
        wire.writer.write_eof()
        assert await wire.rest() == b""


async def test_a_long_poll_waits_on(fronted: Site) -> None:
    """Bytes that mean nothing may come before the answer."""
    client = fronted.client
    await client.put("s")
    async with client.wire() as wire:
        await send_and_shut(wire, request_bytes("GET", client.target("s", offset="-1", live="long-poll")))
        assert (await wire.reply_head()).status == 100
        assert fronted.followers() == 1
        await client.post("s", b"x")
        reply = await final(wire)
        assert (reply.status, reply.body) == (200, b"x")
        assert await wire.rest() == b""


async def test_an_old_client_is_sent_nothing_before_its_answer(run: Run, lane: bool) -> None:  # noqa: FBT001 as above
    """HTTP/1.0 knows no answer before the answer (RFC 9110 §15.2)."""
    async with run(lane=lane, bounds=bounded(half_closed_probe_ms=1, long_poll_timeout_ms=100)) as site:
        await site.client.put("s")
        async with site.client.wire() as wire:
            await send_and_shut(wire, b"GET /v1/stream/s?offset=-1&live=long-poll HTTP/1.0\r\n\r\n")
            assert (await wire.reply()).status == 204
            assert await wire.rest() == b""


@pytest.mark.parametrize("fronts_end", [True, False], ids=["live", "before it is live"])
async def test_a_live_reader_reads_on(fronted: Site, *, fronts_end: bool) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"a")
    async with client.wire() as wire:
        await wire.send(request_bytes("GET", client.target("s", offset="-1", live="sse")))
        if fronts_end:
            await until(lambda: fronted.followers() == 1)
        wire.writer.write_eof()
        await wire.reader.readuntil(b"data:a\n")
        await wire.reader.readuntil(b"\n:")  # looked after at least once
        await client.post("s", b"b")
        await wire.reader.readuntil(b"data:b\n")
        await client.finish("s")
        rest = await wire.rest()
    assert b'"streamClosed":true' in rest
    assert fronted.followers() == 0


async def test_many_streams_are_followed_on(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"a")
    body = json.dumps([{"path": "s"}]).encode()
    async with client.wire() as wire:
        await send_and_shut(wire, request_bytes("POST", client.target("__ds/follow"), {}, body))
        await wire.reader.readuntil(b"data:a\n")
        await client.post("s", b"b")
        await wire.reader.readuntil(b"data:b\n")


@pytest.mark.parametrize("live", ["long-poll", "sse"])
@pytest.mark.parametrize("shut_first", [True, False])
async def test_one_that_has_gone_is_let_go(fronted: Site, live: str, *, shut_first: bool) -> None:
    """Both are one FIN on the wire; the difference is what its kernel says to bytes that mean nothing."""
    client = fronted.client
    await client.put("s")
    with socket.create_connection(address(fronted)) as gone:
        gone.sendall(request_bytes("GET", client.target("s", offset="-1", live=live)))
        await until(lambda: fronted.followers() == 1)
        if shut_first:
            gone.shutdown(socket.SHUT_WR)
            await until(lambda: not reading(fronted))
    await until(lambda: fronted.followers() == 0)
    await until(lambda: not fronted.server._readers.connected)


def reading(site: Site) -> bool:
    """Whether any of the server's connections has not seen its client's end."""
    readers = [reader._gone_watch for reader in site.server._readers.connected]
    lane = [] if site.server._lane is None else [one._gone_watch for one in site.server._lane.connections]
    front = [one._gone_watch for one in site.server._front._server.connections]  # type: ignore[attr-defined]
    return None in [*readers, *lane, *front]

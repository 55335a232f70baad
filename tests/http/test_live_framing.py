"""Live answers go out in chunks, one for each piece that was made, and their end differs from a cut (RFC 9112 §7.1)."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from durable_streams.engine.base import EngineError
from durable_streams.engine.memory import MemoryEngine
from tests.http.site import bounded, until
from tests.http.wire import CutError, Events, LiveBody, request_bytes
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.engine.base import Chunk
    from tests.http.conftest import Run
    from tests.http.site import Site


async def test_every_commit_is_one_chunk_and_the_end_is_the_last(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"old")
    async with client.events("s", offset="-1") as events:
        assert events.head.headers["transfer-encoding"] == "chunked"
        assert events.head.headers["connection"] == "close"
        assert "content-length" not in events.head.headers
        for number in range(1, 10):
            assert (await events.body.chunk()).count(b"event: ") == 2
            assert events.body.chunks == number
            await client.post("s", b"new")
        await client.finish("s")
        await events.rest()
        assert await events.wire.rest() == b"", "something came behind the last chunk"


class Noting:
    """A transport that keeps what is written to it."""

    def __init__(self, written: list[bytes]) -> None:
        self.write = written.append

    def is_closing(self) -> bool:
        return False


async def test_readers_of_one_kind_share_what_is_written(run: Run) -> None:
    """One write of one object for each reader and commit, whatever the framing."""
    async with run() as site:
        client = site.client
        await client.put("s", "text/plain")
        async with client.events("s", offset="-1") as one, client.events("s", offset="-1") as other:
            await until(lambda: site.followers() == 2)
            await asyncio.gather(one.control(), other.control())
            written: list[bytes] = []
            real = {reader: reader._transport for reader in site.server._readers.connected}
            for reader in real:
                reader._transport = Noting(written)  # type: ignore[assignment]
            await client.post("s", b"x")
            await until(lambda: len(written) == 2)
            for reader, transport in real.items():
                reader._transport = transport
            assert written[0] is written[1]
            size, _, framed = written[0].partition(b"\r\n")
            assert int(size, 16) == len(framed) - 2


def arriving(origin: str, target: str) -> Iterator[bytes]:
    """Yield a live answer as a blocking client with buffered reads hands it on, `urllib3` below `requests` for one.

    A body in chunks comes chunk by chunk; of any other, such a client waits until it has a whole buffer full.
    """
    address = urlsplit(origin)
    with socket.create_connection((address.hostname, address.port or 80), timeout=HANG_S) as peer:
        peer.sendall(request_bytes("GET", target))
        with peer.makefile("rb", buffering=65_536) as answer:
            chunked = False
            while (line := answer.readline()) != b"\r\n":
                chunked = chunked or line.lower() == b"transfer-encoding: chunked\r\n"
            while chunked and (size := int(answer.readline(), 16)):
                yield answer.read(size)
                answer.readline()
            while not chunked and (piece := answer.read(65_536)):
                yield piece


@pytest.mark.parametrize("many", [False, True], ids=["one stream", "many"])
async def test_a_buffered_reader_has_each_event_before_the_next_is_written(
    fronted: Site,
    many: bool,  # noqa: FBT001
) -> None:
    client = fronted.client
    await client.put("s", "text/plain")
    await client.put("other", "text/plain")
    if many:
        body = json.dumps([{"path": "s"}, {"path": "other"}]).encode()
        async with client.wire() as wire:
            await wire.send(request_bytes("POST", client.target("__ds/follow"), {}, body))
            live = LiveBody(wire, await wire.reply_head())
            while fronted.followers() < 2 or b"upToDate" not in await live.chunk():
                pass
            await live.chunk()
            for number in range(20):
                await client.post("s", b"<%d>" % number)
                assert b"<%d>" % number in await live.chunk()
        return
    pieces = arriving(client.origin, client.target("s", offset="-1", live="sse"))
    assert b"upToDate" in await asyncio.to_thread(next, pieces)
    for number in range(20):
        await client.post("s", b"<%d>" % number)
        assert b"<%d>" % number in await asyncio.to_thread(next, pieces)
    pieces.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ended_by", ["close", "delete", "lifetime", "shutdown"])
async def test_every_regular_end_is_the_last_chunk(run: Run, ended_by: str, lane: bool) -> None:  # noqa: FBT001
    lifetime_ms = 1 if ended_by == "lifetime" else 600_000
    async with run(bounds=bounded(sse_lifetime_ms=lifetime_ms), lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x")
        async with client.events("s", offset="-1") as events:
            await events.pair()
            if ended_by == "close":
                await client.finish("s")
            elif ended_by == "delete":
                await client.delete("s")
            elif ended_by == "shutdown":
                site.server._readers.end_all()
            await events.rest()
            assert await events.wire.rest() == b""


async def test_an_answer_ends_once_however_long_the_peer_takes(run: Run, lane: bool) -> None:  # noqa: FBT001
    async with run(bounds=bounded(write_timeout_ms=600_000, sse_buffer_bytes=65_536), lane=lane) as site:
        client, readers = site.client, site.server._readers
        await client.put("s", "text/plain", b"x" * 8_000_000)
        async with client.wire() as wire:
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send(request_bytes("GET", client.target("s", offset="-1", live="sse")))
            await until(lambda: any(reader.paused for reader in readers.connected))
            readers.end_all()
            readers.end_all()
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await LiveBody(wire, await wire.reply_head()).rest()
            assert await wire.rest() == b""


class FailingEngine(MemoryEngine):
    """A store that can be told to fail its reads."""

    broken = False

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 the engine's
        if self.broken:
            raise EngineError("no more reads")
        return super().read(sid, start, end, max_bytes)


async def test_what_is_no_end_is_a_cut(run: Run, lane: bool) -> None:  # noqa: FBT001
    """A store that fails under a reader that catches up says nothing about its stream: it is neither over nor gone."""
    engine = FailingEngine()
    async with run(engine=engine, lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x")
        engine.broken = True
        async with client.events("s", offset="-1") as events:
            with pytest.raises((CutError, ConnectionResetError)):
                await events.rest()


async def test_old_clients_get_no_chunks(fronted: Site) -> None:
    """RFC 9112 §6.1: no transfer coding for an HTTP/1.0 peer."""
    client = fronted.client
    await client.put("s", "text/plain", b"x", stream_closed="true")
    async with client.wire() as wire:
        await wire.send(b"GET /v1/stream/s?offset=-1&live=sse HTTP/1.0\r\n\r\n")
        events = Events(wire, await wire.reply_head())
        assert "transfer-encoding" not in events.head.headers
        assert events.head.headers["connection"] == "close"
        assert [event.kind for event in await events.rest()] == ["data", "control"]

"""Health, and the end of a server's life: drained on a signal, stopped for good by a store that failed (§3)."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.offsets import format_offset
from durable_streams.runtime.config import ServerConfig
from durable_streams.runtime.stopping import StopSignals
from durable_streams.server import serve as serve_until_told
from tests.http.gated import GatedEngine
from tests.http.site import QUIET, bounded, until
from tests.http.site import running as running_again
from tests.http.wire import Client, request_bytes
from tests.patience import HANG_S

if TYPE_CHECKING:
    from durable_streams.server import Server
    from tests.conftest import Serve
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Wire

TEXT = {"Content-Type": "text/plain"}
READERS = 1_000
WRITERS = 16


async def test_health_is_said_to_whoever_asks(fronted: Site) -> None:
    for method in ("GET", "HEAD"):
        for target in ("/healthz", "/readyz"):
            reply = await fronted.client.send(method, target)
            assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    assert (await fronted.client.send("POST", "/healthz")).status == 405


async def test_a_drain_answers_what_was_asked_and_refuses_what_comes(run: Run, lane: bool) -> None:  # noqa: FBT001
    engine = GatedEngine()
    async with run(engine=engine, lane=lane) as site, AsyncExitStack() as connections:
        client, server = site.client, site.server
        await client.put("s", "text/plain", b"old ")
        reader = await connections.enter_async_context(client.events("s", offset="-1"))
        await reader.pair()
        poller, writer, late, prober = [await connections.enter_async_context(client.wire()) for _ in range(4)]
        await poller.send(request_bytes("GET", client.target("s", offset="now", live="long-poll")))
        for wire in (writer, late, prober):  # connections that are used before, as clients keep them
            await wire.send(request_bytes("GET", client.target("s", offset="-1")))
            await wire.reply()
        await until(lambda: site.followers() == 2)
        engine.gate.clear()
        committing = engine.arrived
        await writer.send(request_bytes("POST", client.target("s"), TEXT, b"in flight"))
        await until(lambda: engine.arrived == committing + 1)

        stopping = asyncio.create_task(server.stop())
        await until(lambda: server.committer._draining)
        await late.send(request_bytes("POST", client.target("s"), TEXT, b"too late"))
        refused = await late.reply("POST")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "shutting-down", "1")
        await prober.send(request_bytes("GET", "/readyz"))
        assert (await prober.reply()).code == "not-ready"
        await prober.send(request_bytes("GET", "/healthz"))
        assert (await prober.reply()).status == 200
        await prober.send(request_bytes("GET", client.target("s", offset="-1")))
        assert (await prober.reply()).body == b"old "

        engine.gate.set()
        answered = await writer.reply("POST")
        assert (answered.status, answered.offset) == (204, format_offset(13))
        assert (await poller.reply()).body == b"in flight"
        text, control = await reader.pair()
        assert (text, control["streamNextOffset"]) == ("in flight", format_offset(13))
        rest = await reader.rest()
        assert [event.control["streamNextOffset"] for event in rest] == [format_offset(13)]
        await stopping
        for wire in (poller, writer, late, prober):
            assert await wire.rest() == b""
        server.stop = lambda: asyncio.sleep(0)  # type: ignore[method-assign] # stopped already


@pytest.mark.slow
async def test_a_reader_that_stands_still_does_not_hold_up_the_end(run: Run) -> None:
    """Not even where one that takes nothing is borne for an hour."""
    async with run(bounds=bounded(write_timeout_ms=3_600_000)) as site, AsyncExitStack() as connections:
        client = site.client
        await client.put("s", "text/plain", bytes(15_000_000))
        wire = await connections.enter_async_context(client.wire())
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(request_bytes("GET", client.target("s", offset="-1", live="sse")))
        await until(lambda: len(site.server._readers.connected) == 1)

        async with asyncio.timeout(HANG_S):
            await site.server.stop()
        site.server.stop = lambda: asyncio.sleep(0)  # type: ignore[method-assign] # stopped already


@pytest.mark.slow
async def test_a_thousand_readers_are_told_and_let_go(serve: Serve) -> None:
    """The real process under load, and SIGTERM: every reader gets all that was acknowledged, then the end.

    It ends because everybody has been told: its patience would last an hour.
    """
    process = serve(arguments=["--drain-timeout-ms", "3600000"])
    client = Client(process.url)
    await client.put("s")
    async with AsyncExitStack() as connections:
        readers = [await connections.enter_async_context(client.wire(limit=1 << 22)) for _ in range(READERS)]
        for wire in readers:
            await wire.send(request_bytes("GET", client.target("s", offset="-1", live="sse")))
        for wire in readers:
            assert (await wire.reply_head()).status == 200
        acknowledged: list[bytes] = []
        writing = [asyncio.create_task(write(client, number, acknowledged)) for number in range(WRITERS)]
        receiving = [asyncio.create_task(last_control(wire)) for wire in readers]
        await until(lambda: len(acknowledged) >= WRITERS * 4)

        status = await asyncio.to_thread(process.stop)
        await asyncio.gather(*writing)
        ends = set(await asyncio.gather(*receiving))

    assert status == 0
    process.start()
    written, pages = await client.read_all("s")
    assert sorted(acknowledged) == sorted(written[start : start + 8] for start in range(0, len(written), 8))
    assert ends == {pages[-1].offset}


async def write(client: Client, number: int, acknowledged: list[bytes]) -> None:
    """Append until the server says that it goes, or has gone."""
    async with client.wire() as wire:
        for count in range(1_000_000):
            body = b"%02d-%05d" % (number, count)
            try:
                await wire.send(request_bytes("POST", client.target("s"), TEXT, body))
                reply = await wire.reply("POST")
            except ConnectionError:
                return
            if reply.status != 204:
                assert (reply.status, reply.code) == (503, "shutting-down")
                return
            acknowledged.append(body)


async def last_control(wire: Wire) -> str:
    """Return the offset in the control event that was the last thing sent before the end of the answer."""
    async with asyncio.timeout(HANG_S):
        received = await wire.reader.read()
    assert received.endswith(b"}\n\n\r\n0\r\n\r\n")
    return received.rpartition(b'"streamNextOffset":"')[2][:16].decode()


def break_store(data_dir: Path) -> None:
    """Make each descriptor that this process has of the data file read-only, as a disk does that has failed."""
    data_file = str(data_dir / "data.mdb")
    read_only = os.open(data_file, os.O_RDONLY)
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink() and str(link.readlink()) == data_file and int(link.name) != read_only:
            os.dup2(read_only, int(link.name))
    os.close(read_only)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("first", ["write", "upkeep"])
async def test_a_store_that_fails_ends_the_server(tmp_path: Path, first: str) -> None:
    """Nothing is promised any more from the first failed write on, whoever made it; the exit status is 1."""
    running: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    bounds = QUIET if first == "write" else bounded(sweep_interval_ms=1_500)
    config = ServerConfig(port=0, data_dir=tmp_path / "data", bounds=bounds)
    interval_s = sys.getswitchinterval()
    serving = asyncio.create_task(serve_until_told(config, running.set_result, StopSignals()))
    client = Client((await running).url.removesuffix("/v1/stream"))
    await client.put("s", "text/plain", b"kept")
    await client.put("dropped", "text/plain", b"left to the next round of upkeep")
    await client.delete("dropped")

    break_store(tmp_path / "data")
    if first == "write":
        reply = await client.post("s", b"lost")
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "store-failed", "1")
    async with asyncio.timeout(HANG_S):
        assert await serving == 1
    sys.setswitchinterval(interval_s)

    async with running_again(tmp_path / "data", engine="lmdb") as site:
        assert (await site.client.read_all("s"))[0] == b"kept"


async def test_a_data_dir_that_vanishes_makes_the_server_unready(run: Run, tmp_path: Path) -> None:
    async with run(engine="lmdb") as site:
        await site.client.put("s", "text/plain", b"x")
        (tmp_path / "data").rename(tmp_path / "elsewhere")

        reply = await site.client.send("GET", "/readyz")
        assert (reply.status, reply.code) == (503, "not-ready")
        assert "data directory" in reply.body.decode()


def test_a_data_dir_that_vanishes_ends_the_server(serve: Serve, tmp_path: Path) -> None:
    """Otherwise writes would be acknowledged into a file that nobody can find again."""
    server = serve()
    server.data_dir.rename(tmp_path / "elsewhere")
    assert server.wait(timeout_s=HANG_S) == 1
    assert "data directory" in server.stderr

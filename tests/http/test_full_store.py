"""No space left: writers are told, readers notice nothing, and all is well again when there is room (507)."""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import TYPE_CHECKING, ClassVar

import pytest

from durable_streams.engine.base import StorageFullError
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.protocol.append import Append
from durable_streams.protocol.errors import StoreFullError
from durable_streams.runtime.config import KIB, MIB
from tests.http.wire import Client, request_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from durable_streams.engine.base import Touch
    from tests.conftest import Serve
    from tests.http.conftest import Run
    from tests.http.site import Site

FULL_MS = 5_000
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")


async def fill(client: Client, path: str, size: int) -> bytes:
    """Append until there is no room; return what was acknowledged."""
    kept: list[bytes] = []
    async with client.wire() as wire:
        for number in range(1_000_000):
            body = (b"%08d" % number).ljust(size, b".")
            await wire.send(request_bytes("POST", client.target(path), {"Content-Type": "text/plain"}, body))
            reply = await wire.reply("POST")
            if reply.status != 204:
                assert (reply.status, reply.code) == (507, "store-full")
                return b"".join(kept)
            kept.append(body)
    raise AssertionError("it never got full")


async def check_full(site: Site, kept: dict[str, bytes]) -> None:
    """Writes are refused and change nothing, reads of all kinds go on, and the server says that it is not ready."""
    client = site.client
    assert (await client.post("s", b"x" * MIB)).code == "store-full"
    assert (await client.put("t", "text/plain", b"x" * MIB)).code == "store-full"
    assert (await client.head("t")).status == 404
    for path, written in kept.items():
        assert (await client.read_all(path))[0] == written
    async with client.events("s", offset="-1") as events:
        assert (await events.take()).kind == "data"
    ready = await client.send("GET", "/readyz")
    assert (ready.status, ready.code) == (503, "not-ready")
    assert (await client.send("GET", "/healthz")).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("size", [64 * KIB, 300 * KIB, 4 * KIB, 1])
async def test_a_full_map_takes_writes_again_when_streams_are_deleted(run: Run, size: int) -> None:
    """Filled by large appends, or to its last page by small ones."""
    async with run(engine="lmdb", map_size_bytes=2 * MIB) as site:
        client = site.client
        await client.put("old", "text/plain", b"x" * 512 * KIB)
        await client.put("s", "text/plain", b"first")
        kept = {"s": b"first"}
        for smaller in (300 * KIB, 64 * KIB, 4 * KIB, 500, 1):
            if smaller >= size:
                kept["s"] += await fill(client, "s", smaller)
        kept["old"] = b"x" * 512 * KIB
        await check_full(site, kept)

        assert (await client.delete("old")).status == 204
        await site.upkeep()
        site.clock.advance_ms(FULL_MS)

        assert (await client.send("GET", "/readyz")).status == 200
        assert (await client.post("s", b"y" * 256 * KIB)).status == 204
        assert (await client.read_all("s"))[0] == kept["s"] + b"y" * 256 * KIB
        assert (await client.put("t")).status == 201


async def test_one_append_that_does_not_fit_leaves_its_neighbours_alone(run: Run) -> None:
    async with run(engine="lmdb", map_size_bytes=2 * MIB) as site:
        client = site.client
        await client.put("s")
        await client.put("t")
        fields = {"producer_id": "p", "producer_epoch": "0", "producer_seq": "0"}

        assert (await client.post("s", b"x" * 4 * MIB, **fields)).code == "store-full"
        assert (await client.post("t", b"y")).status == 204
        assert (await client.post("s", b"retried", **fields)).status == 200
        assert (await client.read_all("s"))[0] == b"retried"


async def test_appends_of_one_batch_stay_together_though_some_were_refused(run: Run) -> None:
    """A refusal rests on a neighbour's close, which does not fit: nothing of the batch may stand when it is told so."""
    async with run(engine="lmdb", map_size_bytes=2 * MIB) as site:
        client, streams = site.client, site.server.streams
        await client.put("s")
        await client.put("t")
        closing = Append(b"x" * 4 * MIB, "text/plain", close=True)
        small = Append(b"y", "text/plain")
        answered: asyncio.Queue[object] = asyncio.Queue()

        streams.submit_append("s", closing, answered.put_nowait)
        streams.submit_many([("t", small), ("s", small)], answered.put_nowait, stop_at_refusal=False)

        assert isinstance(await answered.get(), StoreFullError)
        assert isinstance(await answered.get(), StoreFullError)
        assert (await client.get("t")).body == b""


async def test_expired_streams_make_room_in_a_full_store(run: Run) -> None:
    async with run(engine="lmdb", map_size_bytes=2 * MIB) as site:
        client = site.client
        await client.put("brief", "text/plain", b"x" * 512 * KIB, stream_ttl="60")
        await client.put("s")
        kept = await fill(client, "s", 64 * KIB)
        site.clock.advance_ms(60_000)
        await site.upkeep()

        assert (await client.post("s", b"y" * 256 * KIB)).status == 204
        assert (await client.read_all("s"))[0] == kept + b"y" * 256 * KIB


class OnceInVain(LmdbEngine):
    """Finds no room for its first touches."""

    calls: ClassVar[list[Sequence[Touch]]] = []

    def touch(self, touches: Sequence[Touch]) -> None:
        self.calls.append(touches)
        if len(self.calls) == 1:
            raise StorageFullError("on purpose")
        super().touch(touches)


async def test_touches_that_find_no_room_wait_and_keep_no_room_from_being_made(run: Run, tmp_path: Path) -> None:
    engine = OnceInVain(tmp_path / "data", map_size_bytes=2 * MIB)
    async with run(engine=engine) as site:
        client = site.client
        await client.put("old", "text/plain", b"x" * 512 * KIB)
        await client.put("read", "text/plain", b"x", stream_ttl="3600")
        await client.put("s")
        kept = await fill(client, "s", 64 * KIB)
        assert (await client.delete("old")).status == 204
        site.clock.advance_ms(1_800_000)
        await client.get("read", offset="-1")
        await site.upkeep()

        assert (await client.post("s", b"y" * 256 * KIB)).status == 204
        assert (await client.read_all("s"))[0] == kept + b"y" * 256 * KIB
        await site.upkeep()
        assert [[touch.path for touch in touches] for touches in engine.calls] == [["read"], ["read"]]


@linux_only
@pytest.mark.slow
async def test_deletes_make_room_where_no_file_system_tells_of_the_limit(serve: Serve) -> None:
    """RLIMIT_FSIZE of the real process: filled, emptied and filled again ten times, a kill in between."""
    process = serve(arguments=["--sweep-interval-ms", "10"])
    client = Client(process.url)
    kept = b"from the first to the last"
    await client.put("kept", "text/plain", kept)
    unlimited = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    limited = (5 * MIB, unlimited[1])
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limited)
    for number in range(10):
        await client.put("s")
        filled = b""
        for size in (64 * KIB, (64 * KIB, 4 * KIB, 900)[number % 3]):
            filled += await fill(client, "s", size)
        while len(filled) <= MIB:  # what was deleted is collected in slices; the first of them lets appends in again
            filled += await fill(client, "s", 64 * KIB)
        if number == 5:
            process.kill()
            process.start()
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limited)
        assert (await client.read_all("s"))[0] == filled
        assert (await client.delete("s")).status == 204
        while (await client.post("kept", b".")).status != 204:  # until the collector has come round
            pass
        kept += b"."
        while (await client.send("GET", "/readyz")).status != 200:  # which wants more than one append's room
            pass
        assert (await client.read_all("kept"))[0] == kept
    assert process.stop() == 0


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("slack_bytes", [0, 10_000, 300_000])
async def test_a_full_disk_takes_writes_again_when_there_is_room(serve: Serve, slack_bytes: int) -> None:
    """RLIMIT_FSIZE of the real process stands in for the disk."""
    process = serve()
    client = Client(process.url)
    await client.put("s", "text/plain", b"first")
    unlimited = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    size_bytes = (process.data_dir / "data.mdb").stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size_bytes + slack_bytes, unlimited[1]))

    kept = b"first" + await fill(client, "s", 64 * KIB)
    assert (await client.put("t", "text/plain", b"x" * 256 * KIB)).code == "store-full"
    assert (await client.read_all("s"))[0] == kept
    ready = await client.send("GET", "/readyz")
    assert (ready.status, ready.code) == (503, "not-ready")

    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert (await client.post("s", b"y" * 256 * KIB)).status == 204
    assert (await client.put("t", "text/plain", b"x" * 256 * KIB)).status == 201
    assert process.stop() == 0
    process.start()
    assert (await client.read_all("s"))[0] == kept + b"y" * 256 * KIB

"""Memory of the real server process under large streams, slow readers, and many idle streams.

Two numbers of ``/proc/PID/status``: ``RssAnon`` is what the process has allocated. ``VmRSS`` adds the pages of the
store that are mapped into it, which are the kernel's page cache: they count as resident in every process that has
touched them, and the kernel takes them back without asking when anybody needs memory.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from durable_streams.runtime.config import MIB
from tests.http.wire import Client, request_bytes
from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.conftest import Serve
    from tests.http.wire import Wire
    from tests.serving import ServerProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

STREAM_BYTES = 200 * MIB
LIMIT_BYTES = 150 * MIB
"""Of anonymous memory, for both writing and reading: 40 MiB for the interpreter and its modules, and a few pages and
bodies in flight. With all 200 MiB of the store mapped the process stays below 300 MiB in all on a machine where nobody
else wants the memory; that number is the kernel's to choose, so it is not asserted."""
READERS = 8
IDLE_STREAMS = 10_000
WRITERS = 100
SLOW_PAUSE_S = 0.05
SLOW_PIECE_BYTES = 256 * 1024
_DATA = re.compile(rb"event: data\ndata:([^\n]*)\n\n")


class Memory(NamedTuple):
    """Bytes resident in one process."""

    anonymous: int
    total: int


def memory(process: ServerProcess) -> Memory:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    )
    return Memory(*(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmRSS")))


@asynccontextmanager
async def watched(process: ServerProcess) -> AsyncIterator[list[Memory]]:
    """Keep the highest of each number while the block runs, in the one element of the list."""
    peak = [memory(process)]

    async def watch() -> None:
        while True:
            now = memory(process)
            peak[0] = Memory(max(now.anonymous, peak[0].anonymous), max(now.total, peak[0].total))
            await pause(0.01)

    watching = asyncio.create_task(watch())
    try:
        yield peak
    finally:
        watching.cancel()


def text_bodies() -> list[bytes]:
    """200 MiB of numbered text without line ends, in appends of 10 MiB."""
    number = iter(range(STREAM_BYTES // 16))
    return [
        b"".join(b"%015d;" % next(number) for _ in range(10 * MIB // 16)) for _ in range(STREAM_BYTES // (10 * MIB))
    ]


def json_bodies() -> list[bytes]:
    """200 MiB of numbered messages of 1 KiB, in appends of 10 MiB."""
    number = iter(range(STREAM_BYTES // 1024))
    pad = "x" * 1000
    return [
        ("[" + ",".join(f'{{"n":{next(number)},"p":"{pad}"}}' for _ in range(10 * 1024)) + "]").encode()
        for _ in range(STREAM_BYTES // (10 * MIB))
    ]


async def read_whole(client: Client, path: str) -> int:
    """Read everything in one answer as fast as it comes, keeping nothing; return how many bytes it had."""
    async with client.wire(limit=MIB) as wire:
        await wire.send(request_bytes("GET", client.target(path)))
        head, received = await wire.reply_head(), 0
        assert head.up_to_date
        total = int(head.headers["content-length"])
        while received < total:
            received += len(await wire.exactly(min(MIB, total - received)))
        return received


async def read_pages(client: Client, path: str) -> int:
    """Read all pages as fast as they come; return how many bytes they had."""
    total, offset = 0, "-1"
    async with client.wire(limit=8 * MIB) as wire:
        while True:
            await wire.send(request_bytes("GET", client.target(path, offset=offset, max_bytes=MIB)))
            page = await wire.reply()
            assert page.status == 200
            total += len(page.body)
            offset = page.offset
            if page.up_to_date:
                return total


async def read_slowly(wire: Wire, enough: asyncio.Event) -> bytes:
    """Read a piece now and then until it is enough; return what has come."""
    pieces: list[bytes] = []
    while not enough.is_set():
        pieces.append(await wire.reader.read(SLOW_PIECE_BYTES))
        assert pieces[-1], "the reader was cut"
        await pause(SLOW_PAUSE_S)
    return b"".join(pieces)


@pytest.mark.parametrize(("content_type", "bodies"), [("text/plain", text_bodies), ("application/json", json_bodies)])
async def test_a_large_stream_and_slow_readers(
    serve: Serve, content_type: str, bodies: Callable[[], list[bytes]]
) -> None:
    # The slow ones are never told to come again, however long the fast ones take.
    process = serve(arguments=["--sse-lifetime-ms", str(round(HANG_S * 1000))])
    client = Client(process.url)
    sent = bodies()
    await client.put("large", content_type)
    async with watched(process) as peak:
        for body in sent:
            assert (await client.post("large", body, content_type)).status == 204
    assert peak[0].anonymous < LIMIT_BYTES
    async with watched(process) as peak, AsyncExitStack() as connections:
        enough = asyncio.Event()
        slow = []
        for target in (client.target("large", offset="-1", live="sse"), client.target("large")) * (READERS // 2):
            wire = await connections.enter_async_context(client.wire(limit=64 * 1024))
            await wire.send(request_bytes("GET", target))
            assert (await wire.reply_head()).status == 200
            slow.append(asyncio.create_task(read_slowly(wire, enough)))
        fast = [read(client, "large") for read in (read_whole, read_pages) * (READERS // 2)]
        sizes = await asyncio.gather(*fast)
        enough.set()
        received = await asyncio.gather(*slow)
    assert peak[0].anonymous < LIMIT_BYTES, peak

    whole = b"".join(sent) if content_type == "text/plain" else b",".join(body[1:-1] for body in sent)
    brackets = 0 if content_type == "text/plain" else 2
    assert set(sizes[::2]) == {len(whole) + brackets}
    if content_type == "text/plain":
        assert set(sizes) == {STREAM_BYTES}
    for raw in received[1::2]:
        assert len(raw) > MIB
        assert whole.startswith(raw[brackets // 2 :])
    for raw in received[::2]:
        pages = _DATA.findall(raw)
        got = b"".join(pages) if content_type == "text/plain" else b",".join(page[1:-1] for page in pages)
        assert len(got) > MIB
        assert whole.startswith(got)


async def test_idle_streams_cost_disk_and_nothing_else(serve: Serve) -> None:
    process = serve()
    client = Client(process.url)
    process.restart()
    empty = memory(process)

    async def create(start: int) -> None:
        async with client.wire() as wire:
            targets = [client.target(f"idle/{number}") for number in range(start, IDLE_STREAMS, WRITERS)]
            await wire.send(b"".join(request_bytes("PUT", target, {"Content-Type": "a/b"}, b"x") for target in targets))
            for _ in targets:
                assert (await wire.reply("PUT")).status == 201

    await asyncio.gather(*(create(start) for start in range(WRITERS)))
    process.restart()
    idle = memory(process)
    assert len((await client.get("__ds/streams", limit=1000)).body) > 1000

    assert idle.anonymous - empty.anonymous < 2 * MIB

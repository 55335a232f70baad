"""No reader sees a byte before it is durable: a commit is held up, and everybody looks."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import aiohttp
import pytest

from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.runtime.config import ServerConfig
from durable_streams.server import Server
from tests.crash.calls import TEXT, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow
SHOWN = b"event: data\ndata:new\n\n"


class Hold:
    """A ``fault`` hook that stops the next commit before it is durable, until it is released."""

    def __init__(self) -> None:
        self.armed = False
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(self, point: str) -> None:
        if self.armed and point == "before-commit":
            self.reached.set()
            self.released.wait()


@contextlib.asynccontextmanager
async def serving(data_dir: Path, hold: Hold) -> AsyncIterator[str]:
    server = Server(ServerConfig(port=0, data_dir=data_dir), LmdbEngine(data_dir, fault=hold))
    await server.start()
    try:
        yield server.url
    finally:
        hold.released.set()
        await server.stop()


async def test_nobody_sees_an_append_whose_commit_is_under_way(tmp_path: Path) -> None:
    hold = Hold()
    async with (
        serving(tmp_path / "data", hold) as url,
        aiohttp.ClientSession() as client,
        contextlib.AsyncExitStack() as followed,
    ):
        stream, tail = f"{url}/a", f"{3:016d}"

        async def get(**query: str) -> bytes:
            async with client.get(stream, params=query) as response:
                return await response.read()

        async def follow() -> aiohttp.StreamReader:
            live = client.get(stream, params={"offset": tail, "live": "sse"})
            return (await followed.enter_async_context(live)).content

        async def post() -> int:
            async with client.post(stream, data=b"new", headers=TEXT) as answer:
                return answer.status

        (await client.put(stream, data=b"old", headers=TEXT)).release()
        events = await follow()
        assert b'"upToDate":true' in await events.readuntil(b"\n\n")
        poll = asyncio.create_task(get(offset=tail, live="long-poll"))
        hold.armed = True
        append = asyncio.create_task(post())
        await asyncio.to_thread(hold.reached.wait)

        assert await get() == await get(offset="-1") == b"old"
        assert await get(offset=tail) == await get(offset="now") == b""
        async with client.head(stream) as head:
            assert head.headers["Stream-Next-Offset"] == tail
        async with client.get(f"{url}/__ds/streams") as listing:
            assert (await listing.json())["streams"][0]["next_offset"] == tail
        late = await follow()
        assert f'"streamNextOffset":"{tail}"'.encode() in await late.readuntil(b"\n\n")
        assert not append.done()
        assert not poll.done()
        assert events.total_bytes == late.total_bytes  # one control event each, and nothing else

        hold.released.set()
        assert await append == 204
        assert await poll == b"new"
        assert await events.readuntil(b"\n\n") == await late.readuntil(b"\n\n") == SHOWN
        assert await get() == b"oldnew"


@pytest.mark.parametrize("point", ["before-commit", "between-chunk-and-head"])
def test_a_live_reader_of_a_server_that_dies_was_shown_nothing_of_it(server: ServerProcess, point: str) -> None:
    server.kill()
    server.environment["DS_FAULT"] = f"{point}:2:{server.data_dir.absolute()}"
    server.start()
    caller = Caller(server)
    caller.ask("PUT", "a", TEXT, body=b"old")
    connection = caller.connect()
    connection.request("GET", "/v1/stream/a?offset=-1&live=sse")
    events = connection.getresponse()
    head = b"".join(events.readline() for _ in range(7))
    assert re.match(rb"event: data\ndata:old\n\nid:\S+\nevent: control\ndata:.*\n\n", head)
    assert caller.is_unanswered("POST", "a", TEXT, body=b"new")

    with pytest.raises(IncompleteRead) as cut:
        events.read()
    assert cut.value.partial == b""
    connection.close()

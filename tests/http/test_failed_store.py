"""A store whose files were taken away: nothing more is acknowledged, reads are told why, and the server ends."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import EngineFailedError
from tests.http.wire import Client
from tests.patience import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve
    from tests.http.conftest import Run

FILES = ("data.mdb", "lock.mdb", "store.json")


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "aiohttp"])
async def test_reads_are_503_and_not_faults_of_ours(run: Run, tmp_path: Path, *, lane: bool) -> None:
    async with run(engine="lmdb", lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"kept")
        await client.put("other", "text/plain")
        (tmp_path / "data" / "data.mdb").rename(tmp_path / "data" / "moved")
        refused = await client.post("s", b"lost")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "store-failed", "1")
        with suppress(EngineFailedError):
            site.engine.load(["s"])
        for reply in (
            await client.get("s", offset="-1"),
            await client.get("new", offset="-1", live="long-poll"),
            await client.get("new", offset="-1", live="sse"),
            await client.send("GET", client.target("__ds/streams")),
            await client.put("third"),
            await client.post("other", b"x"),
        ):
            assert (reply.status, reply.code) == (503, "store-failed")
        assert (await client.head("new")).status == 503
        assert (await client.send("GET", "/readyz")).status == 503
        assert (await client.send("GET", "/healthz")).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
async def test_the_process_ends_with_the_next_commit(serve: Serve, name: str) -> None:
    """Not a second later: what is acknowledged until then would be lost with the next start."""
    server = serve(arguments=["--sweep-interval-ms", "3600000"])
    client = Client(server.url)
    await client.put("s", "text/plain", b"kept")
    (server.data_dir / name).rename(server.data_dir / "moved")
    assert (await client.post("s", b"lost")).code == "store-failed"
    assert server.wait(timeout_s=HANG_S) == 1
    assert "removed or replaced" in server.stderr
    assert "request failed" not in server.stderr

    (server.data_dir / "moved").rename(server.data_dir / name)
    server.start()
    assert (await client.read_all("s"))[0] in {b"kept", b"keptlost"}


@pytest.mark.slow
async def test_the_process_ends_by_itself_where_nobody_writes(serve: Serve) -> None:
    server = serve(arguments=["--sweep-interval-ms", "50"])
    (server.data_dir / "data.mdb").rename(server.data_dir / "moved")
    assert server.wait(timeout_s=HANG_S) == 1

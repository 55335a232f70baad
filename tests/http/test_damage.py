"""What clients are told of a damaged stream, and that nobody else is told anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.lmdb import keys
from tests.engine.stores import behind_the_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Run
    from tests.http.site import Site

FENCED = {"producer_id": "p", "producer_epoch": "0"}


async def fill(site: Site) -> None:
    client = site.client
    for path in ("a", "b"):
        await client.put(path, "text/plain", b"first", stream_ttl="3600")
        await client.post(path, b"second", **FENCED, producer_seq="0")
    await client.fork("fork", "a")
    await client.post("fork", b"third")


def damage(data_dir: Path, name: str, *, removed: bool = False) -> None:
    """Change one bit of the first row of stream ``a`` in one database, or take the row away."""
    with behind_the_back(data_dir) as (txn, databases):
        head = txn.get(keys.encode_path("a"), db=databases.head)
        assert head is not None
        cursor = txn.cursor(getattr(databases, name))
        assert cursor.set_range(keys.encode_path("a") if name == "head" else head[:8])
        if removed:
            cursor.delete()
        else:
            row = cursor.value()
            cursor.put(cursor.key(), row[:-1] + bytes((row[-1] ^ 1,)))


async def check_neighbours(site: Site) -> None:
    client = site.client
    assert (await client.read_all("b"))[0] == b"firstsecond"
    assert (await client.post("b", b"third", **FENCED, producer_seq="1")).status == 200
    listed = json.loads((await client.send("GET", client.target("__ds/streams"))).body)["streams"]
    assert "b" in [stream["path"] for stream in listed]


@pytest.mark.parametrize("removed", [False, True])
async def test_a_damaged_chunk_is_told_to_whoever_reads_it(run: Run, tmp_path: Path, *, removed: bool) -> None:
    async with run(engine="lmdb") as site:
        await fill(site)
    damage(tmp_path / "data", "chunk", removed=removed)
    async with run(engine="lmdb") as site:
        client = site.client
        for path in ("a", "fork"):
            reply = await client.get(path, offset="-1")
            assert (reply.status, reply.code) == (500, "damaged")
            assert b"durable-streams check" in reply.body
            assert b"restore it from a backup" in reply.body
        assert (await client.get("a", offset="-1", live="long-poll")).code == "damaged"
        assert (await client.head("a")).status == 200
        assert (await client.post("a", b"third", **FENCED, producer_seq="1")).status == 200
        await check_neighbours(site)
        assert [(await client.delete(path)).status for path in ("fork", "a")] == [204, 204]


async def test_a_damaged_head_is_told_to_whoever_asks_for_its_stream(run: Run, tmp_path: Path) -> None:
    async with run(engine="lmdb") as site:
        await fill(site)
    damage(tmp_path / "data", "head")
    async with run(engine="lmdb") as site:
        client = site.client
        assert (await client.head("a")).status == 500
        assert (await client.get("a", offset="-1")).code == "damaged"
        assert (await client.post("a", b"x")).code == "damaged"
        assert (await client.put("a", "text/plain")).code == "damaged"
        assert (await client.delete("a")).code == "damaged"
        await check_neighbours(site)
        site.clock.advance_ms(3_600_000)
        await site.upkeep()
        assert (await client.head("b")).status == 404
        assert (await client.head("a")).status == 500


async def test_a_fork_of_a_damaged_source_cannot_leave_it_half(run: Run, tmp_path: Path) -> None:
    """Its deletion takes a reference off the source: both, or neither."""
    async with run(engine="lmdb") as site:
        await fill(site)
    damage(tmp_path / "data", "head")
    async with run(engine="lmdb") as site:
        client = site.client
        assert (await client.delete("fork")).code == "damaged"
        assert (await client.head("fork")).status == 200
        assert (await client.post("fork", b"!")).status == 204
        await check_neighbours(site)


async def test_a_damaged_fence_lets_no_producer_in(run: Run, tmp_path: Path) -> None:
    """As a new one it would be let in anew, and a retry would be stored twice."""
    async with run(engine="lmdb") as site:
        await fill(site)
    damage(tmp_path / "data", "producer")
    async with run(engine="lmdb") as site:
        client = site.client
        assert (await client.post("a", b"second", **FENCED, producer_seq="0")).code == "damaged"
        assert (await client.read_all("a"))[0] == b"firstsecond"
        assert (await client.post("a", b"plain")).status == 204
        await check_neighbours(site)


async def test_packing_leaves_a_damaged_stream_and_goes_on(run: Run, tmp_path: Path) -> None:
    async with run(engine="lmdb") as site:
        await fill(site)
    damage(tmp_path / "data", "chunk")
    async with run(engine="lmdb") as site:
        (head,) = site.engine.load(["a"])
        assert head is not None
        site.server._upkeep._packer.put_back(head.sid, 0, head.tail)
        await site.upkeep()
        await check_neighbours(site)
        assert (await site.client.get("a", offset="-1")).code == "damaged"


async def test_a_damaged_subscription_keeps_nobody_from_appending(run: Run, tmp_path: Path) -> None:
    async with run(engine="lmdb") as site:
        client = site.client
        await client.put("wake", "application/json")
        target = client.target("__ds/subscriptions/s")
        body = json.dumps({"type": "pull-wake", "pattern": "*", "wake_stream": "wake"}).encode()
        assert (await client.send("PUT", target, {"Content-Type": "application/json"}, body)).status == 201
        await fill(site)
        (found,) = site.engine.scan("__ds/", "", 9)
    async with run(engine="lmdb") as site:
        with_head = found.path
        engine = site.engine
        assert engine.load([with_head]) != [None]
    with behind_the_back(tmp_path / "data") as (txn, databases):
        key = keys.encode_path(with_head)
        row = txn.get(key, db=databases.head)
        assert row is not None
        txn.put(key, row[:-1] + bytes((row[-1] ^ 1,)), db=databases.head)
    async with run(engine="lmdb") as site:
        assert (await site.client.post("a", b"third")).status == 204
        assert (await site.client.read_all("a"))[0] == b"firstsecondthird"
        await check_neighbours(site)

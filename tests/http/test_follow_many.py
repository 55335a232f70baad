"""``POST __ds/follow``: many streams on one connection, told apart by the ``id`` of their events."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.site import bounded, until
from tests.http.wire import LiveBody, request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Reply, Wire


class Labelled:
    """Reads events with their ids."""

    def __init__(self, wire: Wire, head: Reply) -> None:
        self.wire, self.head, self.body = wire, head, LiveBody(wire, head)

    async def take(self) -> tuple[str, str, str]:
        """Return (id, kind, data) of the next event."""
        fields: dict[str, list[str]] = {}
        while True:
            line = (await self.body.readline()).decode()
            assert line, "the event stream ended"
            if line == "\n":
                if fields:
                    return fields["id"][0], fields["event"][0], "\n".join(fields["data"])
                continue
            name, _, value = line.rstrip("\n").partition(":")
            if name:
                fields.setdefault(name, []).append(value.strip() if name != "data" else value)

    async def until_live(self, count: int) -> list[tuple[str, str, str]]:
        """Return events up to the ``count``-th control event that says up to date."""
        events = []
        while count:
            events.append(await self.take())
            count -= events[-1][1] == "control" and json.loads(events[-1][2]).get("upToDate", False)
        return events


@asynccontextmanager
async def follow(client: Client, *wanted: dict[str, Any]) -> AsyncIterator[Labelled]:
    async with client.wire(limit=1 << 20) as wire:
        body = json.dumps(wanted).encode()
        await wire.send(request_bytes("POST", client.target("__ds/follow"), {"Content-Type": "application/json"}, body))
        yield Labelled(wire, await wire.reply_head())


async def test_history_and_news_of_each_stream(client: Client) -> None:
    await client.put("j", "application/json", b'[{"n":1}]')
    await client.put("%C3%BC/b", "image/png")
    async with follow(client, {"path": "j"}, {"path": "ü/b", "offset": "now"}, {"path": "none"}) as events:
        assert events.head.headers["content-type"] == "text/event-stream"
        seen = await events.until_live(2)
        assert seen[:3] == [
            ("j", "stream", '{"contentType":"application/json"}'),
            ("%C3%BC/b", "stream", '{"contentType":"image/png","encoding":"base64"}'),
            ("none", "refused", seen[2][2]),
        ]
        assert json.loads(seen[2][2])["code"] == "not-found"
        assert ("j", "data", '[{"n":1}]') in seen
        await client.post("%C3%BC/b", b"\x00\xff", "image/png")
        path, kind, text = await events.take()
        assert (path, kind, base64.b64decode(text)) == ("%C3%BC/b", "data", b"\x00\xff")
        path, kind, _ = await events.take()
        assert (path, kind) == ("%C3%BC/b", "control")
        await client.post("j", b"2", "application/json")
        assert await events.take() == ("j", "data", "[2]")


async def test_ends_when_the_last_stream_does(client: Client) -> None:
    await client.put("a")
    await client.put("b")
    async with follow(client, {"path": "a"}, {"path": "b"}) as events:
        await events.until_live(2)
        await client.post("a", b"last", stream_closed="true")
        assert await events.take() == ("a", "data", "last")
        assert json.loads((await events.take())[2])["streamClosed"] is True
        await client.delete("b")
        gone = await events.take()
        assert gone[:2] == ("b", "gone")
        assert json.loads(gone[2])["code"] == "not-found"
        assert await events.body.rest() == b""


async def test_all_refused_ends_at_once(client: Client) -> None:
    async with follow(client, {"path": "none"}) as events:
        assert (await events.take())[1] == "refused"
        assert await events.body.rest() == b""


async def test_a_reader_that_leaves_is_forgotten(site: Site) -> None:
    paths = [f"s/{number}" for number in range(100)]
    for path in paths:
        await site.client.put(path)
    async with follow(site.client, *({"path": path} for path in paths)) as events:
        await events.until_live(100)
        assert site.followers() == 100
    await until(lambda: not site.followers())


async def test_a_slow_reader_falls_behind_and_catches_up(run: Run) -> None:
    part = b"x" * 65_536
    async with run(bounds=bounded(sse_buffer_bytes=100_000)) as site:
        await site.client.put("big")
        await site.client.put("other")
        async with follow(site.client, {"path": "big"}, {"path": "other"}) as events:
            await events.until_live(2)
            for _ in range(100):
                await site.client.post("big", part)
            await site.client.post("other", b"news", stream_closed="true")
            await site.client.finish("big")
            sizes = {"big": 0, "other": 0}
            closed = 0
            while closed < 2:
                path, kind, text = await events.take()
                sizes[path] += len(text) if kind == "data" else 0
                closed += kind == "control" and json.loads(text).get("streamClosed", False)
            assert sizes == {"big": 100 * len(part), "other": 4}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'[{"path":1}]', b'[{"path":"a"},{"path":"a"}]', b'[{"x":1}]', b'["a"]']
)
async def test_malformed_requests_are_refused(client: Client, body: bytes) -> None:
    reply = await client.send("POST", client.target("__ds/follow"), {"Content-Type": "application/json"}, body)
    assert (reply.status, reply.code) == (400, "invalid-json")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a", "b/c", "b/c"], "'b/c' is named 2 times"),
        ([], "1 to 1000 streams can be followed at once, not 0"),
        ([str(number) for number in range(1_001)], "not 1001"),
    ],
)
async def test_a_refusal_says_what_is_wrong_with_the_streams(client: Client, paths: list[str], said: str) -> None:
    body = json.dumps([{"path": path} for path in paths]).encode()
    reply = await client.send("POST", client.target("__ds/follow"), {"Content-Type": "application/json"}, body)

    assert said in json.loads(reply.body)["detail"]

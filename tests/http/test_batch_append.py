"""``POST __ds/batch``: many streams, one request, one commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.memory import MemoryEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durable_streams.engine.base import Mutation, Outcome
    from tests.http.conftest import Run
    from tests.http.wire import Client, Reply


async def post(client: Client, *lines: bytes | Mapping[str, object]) -> Reply:
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return await client.send("POST", client.target("__ds/batch"), {"Content-Type": "application/x-ndjson"}, body)


def outcomes(reply: Reply) -> list[dict[str, object]]:
    assert reply.status == 200, reply
    return [json.loads(line) for line in reply.body.splitlines()]


async def test_each_append_has_its_own_outcome(client: Client) -> None:
    await client.put("j", "application/json")
    await client.put("t", "text/plain")
    await client.put("shut", "text/plain", stream_closed="true")
    reply = await post(
        client,
        b'{"path": "j", "json": [ 1.0, {"n": 12345678901234567890123} ]}',
        {"path": "t", "content_type": "text/plain", "body": "grüße"},
        {"path": "none", "content_type": "text/plain", "body": "x"},
        {"path": "shut", "content_type": "text/plain", "body": "x"},
        {"path": "t", "content_type": "text/plain", "base64": "AAE=", "close": True},
        {"path": "t", "content_type": "text/plain", "body": "late"},
        {"path": "j", "content_type": "application/json", "body": "{"},
    )
    statuses = [(outcome["status"], outcome.get("code")) for outcome in outcomes(reply)]
    assert statuses == [
        (204, None),
        (204, None),
        (404, "not-found"),
        (409, "stream-closed"),
        (204, None),
        (409, "stream-closed"),
        (400, "invalid-json"),
    ]
    assert (await client.get("j")).body == b'[1.0, {"n": 12345678901234567890123}]'
    read = await client.get("t")
    assert (read.body, read.closed) == ("grüße".encode() + b"\x00\x01", True)
    assert outcomes(reply)[4] == {"status": 204, "next_offset": read.offset, "closed": True}


async def test_a_producer_is_fenced_line_by_line(client: Client) -> None:
    await client.put("p", "application/json")
    lines = [{"path": "p", "json": seq, "producer": ["id", 0, seq]} for seq in (0, 1, 1, 3, 2)]
    assert [outcome["status"] for outcome in outcomes(await post(client, *lines))] == [200, 200, 204, 409, 200]
    assert (await client.get("p")).body == b"[0,1,2]"


class CountingEngine(MemoryEngine):
    """Counts its commits."""

    commits = 0

    def commit(
        self, groups: Sequence[Sequence[Mutation]], *, on_written: Callable[[], None] | None = None
    ) -> list[Outcome]:
        self.commits += 1
        return super().commit(groups, on_written=on_written)


async def test_a_thousand_streams_take_one_commit(run: Run) -> None:
    engine = CountingEngine()
    async with run(engine=engine) as site:
        for number in range(1000):
            await site.client.put(f"s/{number}", "application/json")
        before = engine.commits
        reply = await post(site.client, *({"path": f"s/{number}", "json": number} for number in range(1000)))
    assert {outcome["status"] for outcome in outcomes(reply)} == {204}
    assert engine.commits == before + 1


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"path": "a"}',
        b'{"path": "a", "json": 1, "body": "x"}',
        b'{"path": "a", "body": "x"}',
        b'{"path": "a", "content_type": "text/plain", "body": ""}',
        b'{"path": "a", "content_type": "x/y", "base64": "!"}',
        b'{"path": "../a", "json": 1}',
        b'{"path": "__ds/a", "json": 1}',
        b'{"path": "a", "json": 1, "producer": ["p", 0]}',
        b'{"path": "a", "json": 1, "producer": ["p", -1, 0]}',
        b'{"path": "a", "json": 1, "producer": ["", 0, 0]}',
        b'{"path": "a", "json": 1, "stream_seq": ""}',
        b'{"path": "a", "json": 1, "unknown": 1}',
        b'{"path": "a", "json": 1} x',
    ],
)
async def test_a_malformed_line_refuses_everything(client: Client, line: bytes) -> None:
    await client.put("a", "application/json")
    reply = await post(client, {"path": "a", "json": "good"}, line)
    assert (reply.status, reply.code) == (400, "invalid-json")
    assert "line 2" in str(json.loads(reply.body)["detail"])
    assert (await client.get("a")).body == b"[]"


async def test_an_empty_or_overlong_batch_is_refused(client: Client) -> None:
    assert (await post(client)).status == 400
    assert (await post(client, *([{"path": "a", "json": 1}] * 4097))).status == 400

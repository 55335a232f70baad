"""Conditions on writes: compare and swap by ``If-Match``, creation by ``If-None-Match``, and no other."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.http.wire import Client, Reply

HERE = '"0000000000000003"'
ELSEWHERE = '"0000000000000002"'
PRODUCER = {"producer_id": "p", "producer_epoch": "0", "producer_seq": "0"}


@pytest.fixture
async def client(fronted: Site) -> Client:
    """A client of a stream ``s`` that holds three bytes, behind each front."""
    await fronted.client.put("s", body=b"abc")
    return fronted.client


async def delete(client: Client, path: str, **fields: str) -> Reply:
    return await client.send(
        "DELETE", client.target(path), {name.replace("_", "-"): value for name, value in fields.items()}
    )


def told(reply: Reply) -> tuple[int, str, str, str]:
    return reply.status, reply.code, reply.offset, reply.headers["etag"]


@pytest.mark.parametrize("value", [HERE, "*", f"{ELSEWHERE}, {HERE}", f'"x",{HERE}', f"W/{HERE}, {HERE}"])
async def test_an_append_is_stored_where_it_says(client: Client, value: str) -> None:
    reply = await client.post("s", b"d", if_match=value)
    assert (reply.status, reply.headers["etag"]) == (204, f'"{reply.offset}"')
    assert (await client.get("s")).body == b"abcd"


@pytest.mark.parametrize("value", [ELSEWHERE, f"W/{HERE}", '"x"', f'{ELSEWHERE}, "0000000000000004"', '"-1"', '"*"'])
async def test_an_append_elsewhere_is_refused_with_the_tail(client: Client, value: str) -> None:
    for write in (
        client.post("s", b"d", if_match=value),
        client.send("POST", client.target("s"), {"If-Match": value, "Stream-Closed": "true"}),
        delete(client, "s", if_match=value),
    ):
        assert told(await write) == (412, "tail-moved", "0000000000000003", HERE)
    assert ((await client.get("s")).body, (await client.head("s")).closed) == (b"abc", False)


async def test_one_of_many_that_compare_wins(client: Client) -> None:
    replies = await asyncio.gather(*(client.post("s", b"d", if_match=HERE) for _ in range(20)))
    assert sorted(reply.status for reply in replies) == [204, *[412] * 19]
    assert (await client.get("s")).body == b"abcd"


async def test_the_tag_of_an_answer_is_the_next_condition(client: Client) -> None:
    tag = "*"
    for _ in range(3):
        tag = (await client.post("s", b"d", if_match=tag)).headers["etag"]
    refused = await client.post("s", b"d", if_match=HERE)
    assert refused.headers["etag"] == tag


async def test_a_close_and_a_deletion_compare(client: Client) -> None:
    closing = {"If-Match": HERE, "Stream-Closed": "true"}
    for _ in range(2):  # a bare close can be repeated
        assert (await client.send("POST", client.target("s"), closing)).status == 204
    moved = await client.send("POST", client.target("s"), {**closing, "If-Match": ELSEWHERE})
    assert (*told(moved)[:2], moved.closed) == (412, "tail-moved", True)
    refused = await delete(client, "s", if_match=ELSEWHERE)
    assert (refused.status, refused.closed) == (412, True)
    assert (await delete(client, "s", if_match=HERE)).status == 204
    assert (await client.head("s")).status == 404


@pytest.mark.parametrize("value", ["", HERE.strip('"'), '"a" "b"', "*, *"])
async def test_a_malformed_condition_is_refused(client: Client, value: str) -> None:
    for reply in (await client.post("s", b"d", if_match=value), await delete(client, "s", if_match=value)):
        assert (reply.status, reply.code) == (400, "invalid-header")
    assert (await client.get("s")).body == b"abc"


async def test_a_producer_does_not_compare(client: Client) -> None:
    assert (await client.post("s", b"d", if_match=HERE, **PRODUCER)).code == "invalid-header"
    assert (await client.get("s")).body == b"abc"


async def test_the_stream_s_own_refusals_come_first_but_for_seq(client: Client) -> None:
    elsewhere = {"if_match": ELSEWHERE}
    assert (await client.post("none", b"d", **elsewhere)).code == "not-found"
    assert (await delete(client, "none", **elsewhere)).code == "not-found"
    assert (await client.post("s", b"d", "text/html", **elsewhere)).code == "content-type-mismatch"
    await client.put("strict", body=b"abc", stream_producer_required="true")
    assert (await client.post("strict", b"d", **elsewhere)).code == "producer-required"
    await client.put("fenced", body=b"abc", stream_write_fence="true")
    assert (await client.post("fenced", b"d", **elsewhere)).code == "write-fenced"
    await client.post("s", b"d", stream_seq="5")
    assert (await client.post("s", b"d", stream_seq="4", **elsewhere)).code == "tail-moved"
    await client.finish("s")
    assert (await client.post("s", b"d", **elsewhere)).code == "stream-closed"


async def test_a_condition_in_several_lines_is_one_list(client: Client) -> None:
    fields = f"Content-Type: text/plain\r\nIf-Match: {ELSEWHERE}\r\nIf-Match: {HERE}\r\nContent-Length: 1\r\n"
    async with client.wire() as wire:
        await wire.send(f"POST {client.target('s')} HTTP/1.1\r\nHost: t\r\n{fields}\r\nd".encode())
        assert (await wire.reply()).status == 204


async def test_lines_of_a_batch_compare(client: Client) -> None:
    line = {"path": "s", "content_type": "text/plain", "body": "d"}
    values = (ELSEWHERE.strip('"'), HERE.strip('"'), HERE, "*", '"0000000000000005", "x"')
    body = "\n".join(json.dumps(line | {"if_match": value}) for value in values).encode()
    outcomes = [
        json.loads(outcome)
        for outcome in (await client.send("POST", client.target("__ds/batch"), {}, body)).body.splitlines()
    ]
    assert [(outcome["status"], outcome.get("code")) for outcome in outcomes] == [
        (412, "tail-moved"),
        (204, None),
        (412, "tail-moved"),
        (204, None),
        (204, None),
    ]
    assert [outcome["next_offset"] for outcome in outcomes] == [f"{tail:016d}" for tail in (3, 4, 4, 5, 6)]


@pytest.mark.parametrize("value", ["", '"a"b', "W/a"])
async def test_a_malformed_condition_in_a_line_refuses_the_batch(client: Client, value: str) -> None:
    line = {"path": "s", "content_type": "text/plain", "body": "d", "if_match": value}
    reply = await client.send("POST", client.target("__ds/batch"), {}, json.dumps(line).encode())
    if value:
        assert (reply.status, reply.code) == (400, "invalid-json")
    else:
        assert json.loads(reply.body)["status"] == 412, "an empty tag is a tag, of nothing"


async def test_a_creation_may_ask_that_nothing_be_there(client: Client) -> None:
    assert (await client.put("new", if_none_match="*")).status == 201
    for content_type in ("text/plain", "text/html"):
        again = await client.put("new", content_type, if_none_match="*")
        assert (again.status, again.code, again.offset) == (412, "already-exists", "0000000000000000")
    assert (await client.put("new")).status == 200, "without the condition it is the same stream"
    assert (await client.put("other", if_none_match='"x"')).code == "invalid-header"
    assert (await client.head("other")).status == 404

"""``Stream-Append-Mode: stream``: one request, appended as it arrives."""

from __future__ import annotations

import gzip
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.http.site import bounded
from tests.http.wire import request_bytes
from tests.operations import effort

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Reply, Wire
    from tests.operations import Effort


class Sending:
    """An upload under way."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def chunk(self, payload: bytes) -> None:
        await self.wire.send(b"%x\r\n%s\r\n" % (len(payload), payload))

    async def end(self) -> Reply:
        await self.wire.send(b"0\r\n\r\n")
        return await self.wire.reply()


@asynccontextmanager
async def upload(
    client: Client, path: str, content_type: str = "application/json", **fields: str
) -> AsyncIterator[Sending]:
    headers = {
        "Content-Type": content_type,
        "Stream-Append-Mode": "stream",
        "Transfer-Encoding": "chunked",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    head = request_bytes("POST", client.target(path), {**headers, "Content-Length": ""})
    async with client.wire() as wire:
        await wire.send(head.replace(b"Content-Length: \r\n", b""))
        yield Sending(wire)


def producer(seq: int, epoch: int = 0) -> dict[str, str]:
    return {"producer_id": "p", "producer_epoch": str(epoch), "producer_seq": str(seq)}


async def test_each_line_is_readable_before_the_next_is_sent(client: Client) -> None:
    await client.put("j", "application/json")
    async with client.events("j", offset="-1") as events, upload(client, "j") as sending:
        await events.control()
        await sending.chunk(b'{"n":1.0}\n')
        assert (await events.pair())[0] == '[{"n":1.0}]'
        await sending.chunk(b'{"n":')
        await sending.chunk(b"2}\n[3,4]\n")
        shown = (await events.pair())[0]
        if shown != '[{"n":2},3,4]':
            assert [shown, (await events.pair())[0]] == ['[{"n":2}]', "[3,4]"]
        await sending.chunk(b"\n \n5")  # no newline behind the last
        reply = await sending.end()
    assert (reply.status, reply.headers["stream-append-count"]) == (204, "4")
    read = await client.get("j")
    assert (read.body, read.offset) == (b'[{"n":1.0},{"n":2},3,4,5]', reply.offset)


async def test_an_upload_of_other_bytes_has_one_seq(site: Site) -> None:
    await site.client.put("t")
    async with upload(site.client, "t", "text/plain", **producer(0)) as sending:
        for part in (b"a", b"b\n", b"c"):
            await sending.chunk(part)
        reply = await sending.end()
    assert (reply.status, reply.headers["producer-seq"], reply.headers["stream-append-count"]) == (200, "0", "3")
    assert (await site.client.get("t")).body == b"ab\nc"
    assert (await site.client.post("t", b"d", **producer(2))).headers["producer-expected-seq"] == "1"
    assert (await site.client.post("t", b"d", **producer(1))).status == 200


async def test_a_broken_upload_sent_again_adds_only_what_was_missing(client: Client) -> None:
    await client.put("j", "application/json")
    lines = [b'{"line":%d}\n' % number for number in range(100)]
    async with client.events("j", offset="-1") as events, upload(client, "j", **producer(0)) as broken:
        await events.control()
        await broken.chunk(b"".join(lines[:40]) + lines[40][:5])
        while not (await events.pair())[0].endswith('{"line":39}]'):
            pass
    async with upload(client, "j", **producer(0), stream_closed="true") as again:
        await again.chunk(b"".join(lines))
        reply = await again.end()
    assert (reply.status, reply.headers["stream-append-count"], reply.closed) == (200, "100", True)
    assert (await client.get("j")).body == b"[" + b",".join(line.strip() for line in lines) + b"]"


async def test_a_refused_line_ends_the_upload_and_keeps_those_before(client: Client) -> None:
    await client.put("j", "application/json")
    async with upload(client, "j") as sending:
        await sending.chunk(b"1\n2\nNaN\n4\n")
        reply = await sending.wire.reply()
        assert (reply.status, reply.code, reply.headers["stream-append-count"]) == (400, "invalid-json", "2")
        await sending.wire.rest()
    assert (await client.get("j")).body == b"[1,2]"


async def test_a_stream_closed_by_another_ends_the_upload(client: Client) -> None:
    await client.put("j", "application/json")
    async with client.events("j", offset="-1") as events, upload(client, "j") as sending:
        await events.control()
        await sending.chunk(b"1\n")
        await events.pair()
        await client.finish("j")
        await sending.chunk(b"2\n")
        reply = await sending.wire.reply()
    assert (reply.status, reply.code, reply.closed) == (409, "stream-closed", True)
    assert reply.headers["stream-append-count"] == "1"


async def test_a_body_with_a_length_works_too(client: Client) -> None:
    await client.put("j", "application/json")
    reply = await client.post("j", b"1\n2\n3", "application/json", stream_append_mode="stream")
    assert (reply.status, reply.headers["stream-append-count"]) == (204, "3")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Stream-Append-Mode": "batch"}, "invalid-header"),
        ({"Stream-Seq": "1"}, "invalid-header"),
        ({"Producer-Id": "p"}, "invalid-header"),
        ({"Content-Type": ""}, "missing-content-type"),
    ],
)
async def test_what_cannot_be_begun_is_refused(client: Client, headers: dict[str, str], code: str) -> None:
    await client.put("j", "application/json")
    fields = {"Content-Type": "application/json", "Stream-Append-Mode": "stream", **headers}
    reply = await client.send("POST", client.target("j"), fields, b"1\n")
    assert (reply.status, reply.code) == (400, code)
    assert (await client.get("j")).body == b"[]"


async def test_nothing_to_append_is_refused(client: Client) -> None:
    await client.put("j", "application/json")
    reply = await client.post("j", b" \n", "application/json", stream_append_mode="stream")
    assert (reply.status, reply.code) == (400, "empty-body")
    assert (await client.post("none", b"1", "application/json", stream_append_mode="stream")).code == "not-found"


@pytest.mark.slow
async def test_a_long_line_in_tiny_pieces_is_put_together_once(client: Client) -> None:
    """Not anew with each of them: behind a long beginning they cost what they cost behind a short one."""
    short = await _tiny_pieces(client, "short", b'"')
    long = await _tiny_pieces(client, "long", b'"' + b"x" * 8_000_000)

    assert long.thread_s < 20 * short.thread_s  # it is hardly more, and put together with each, hundreds of times


async def _tiny_pieces(client: Client, path: str, start: bytes) -> Effort:
    await client.put(path, "application/json")
    async with upload(client, path) as sending:
        await sending.chunk(start)
        with effort() as spent:
            await sending.wire.send(b"1\r\ny\r\n" * 20_000)
            await sending.chunk(b'"\n')
            reply = await sending.end()
    assert (reply.status, reply.headers["stream-append-count"]) == (204, "1")
    assert (await client.get(path)).body == b"[" + start + b"y" * 20_000 + b'"]'
    return spent


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_coded_upload_is_stored_as_what_it_means(client: Client, coding: str, size: int) -> None:
    """As a plain POST does (RFC 9110 §8.4); chunks cut the coded bytes anywhere."""
    lines = [b'{"n":%d}' % number for number in range(200)]
    texts = {"j": ("application/json", b"\n".join(lines)), "t": ("text/plain", b"".join(lines))}
    for path, (content_type, text) in texts.items():
        await client.put(path, content_type)
        packed = PACKERS[coding](text)
        async with upload(client, path, content_type, content_encoding=coding) as sending:
            for start in range(0, len(packed), size):
                await sending.chunk(packed[start : start + size])
            assert (await sending.end()).status == 204
    assert (await client.get("j")).body == b"[" + b",".join(lines) + b"]"
    assert (await client.get("t")).body == b"".join(lines)


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd"])
async def test_an_upload_in_another_coding_is_refused(client: Client, coding: str) -> None:
    await client.put("t")
    reply = await client.post("t", b"x", stream_append_mode="stream", content_encoding=coding)
    assert (reply.status, reply.code) == (400, "invalid-header")
    assert (await client.get("t")).body == b""


@pytest.mark.parametrize(
    "body", [gzip.compress(b"abc")[:-1], gzip.compress(b"abc") + b"x", b"abc"], ids=["cut", "more", "plain"]
)
async def test_an_upload_not_whole_in_its_coding_is_refused(client: Client, body: bytes) -> None:
    """What was read before the fault stays, as before any refusal; the producer can send the upload again."""
    await client.put("t")
    fields = {"stream_append_mode": "stream", **producer(0)}
    reply = await client.post("t", body, content_encoding="gzip", **fields)
    assert (reply.status, reply.code) == (400, "invalid-header")
    assert b"abc".startswith((await client.get("t")).body)
    assert (await client.post("t", gzip.compress(b"abc"), content_encoding="gzip", **fields)).status in {200, 204}
    assert (await client.get("t")).body == b"abc"


async def test_uploads_of_nothing_end(client: Client) -> None:
    """Not only the first of a process: aiohttp has one reader for all that have no body."""
    await client.put("t")
    for _ in range(3):
        assert (await client.post("t", b"", stream_append_mode="stream")).code == "empty-body"
        async with upload(client, "t", "text/plain") as sending:
            assert (await sending.end()).code == "empty-body"


async def test_an_upload_of_nothing_in_a_coding_is_nothing(client: Client) -> None:
    await client.put("t")
    fields = {"stream_append_mode": "stream", "content_encoding": "gzip"}
    assert (await client.post("t", b"", **fields)).code == "empty-body"
    assert (await client.post("t", b"", stream_closed="true", **fields)).closed


async def test_a_few_bytes_that_stand_for_many_are_unpacked_bit_by_bit(run: Run) -> None:
    """50 MB of zeros, a thousandth of that on the wire, where one append may have 1 MiB."""
    async with run(bounds=bounded(max_append_bytes=1 << 20)) as site:
        await site.client.put("t", "application/octet-stream")
        packed = gzip.compress(bytes(50_000_000))
        reply = await site.client.post(
            "t", packed, "application/octet-stream", stream_append_mode="stream", content_encoding="gzip", **producer(0)
        )
        assert (reply.status, int(reply.offset)) == (200, 50_000_000)


async def test_a_chunk_larger_than_an_append_is_several(run: Run) -> None:
    async with run(bounds=bounded(max_append_bytes=10)) as site:
        await site.client.put("t")
        async with upload(site.client, "t", "text/plain") as sending:
            await sending.chunk(b"0123456789abcdefghijklmno")
            reply = await sending.end()
        assert (reply.status, reply.headers["stream-append-count"]) == (204, "3")
        assert (await site.client.get("t")).body == b"0123456789abcdefghijklmno"


@pytest.mark.parametrize("cut", [False, True])
async def test_a_line_is_bounded_however_it_arrives(run: Run, *, cut: bool) -> None:
    async with run(bounds=bounded(max_append_bytes=10)) as site:
        for line, status in ((b'"34567890"', 204), (b'"345678901"', 413)):
            path = f"j{status}"
            await site.client.put(path, "application/json")
            async with upload(site.client, path) as sending:
                for part in (line[:5], line[5:]) if cut else (line,):
                    await sending.chunk(part)
                await sending.chunk(b"\n")
                reply = await (sending.end() if status == 204 else sending.wire.reply())
            assert reply.status == status


async def test_a_condition_is_on_where_the_upload_begins(site: Site) -> None:
    await site.client.put("t", body=b"abc")
    fields = {"stream_append_mode": "stream", "if_match": '"0000000000000003"'}
    granted = await site.client.post("t", b"d" * 600_000, **fields)
    assert (granted.status, granted.headers["etag"]) == (204, f'"{granted.offset}"')
    refused = await site.client.post("t", b"x", **fields)
    assert (refused.status, refused.code, refused.offset) == (412, "tail-moved", granted.offset)
    assert refused.headers["stream-append-count"] == "0"

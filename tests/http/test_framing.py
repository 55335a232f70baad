"""Requests as bytes: what is broken, late or too large is refused or cut, and never written."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from tests.http.site import bounded
from tests.http.wire import request_bytes
from tests.loops import time_passes, turns

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client

TARGET = b"/v1/stream/s"
HOST = b"Host: test\r\n"
TYPE = b"Content-Type: text/plain\r\n"
POST = b"POST " + TARGET + b" HTTP/1.1\r\n" + HOST + TYPE

BROKEN = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\r\n\r\n",
    "version 3": b"GET " + TARGET + b" HTTP/3.0\r\n" + HOST + b"\r\n",
    "unknown method": b"FLY " + TARGET + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in the target": b"GET /v1/stream/a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "header without a colon": b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b"broken\r\n\r\n",
    "header without a name": b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b": x\r\n\r\n",
    "space before the colon": b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b"Stream-Seq : x\r\n\r\n",
    "folded header": b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b"A: x\r\n y\r\n\r\n",
    "NUL in a header": POST + b"Stream-Seq: a\x00b\r\nContent-Length: 1\r\n\r\nx",
    "bare CR in a header": POST + b"Stream-Seq: a\rb\r\nContent-Length: 1\r\n\r\nx",
    "length no number": POST + b"Content-Length: one\r\n\r\nx",
    "length negative": POST + b"Content-Length: -1\r\n\r\nx",
    "length with a sign": POST + b"Content-Length: +1\r\n\r\nx",
    "length twice, differing": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length beyond 64 bits": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nx",
    "tunnel to nowhere": b"CONNECT :: HTTP/1.1\r\n" + HOST + b"\r\n",
    "length and chunked": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "unknown transfer coding": POST + b"Transfer-Encoding: zip\r\n\r\nx",
    "chunk size no number": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nx\r\n0\r\n\r\n",
    "chunk longer than said": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
    "chunk size negative": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "second chunk broken": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\nZ\r\n\r\n",
    "request line too long": b"GET /v1/stream/" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "one header too long": b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
    "too many headers": b"GET " + TARGET + b" HTTP/1.1\r\n" + HOST + b"".join(b"A%d: x\r\n" % n for n in range(5_000)),
    "headers without end": b"GET "
    + TARGET
    + b" HTTP/1.1\r\n"
    + HOST
    + b"".join(b"A: %d\r\n" % n for n in range(90_000)),
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_no_request_is_refused_and_the_connection_ends(fronted: Site, raw: bytes) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"before")

    async with client.wire() as wire:
        wire.writer.write(raw)
        reply = await wire.reply()
        rest = await wire.rest()

    assert 400 <= reply.status < 500
    assert reply.code
    assert rest == b""
    assert reply.headers["access-control-allow-origin"] == "*"
    assert (await client.read_all("s"))[0] == b"before"
    assert (await client.head("s")).offset == f"{6:016d}"


async def test_a_length_with_thousands_of_digits_is_refused(fronted: Site) -> None:
    client = fronted.client
    await client.put("s")
    async with client.wire() as wire:
        await wire.send(POST + b"Content-Length: " + b"0" * 5_000 + b"1\r\n\r\nx")
        assert (await wire.reply()).code == "invalid-header"
    assert (await client.read_all("s"))[0] == b""


async def test_a_broken_request_behind_a_good_one_does_not_take_its_answer(run: Run) -> None:
    async with run(lane=True) as site:
        client = site.client
        await client.put("s")

        async with client.wire() as wire:
            await wire.send(
                request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"x") + b"junk\r\n\r\n"
            )
            good, bad = await wire.reply(), await wire.reply()

        assert (good.status, bad.status) == (204, 400)
        assert (await client.read_all("s"))[0] == b"x"


async def test_requests_in_one_segment_are_answered_in_order(fronted: Site) -> None:
    client = fronted.client
    await client.put("s")
    appends = [
        request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"%03d" % number)
        for number in range(200)
    ]

    async with client.wire() as wire:
        wire.writer.write(b"".join(appends) + request_bytes("GET", client.target("s", offset="-1")))
        offsets = [(await wire.reply("POST")).offset for _ in appends]
        read = await wire.reply()

    assert offsets == [f"{3 * number:016d}" for number in range(1, 201)]
    assert read.body == b"".join(b"%03d" % number for number in range(200))


async def test_a_request_may_come_one_byte_at_a_time(fronted: Site) -> None:
    client = fronted.client
    await client.put("s")
    raw = request_bytes("POST", client.target("s"), {"Content-Type": "text/plain"}, b"hello")

    async with client.wire() as wire:
        for position in range(len(raw)):
            await wire.send(raw[position : position + 1])
            await asyncio.sleep(0)
        assert (await wire.reply("POST")).status == 204

    assert (await client.read_all("s"))[0] == b"hello"


async def test_chunked_bodies_are_one_append(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "application/json")
    head = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    raw = request_bytes("POST", client.target("s"), head).replace(b"Content-Length: 0\r\n", b"")

    async with client.wire() as wire:
        await wire.send(raw)
        for piece in (b'{"a"', b":1", b"}"):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.send(b"0\r\nTrailer: x\r\n\r\n")
        assert (await wire.reply("POST")).status == 204

    assert (await client.read_all("s"))[0] == b'{"a":1}'


async def test_old_clients_without_host_are_served_and_left(fronted: Site) -> None:
    client = fronted.client

    async with client.wire() as wire:
        await wire.send(b"PUT /v1/stream/s HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
        created = await wire.reply("PUT")
        assert await wire.rest() == b""
    async with client.wire() as wire:
        await wire.send(b"GET /v1/stream/s?offset=-1 HTTP/1.0\r\n\r\n")
        read = await wire.reply()
        assert await wire.rest() == b""
    async with client.wire() as wire:
        await wire.send(b"GET /v1/stream/s?offset=-1 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
        assert (await wire.reply()).body == b"hi"
        await wire.send(b"GET /v1/stream/s?offset=-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await wire.reply()).body == b"hi"
        assert await wire.rest() == b""

    assert created.status == 201
    assert created.headers["location"].endswith("/v1/stream/s")
    assert read.body == b"hi"


async def test_a_client_that_waits_for_leave_to_send_gets_it(fronted: Site) -> None:
    """RFC 9110 §10.1.1: a client may hold its body back until 100 (Continue)."""
    client = fronted.client
    await client.put("s")

    async with client.wire() as wire:
        head = {"Content-Type": "text/plain", "Content-Length": "5", "Expect": "100-continue"}
        await wire.send(request_bytes("POST", client.target("s"), head))
        assert (await wire.reply_head()).status == 100
        await wire.send(b"hello")
        assert (await wire.reply("POST")).status == 204

    assert (await client.read_all("s"))[0] == b"hello"


async def test_a_client_that_waits_for_leave_to_send_too_much_does_not_get_it(run: Run) -> None:
    async with run(bounds=bounded(max_append_bytes=100)) as site:
        await site.client.put("s")
        async with site.client.wire() as wire:
            head = {"Content-Type": "text/plain", "Content-Length": "101", "Expect": "100-continue"}
            await wire.send(request_bytes("POST", site.client.target("s"), head))
            assert (await wire.reply("POST")).code == "body-too-large"


async def test_compressed_bodies_are_stored_as_what_they_mean(fronted: Site) -> None:
    """Content-Encoding is the transfer's business: streams hold decoded bytes (§4.2)."""
    client = fronted.client
    await client.put("s")

    reply = await client.post("s", gzip.compress(b"hello"), content_encoding="gzip")

    assert reply.status == 204
    assert (await client.read_all("s"))[0] == b"hello"


NOT_THAT_CODING = {
    "no gzip": ("gzip", b"hello"),
    "gzip cut short": ("gzip", gzip.compress(b"hello")[:-1]),
    "gzip without its check sum": ("gzip", gzip.compress(b"hello")[:-8]),
    "gzip and more": ("gzip", gzip.compress(b"hello") + b"x"),
    "gzip, wrong check sum": ("gzip", gzip.compress(b"hello")[:-8] + bytes(8)),
    "deflate is gzip": ("deflate", gzip.compress(b"hello")),
    "unknown": ("br", b"hello"),
    "two": ("gzip, gzip", gzip.compress(gzip.compress(b"hello"))),
}


@pytest.mark.parametrize(("coding", "body"), NOT_THAT_CODING.values(), ids=NOT_THAT_CODING.keys())
async def test_bodies_not_whole_in_their_coding_are_refused(fronted: Site, coding: str, body: bytes) -> None:
    client = fronted.client
    await client.put("s")

    assert (await client.post("s", body, content_encoding=coding)).code == "invalid-header"
    assert (await client.read_all("s"))[0] == b""


@pytest.mark.parametrize("size", [99, 100, 101])
@pytest.mark.parametrize("kind", ["PUT length", "POST length", "PUT chunked", "POST chunked", "PUT gzip", "POST gzip"])
async def test_bodies_are_bounded_exactly(run: Run, kind: str, size: int) -> None:
    method, coding = kind.split(" ")
    async with run(bounds=bounded(max_append_bytes=100)) as site:
        client = site.client
        if method == "POST":
            await client.put("s")
        fields, body = {"Content-Type": "text/plain"}, b"x" * size
        if coding == "chunked":
            fields["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        elif coding == "gzip":
            fields["Content-Encoding"] = "gzip"
            body = gzip.compress(body)
        raw = request_bytes(method, client.target("s"), fields, body)
        if coding == "chunked":
            raw = raw.replace(b"Content-Length: %d\r\n" % len(body), b"")

        async with client.wire() as wire:
            await wire.send(raw)
            reply = await wire.reply(method)

        if size <= 100:
            assert reply.status in {201, 204}
            assert (await client.head("s")).offset == f"{size:016d}"
        else:
            assert (reply.status, reply.code) == (413, "body-too-large")
            assert (await client.head("s")).headers.get("stream-next-offset", "0" * 16) == "0" * 16


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_too_large_is_said_before_it_was_all_read(run: Run, coding: str) -> None:
    """The answer comes although most of the body was never sent, and then the connection ends."""
    async with run(bounds=bounded(max_append_bytes=100_000)) as site:
        client = site.client
        await client.put("s")
        fields = {"Content-Type": "text/plain", "Content-Length": str(1 << 40)}
        raw = request_bytes("POST", client.target("s"), fields)
        piece = b"x" * 100_001
        if coding == "chunked":
            raw = raw.replace(b"Content-Length: %d" % (1 << 40), b"Transfer-Encoding: chunked")
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)

        async with client.wire() as wire:
            await wire.send(raw + piece)
            reply = await wire.reply("POST")
            assert (reply.status, reply.code) == (413, "body-too-large")
            assert reply.headers["connection"] == "close"
            assert await wire.rest() == b""
        assert (await client.head("s")).offset == "0" * 16


async def test_a_small_body_that_unpacks_beyond_the_bound_is_too_large(run: Run) -> None:
    async with run(bounds=bounded(max_append_bytes=100_000)) as site:
        await site.client.put("s")

        reply = await site.client.post("s", gzip.compress(bytes(50_000_000)), content_encoding="gzip")

        assert reply.code == "body-too-large"
        assert (await site.client.head("s")).offset == "0" * 16


REQUEST_TIMEOUT_S = 30

SLOW = {
    "silence": (b"", b""),
    "head": (b"", POST + b"Content-Length: 1\r\n\r\nx"),
    "length body": (POST + b"Content-Length: 500\r\n\r\n", b"x" * 500),
    "chunked body": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 200),
    "second head": (POST + b"Content-Length: 1\r\n\r\nx", POST * 20),
    "second body": (POST + b"Content-Length: 1\r\n\r\nx" + POST + b"Content-Length: 500\r\n\r\n", b"x" * 500),
    "second head after chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", POST * 20),
    "large body": (POST + b"Content-Length: 2000000\r\n\r\n", b"x" * 500),
    "header without end": (b"GET " + TARGET + b" HTTP/1.1\r\nA: ", b"x" * 500),
}


@pytest.mark.still_time
@pytest.mark.parametrize("how", SLOW)
async def test_a_client_that_sends_a_byte_now_and_then_is_cut(run: Run, lane: bool, how: str) -> None:  # noqa: FBT001
    """None stays longer than its request may take, nor has written more than its whole requests."""
    # A connection that has said nothing is idle; the bound on idle ones must not do the work of that on requests.
    idle_s = REQUEST_TIMEOUT_S if how == "silence" else 100 * REQUEST_TIMEOUT_S
    bounds = bounded(request_timeout_ms=REQUEST_TIMEOUT_S * 1000, keepalive_timeout_ms=idle_s * 1000)
    at_once, slowly = SLOW[how]
    async with run(bounds=bounds, lane=lane) as site, site.client.wire() as wire:
        await site.client.put("s")
        await wire.send(at_once)
        reading = asyncio.create_task(wire.rest())
        if "second" in how:  # its commit takes the disk's time, while that of the loop stands still
            while (await site.client.head("s")).offset == "0" * 16:
                pass
        await turns()
        ticks_count = 0
        while not reading.done():
            wire.writer.write(slowly[ticks_count : ticks_count + 1])
            await time_passes(1)
            ticks_count += 1
            assert ticks_count < 2 * REQUEST_TIMEOUT_S + 5, "one timeout for the request before, one for this"

        assert ticks_count >= REQUEST_TIMEOUT_S
        assert "second" in how or not reading.result().startswith(b"HTTP/1.1 204")
        assert (await site.client.read_all("s"))[0] == (b"x" if "second" in how else b"")


async def test_a_client_that_leaves_amid_its_body_has_written_nothing(fronted: Site) -> None:
    client = fronted.client
    await client.put("s")
    for raw in (
        POST + b"Content-Length: 10\r\n\r\nhello",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        POST + b"Content-Length: 2000000\r\n\r\nhello",
    ):
        async with client.wire() as wire:
            await wire.send(raw)
            wire.writer.write_eof()
            assert not (await wire.rest()).startswith(b"HTTP/1.1 2")

    assert (await client.read_all("s"))[0] == b""


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/stream/a%20b", "a b"),
        ("/v1/stream/a%2Fb", "a/b"),
        ("/v1/stream/%61%62", "ab"),
        ("/v1/stream/a%252Fb", "a%2Fb"),
        ("/v1/stream/a%zz", "a%zz"),
        ("/v1/stream/a+b", "a+b"),
        ("/v1/stream/a;b=c", "a;b=c"),
        ("/v1/stream/a:b@c", "a:b@c"),
        ("/v1/stream/%C3%BC/%F0%9F%98%80", "ü/😀"),
        ("/v1/stream/...", "..."),
        ("/v1/stream/a%3Fb%23c", "a?b#c"),
        ("/v1/stream/a%22%3C%3E", 'a"<>'),
        ("/v1/stream/a/__ds", "a/__ds"),
        ("/v1/stream/__dsx", "__dsx"),
        ("/v1/stream/" + "%C3%A9" * 240, "é" * 240),
        ("/v1/stream/" + "x" * 480, "x" * 480),
    ],
)
async def test_paths_are_decoded_once(fronted: Site, target: str, path: str) -> None:
    client = fronted.client

    created = await client.send("PUT", target, {"Content-Type": "text/plain"}, b"x")

    assert created.status == 201
    assert created.headers["location"] == f"http://test{target}"
    [head] = fronted.engine.scan("", "", 10)
    assert head.path == path
    assert (await client.send("GET", target + "?offset=-1")).body == b"x"
    fork = {"Stream-Forked-From": target}
    assert (await client.send("PUT", client.target("fork"), fork)).status == 201


@pytest.mark.parametrize(
    "raw", ["/v1/stream/\u00fc", "/v1/stream/\udcff", "/v1/stream/a\\b", "/v1/stream/a|b", "/v1/stream/^"]
)
async def test_targets_that_should_have_been_encoded_do_no_harm(fronted: Site, raw: str) -> None:
    reply = await fronted.client.send("PUT", raw, {"Content-Type": "text/plain"})

    assert reply.status in {201, 400}
    if reply.status == 400:
        assert reply.code
    else:
        assert (await fronted.client.send("HEAD", raw)).status == 200


async def test_absolute_targets_name_the_same_stream(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"x")

    assert (await client.send("GET", f"http://test{client.target('s', offset='-1')}")).body == b"x"
    assert (await client.send("OPTIONS", "*")).status == 204


@pytest.mark.parametrize(
    ("root", "path", "streams"),
    [
        ("/", "/", "/"),
        ("/a", "/a/", "/a/"),
        ("a/b", "/a/b/", "/a/b/"),
        ("/a/b/", "/a/b/", "/a/b/"),
        ("/v1/stream", "/v1/stream/", "/v1/stream/"),
    ],
)
async def test_any_root_will_do(run: Run, lane: bool, root: str, path: str, streams: str) -> None:  # noqa: FBT001, PLR0917
    async with run(root=root, lane=lane) as site:
        client = site.client
        assert (await client.send("PUT", f"{path}s", {"Content-Type": "text/plain"}, b"x")).status == 201
        assert (await client.send("GET", f"{path}s?offset=-1")).body == b"x"
        assert (await client.send("GET", f"{path}__ds/streams")).status == 200
        assert (await client.send("PUT", f"{path}fork", {"Stream-Forked-From": f"{streams}s"})).status == 201
        assert (await client.send("GET", "/healthz")).status == 200
        assert (await client.send("GET", "/readyz")).status == 200
        assert site.server.url.endswith(path.rstrip("/") or "/")


async def test_outside_the_root_there_is_nothing(fronted: Site) -> None:
    for target in (
        "/",
        "/v1",
        "/v1/stream",
        "/v1/streams/a",
        "/v1/stream2",
        "/favicon.ico",
        "/V1/stream/a",
        "//v1/stream/a",
    ):
        reply = await fronted.client.send("GET", target)
        assert (target, reply.status, reply.code) == (target, 404, "not-found")


async def test_health_has_its_names_to_itself(run: Run, lane: bool) -> None:  # noqa: FBT001
    """With the root `/`, no stream can be made where a health check would hide it."""
    async with run(root="/", lane=lane) as site:
        for name in ("healthz", "readyz"):
            assert (await site.client.put(name)).status >= 400
            assert (await site.client.post(name, b"x")).status >= 400
        assert site.engine.scan("", "", 10) == []


async def test_every_answer_may_be_read_across_origins_and_is_not_sniffed(fronted: Site) -> None:
    client = fronted.client
    replies = [
        await client.put("s", "text/plain", b"x"),
        await client.post("s", b"y"),
        await client.get("s", offset="-1"),
        await client.head("s"),
        await client.get("__ds/streams"),
        await client.send("GET", "/healthz"),
        await client.delete("s"),
        await client.get("s"),
    ]
    await client.put("t")
    async with client.events("t", offset="-1") as events:
        replies.append(events.head)

    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
        exposed = reply.headers["access-control-expose-headers"].lower()
        assert {"stream-next-offset", "stream-closed", "etag"} <= set(exposed.split(", "))


async def test_extensions_are_named_where_clients_look(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "application/json")
    for reply in (await client.head("s"), await client.get("s", offset="-1"), await client.get("s", offset="now")):
        assert {"tail", "list"} <= set(reply.headers["stream-extensions"].split(", "))
    async with client.events("s", offset="-1") as events:
        assert "tail" in events.head.headers["stream-extensions"]


@pytest.mark.still_time
async def test_a_client_that_sends_and_never_reads_is_held_and_then_cut(run: Run, lane: bool) -> None:  # noqa: FBT001
    """Requests are not taken in without bound while their answers are not taken out."""
    async with run(bounds=bounded(write_timeout_ms=30_000), lane=lane) as site:
        client: Client = site.client
        await client.put("s", "text/plain", bytes(60_000))
        ask = request_bytes("GET", client.target("s", offset="-1"))

        async with client.wire() as wire:
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]

            async def send_on() -> None:
                taken = 0
                while taken < 24 * 1024 * 1024:
                    wire.writer.write(ask * 1000)
                    await wire.writer.drain()
                    taken += len(ask) * 1000

            sending = asyncio.create_task(send_on())
            await time_passes(20)
            assert not sending.done(), "it is held"
            while not sending.done():
                await time_passes(20)
            assert isinstance(sending.exception(), ConnectionError), "requests are taken in without bound"
        assert (await client.head("s")).status == 200

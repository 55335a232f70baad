"""Bad input: every row is refused with its status and its stable code, and nothing of it is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from tests.http.wire import Reply, request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client

MESSAGES = b'{"a":1},[2,3],"x,y",'
"""What the stream ``json`` holds before each row, as stored."""
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}


class Row(NamedTuple):
    """One request that is refused. ``path`` is relative to the root and goes on the wire as it is."""

    name: str
    method: str
    path: str
    status: int
    code: str
    headers: Mapping[str, str] = {}
    body: bytes = b""


def claim(producer_id: str = "p", epoch: str = "0", seq: str = "0") -> dict[str, str]:
    return {"Producer-Id": producer_id, "Producer-Epoch": epoch, "Producer-Seq": seq}


def without(fields: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in names}


def reads() -> list[Row]:
    bad_offsets = {
        "empty": "",
        "word": "abc",
        "minus two": "-2",
        "short": "0",
        "long": "0" * 17,
        "sign": "+000000000000001",
        "space": "0000000000000%2000",
        "arabic digits": "%D9%A0" * 16,
        "two numbers": "0000000000000001_0000000000000000",
        "NOW": "NOW",
        "not UTF-8": "%FF",
        "path": "../x",
    }
    inside = {
        "first byte of a message": 1,
        "nested": 10,
        "in a string": 16,
        "on a comma": 7,
        "in a string, at a comma": 17,
    }
    rows = [
        Row(f"offset {name}{' ' + live if live else ''}", "GET", f"json?offset={value}{suffix}", 400, "invalid-offset")
        for name, value in bad_offsets.items()
        for live, suffix in (("", ""), ("sse", "&live=sse"), ("long-poll", "&live=long-poll"))
    ]
    rows += [
        Row(f"offset {name} {live}", "GET", f"json?offset={at:016d}{live}", 400, "offset-inside-message")
        for name, at in inside.items()
        for live in ("", "&live=sse", "&live=long-poll")
    ]
    rows += [
        Row(f"offset beyond{live}", "GET", f"json?offset={len(MESSAGES) + 1:016d}{live}", 400, "offset-beyond-tail")
        for live in ("", "&live=sse", "&live=long-poll")
    ]
    queries = {
        "offset twice": "offset=-1&offset=-1",
        "live without offset": "live=sse",
        "long-poll without offset": "live=long-poll",
        "live unknown": "offset=-1&live=websocket",
        "live empty": "offset=-1&live=",
        "live twice": "offset=-1&live=sse&live=sse",
        "tail and offset": "tail=1&offset=-1",
        "tail negative": "tail=-1",
        "tail empty": "tail=",
        "tail word": "tail=all",
        "tail of no bound": "tail=10001",
        "tail huge": "tail=" + "9" * 40,
        "tail twice": "tail=1&tail=1",
        "tail float": "tail=1.5",
    }
    rows += [Row(name, "GET", f"json?{query}", 400, "invalid-query") for name, query in queries.items()]
    rows += [Row("tail on text", "GET", "text?tail=1", 400, "invalid-query")]
    rows += [Row(f"{method} unknown", method, "no/such", 404, "not-found") for method in ("GET", "DELETE")]
    rows += [
        Row("append to unknown", "POST", "no/such", 404, "not-found", TEXT, b"x"),
        Row("close unknown", "POST", "no/such", 404, "not-found", {"Stream-Closed": "true"}),
    ]
    return rows


def paths() -> list[Row]:
    bad = {
        "empty": "",
        "only a slash": "/",
        "empty segment": "a//b",
        "trailing slash": "a/",
        "dot": "a/./b",
        "dots": "a/../b",
        "dots encoded": "a/%2e%2E/b",
        "dots first": "../x",
        "slash encoded into an empty segment": "a%2F%2Fb",
        "NUL": "a%00b",
        "newline": "a%0Ab",
        "DEL": "a%7Fb",
        "not UTF-8": "a%FFb",
        "surrogate": "a%ED%A0%80b",
        "overlong": "a%C0%AFb",
    }
    rows = [
        Row(f"{method} path {name}", method, path, 400, "invalid-path", TEXT)
        for name, path in bad.items()
        for method in ("PUT", "GET")
    ]
    rows += [
        Row(f"path of {length} bytes as {name}", method, path, 414, "path-too-long", TEXT)
        for name, path, length in (
            ("ASCII", "x" * 481, 481),
            ("escapes", "%C3%A9" * 241, 482),
            ("many segments", "x/" * 300 + "x", 601),
        )
        for method in ("PUT", "GET")
    ]
    rows += [
        Row(f"{method} {path}", method, path, 400, "reserved-path", TEXT, b"x")
        for method in ("PUT", "POST")
        for path in ("__ds", "__ds/streams/x", "__ds/a", "%5F%5Fds/a", "__ds%2Fa")
    ]
    return rows


def appends() -> list[Row]:
    bad_json = {
        "text": b"hello",
        "trailing garbage": b'{"a":1} x',
        "two values": b"1 2",
        "trailing comma": b"[1,]",
        "leading comma": b"[,1]",
        "unterminated": b'{"a":',
        "single quotes": b"{'a':1}",
        "NaN": b"NaN",
        "NaN within": b'{"a":[NaN]}',
        "Infinity": b"Infinity",
        "minus Infinity": b"[-Infinity]",
        "not UTF-8": b'"\xff"',
        "control character": b'"a\x01b"',
        "newline in a string": b'"a\nb"',
        "only space": b"  \n",
        "leading zero": b"01",
        "bare minus": b"-",
        "comment": b"[1] // x",
        "number no double can hold": b"1e400",
        "byte order mark": b"\xef\xbb\xbf1",
        "nested arrays": b"[" * 100_000 + b"]" * 100_000,
        "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "nested just too deep": b"[" * 901 + b"]" * 901,
        "nested objects just too deep": b'{"a":' * 901 + b"1" + b"}" * 901,
        "unbalanced deep": b"[" * 100_000,
    }
    rows = [
        Row(f"{method} JSON {name}", method, path, 400, "invalid-json", JSON, body)
        for name, body in bad_json.items()
        for method, path in (("POST", "json"), ("PUT", "fresh"))
    ]
    rows += [
        Row("empty array", "POST", "json", 400, "empty-batch", JSON, b"[]"),
        Row("empty array with space", "POST", "json", 400, "empty-batch", JSON, b" [ \n ] "),
        Row("empty array and close", "POST", "json", 400, "empty-batch", {**JSON, "Stream-Closed": "true"}, b"[]"),
        Row("empty body", "POST", "text", 400, "empty-body", TEXT),
        Row("empty body, not quite closed", "POST", "text", 400, "empty-body", {**TEXT, "Stream-Closed": "yes"}),
        Row("no content type", "POST", "text", 400, "missing-content-type", {}, b"x"),
        Row("blank content type", "POST", "text", 400, "missing-content-type", {"Content-Type": " "}, b"x"),
        Row("other content type", "POST", "text", 409, "content-type-mismatch", JSON, b"1"),
        Row("JSON stream, text body", "POST", "json", 409, "content-type-mismatch", TEXT, b"1"),
        Row("wrong type before wrong JSON", "POST", "text", 409, "content-type-mismatch", JSON, b"{"),
        Row("closed before wrong type", "POST", "closed", 409, "stream-closed", JSON, b"1"),
        Row("closed before wrong JSON", "POST", "closed-json", 409, "stream-closed", JSON, b"{"),
        Row("closed, body and close", "POST", "closed", 409, "stream-closed", {**TEXT, "Stream-Closed": "true"}, b"x"),
        Row("stream seq again", "POST", "text", 409, "stream-seq-conflict", {**TEXT, "Stream-Seq": "b"}, b"x"),
        Row("stream seq back", "POST", "text", 409, "stream-seq-conflict", {**TEXT, "Stream-Seq": "a9"}, b"x"),
        Row("stream seq empty", "POST", "text", 400, "invalid-header", {**TEXT, "Stream-Seq": ""}, b"x"),
        Row("stream seq long", "POST", "text", 400, "invalid-header", {**TEXT, "Stream-Seq": "9" * 1025}, b"x"),
        Row("stream seq not UTF-8", "POST", "text", 400, "invalid-header", {**TEXT, "Stream-Seq": "\udcff"}, b"x"),
        Row("PATCH", "PATCH", "text", 405, "method-not-allowed", TEXT, b"x"),
        Row("TRACE", "TRACE", "text", 405, "method-not-allowed"),
        Row("list by POST", "POST", "__ds/streams", 405, "method-not-allowed", TEXT, b"x"),
    ]
    return rows


def producers() -> list[Row]:
    good = claim()
    halves = [
        Row(
            f"producer without {' and '.join(names)}",
            "POST",
            "text",
            400,
            "invalid-header",
            without(good, *names),
            b"x",
        )
        for names in (
            ("Producer-Id",),
            ("Producer-Epoch",),
            ("Producer-Seq",),
            ("Producer-Id", "Producer-Epoch"),
            ("Producer-Id", "Producer-Seq"),
            ("Producer-Epoch", "Producer-Seq"),
        )
    ]
    numbers = {
        "negative": "-1",
        "plus": "+1",
        "word": "one",
        "float": "1.0",
        "exponent": "1e3",
        "hex": "0x1",
        "empty": "",
        "2^53": str(2**53),
        "huge": "9" * 60,
        "arabic": "\u0661",
    }
    bad = [
        Row(f"{field} {name}", "POST", "text", 400, "invalid-header", {**good, field: value}, b"x")
        for name, value in numbers.items()
        for field in ("Producer-Epoch", "Producer-Seq")
    ]
    ids = {"empty": "", "long": "p" * 401, "long in UTF-8": "é" * 201, "not UTF-8": "p\udcff"}
    bad += [
        Row(f"Producer-Id {name}", "POST", "text", 400, "invalid-header", claim(value), b"x")
        for name, value in ids.items()
    ]
    bad += [
        Row("first seq not 0", "POST", "text", 409, "producer-gap", claim(seq="1"), b"x"),
        Row("gap", "POST", "text", 409, "producer-gap", claim("known", "1", "2"), b"x"),
        Row("fenced", "POST", "text", 403, "stale-epoch", claim("known", "0", "5"), b"x"),
        Row("new epoch not at 0", "POST", "text", 400, "epoch-must-start-at-zero", claim("known", "2", "1"), b"x"),
    ]
    return [row._replace(headers={**TEXT, **row.headers}) for row in (*halves, *bad)]


def creations() -> list[Row]:
    ttls = ("-1", "+60", "060", "60.0", "6e1", "", "sixty", "0x3c", "1 0", "60s", str(2**53), "9" * 40)
    times = (
        "",
        "tomorrow",
        "1800000000",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "2030-13-01T00:00:00Z",
        "2030-02-30T00:00:00Z",
        "2030-01-01T24:01:00Z",
        "2030-01-01T00:00:00+25:00",
        "2030-01-01 00:00:00Z",
        "20300101T000000Z",
        "Tue, 01 Jan 2030 00:00:00 GMT",
    )
    rows = [Row(f"TTL {value!r}", "PUT", "fresh", 400, "invalid-header", {"Stream-TTL": value}) for value in ttls]
    rows += [
        Row(f"expires at {value!r}", "PUT", "fresh", 400, "invalid-header", {"Stream-Expires-At": value})
        for value in times
    ]
    both = {"Stream-TTL": "60", "Stream-Expires-At": "2030-01-01T00:00:00Z"}
    rows += [
        Row("TTL and expires at", "PUT", "fresh", 400, "invalid-header", both),
        Row("other type exists", "PUT", "text", 409, "stream-exists", JSON),
        Row("other TTL exists", "PUT", "text", 409, "stream-exists", {**TEXT, "Stream-TTL": "9"}),
        Row("closed where open", "PUT", "text", 409, "stream-exists", {**TEXT, "Stream-Closed": "true"}),
        Row("open where closed", "PUT", "closed", 409, "stream-exists", TEXT),
        Row("content type not ASCII", "PUT", "fresh", 400, "invalid-header", {"Content-Type": "text/pl\u00e4in"}),
        Row("content type not UTF-8", "PUT", "fresh", 400, "invalid-header", {"Content-Type": "text/\udcff"}),
        Row(
            "append type not UTF-8", "POST", "text", 409, "content-type-mismatch", {"Content-Type": "text/\udcff"}, b"x"
        ),
    ]
    return rows


def forks() -> list[Row]:
    source = {"Stream-Forked-From": "/v1/stream/json"}
    offsets = {
        "word": "abc",
        "now": "now",
        "short": "12",
        "empty": "",
        "two numbers": "0000000000000001_0000000000000000",
    }
    rows = [
        Row(f"fork offset {name}", "PUT", "fresh", 400, "invalid-offset", {**source, "Stream-Fork-Offset": value})
        for name, value in offsets.items()
    ]
    subs = ("-1", "+1", "1.5", "x", "", str(2**53))
    rows += [
        Row(
            f"fork sub-offset {value!r}",
            "PUT",
            "fresh",
            400,
            "invalid-header",
            {**source, "Stream-Fork-Sub-Offset": value},
        )
        for value in subs
    ]
    rows += [
        Row("fork of nothing", "PUT", "fresh", 404, "not-found", {"Stream-Forked-From": "/v1/stream/no"}),
        Row("fork outside the root", "PUT", "fresh", 404, "not-found", {"Stream-Forked-From": "/other/json"}),
        Row("fork of a URL", "PUT", "fresh", 404, "not-found", {"Stream-Forked-From": "http://x/v1/stream/json"}),
        Row("fork of a bad path", "PUT", "fresh", 404, "not-found", {"Stream-Forked-From": "/v1/stream/a//b"}),
        Row("fork of no UTF-8", "PUT", "fresh", 404, "not-found", {"Stream-Forked-From": "/v1/stream/\udcff"}),
        Row("fork offset alone", "PUT", "fresh", 400, "invalid-header", {"Stream-Fork-Offset": "-1"}),
        Row("fork sub-offset alone", "PUT", "fresh", 400, "invalid-header", {"Stream-Fork-Sub-Offset": "1"}),
        Row("fork of another type", "PUT", "fresh", 409, "content-type-mismatch", {**source, **TEXT}),
        Row("fork of a deleted source", "PUT", "fresh", 409, "source-gone", {"Stream-Forked-From": "/v1/stream/gone"}),
        Row("onto a deleted source", "PUT", "gone", 409, "path-blocked", TEXT),
        *(
            Row(f"{method} a deleted source", method, "gone", 410, "gone", TEXT, body)
            for method, body in (("GET", b""), ("POST", b"x"), ("DELETE", b""))
        ),
        Row(
            "fork beyond the tail",
            "PUT",
            "fresh",
            400,
            "offset-beyond-tail",
            {**source, "Stream-Fork-Offset": f"{len(MESSAGES) + 1:016d}"},
        ),
        Row(
            "fork inside a message",
            "PUT",
            "fresh",
            400,
            "offset-inside-message",
            {**source, "Stream-Fork-Offset": f"{3:016d}"},
        ),
        Row(
            "fork past the last message",
            "PUT",
            "fresh",
            400,
            "sub-offset-beyond-tail",
            {**source, "Stream-Fork-Offset": "-1", "Stream-Fork-Sub-Offset": "4"},
        ),
        Row("fork with a wrong body", "PUT", "fresh", 400, "invalid-json", {**source, **JSON}, b"{"),
        Row("fork with a body of no type", "PUT", "fresh", 400, "invalid-header", source, b"1"),
    ]
    return rows


def listings() -> list[Row]:
    limits = ("0", "-1", "x", "", "1001", "9" * 30, "1.0")
    rows = [
        Row(f"list limit {value!r}", "GET", f"__ds/streams?limit={value}", 400, "invalid-query") for value in limits
    ]
    rows += [
        Row("list with a parameter twice", "GET", "__ds/streams?limit=1&limit=2", 400, "invalid-query"),
        Row("no such control resource", "GET", "__ds/nothing", 404, "not-found"),
    ]
    return rows


GROUPS = [reads, paths, appends, producers, creations, forks, listings]


async def prepare(client: Client) -> None:
    """Put the streams there that rows speak of."""
    for reply in (
        await client.put("json", "application/json", b"[" + MESSAGES[:-1] + b"]"),
        await client.put("text", "text/plain", b"hello"),
        await client.post("text", b"!", stream_seq="b"),
        await client.post("text", b"?", producer_id="known", producer_epoch="1", producer_seq="0"),
        await client.put("closed", "text/plain", b"end", stream_closed="true"),
        await client.put("closed-json", "application/json", b"1", stream_closed="true"),
        await client.put("gone", "text/plain", b"source"),
        await client.fork("heir", "gone"),
        await client.delete("gone"),
    ):
        assert reply.status < 300, reply


async def everything(client: Client) -> object:
    """Return all that can be seen of all streams: metadata and bytes."""
    listed = orjson.loads((await client.get("__ds/streams", limit=1000)).body)
    seen = []
    for stream in listed["streams"]:
        head = await client.head(stream["path"])
        fields = {name: value for name, value in head.headers.items() if name != "date"}
        seen.append((stream, fields, (await client.read_all(stream["path"]))[0]))
    return seen


async def send(client: Client, row: Row) -> Reply:
    return await client.send(row.method, client.target(row.path), row.headers, row.body)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
@pytest.mark.parametrize("kind", ["memory-lane", "lmdb-lane", "lmdb-aiohttp"])
async def test_every_row_is_refused_and_nothing_is_written(run: Run, kind: str, group: Callable[[], list[Row]]) -> None:
    async with run(engine="lmdb" if "lmdb" in kind else "memory", lane="lane" in kind) as site:
        await check_rows(site.client, group())


async def check_rows(client: Client, rows: list[Row]) -> None:
    await prepare(client)
    before = await everything(client)
    wrong: list[object] = []

    for row in rows:
        reply = await send(client, row)
        try:
            got = (reply.status, reply.code)
        except (AssertionError, KeyError, ValueError) as fault:
            got = (reply.status, f"no problem+json: {fault}")
        if got != (row.status, row.code):
            wrong.append((row.name, got, "wanted", (row.status, row.code)))
        if reply.headers.get("access-control-allow-origin") != "*":
            wrong.append((row.name, "no CORS"))
        if reply.headers.get("cache-control") != "no-store" or reply.headers.get("x-content-type-options") != "nosniff":
            wrong.append((row.name, "may be cached or sniffed"))

    assert not wrong, "\n" + "\n".join(map(str, wrong))
    assert await everything(client) == before


async def test_a_refused_row_on_a_kept_connection_leaves_it_usable(fronted: Site) -> None:
    client = fronted.client
    await prepare(client)
    rows = [row for group in GROUPS for row in group() if row.method != "HEAD"]

    async with client.wire() as wire:
        for row in rows:
            await wire.send(request_bytes(row.method, client.target(row.path), row.headers, row.body))
            reply = await wire.reply(row.method)
            assert (row.name, reply.status) == (row.name, row.status)
            assert "connection" not in reply.headers, row.name
        await wire.send(request_bytes("GET", client.target("text", offset="-1")))
        assert (await wire.reply()).body == b"hello!?"


async def test_refusals_carry_what_their_section_promises(client: Client) -> None:
    await prepare(client)

    closed = await client.post("closed", b"x")
    assert (closed.closed, closed.offset) == (True, f"{3:016d}")

    gap = await send(client, Row("", "POST", "text", 0, "", {**TEXT, **claim("known", "1", "7")}, b"x"))
    assert (gap.headers["producer-expected-seq"], gap.headers["producer-received-seq"]) == ("1", "7")

    stale = await send(client, Row("", "POST", "text", 0, "", {**TEXT, **claim("known", "0", "0")}, b"x"))
    assert stale.headers["producer-epoch"] == "1"

    assert (await client.send("PATCH", client.target("text"))).headers["allow"]


async def test_a_refused_head_has_no_body(fronted: Site) -> None:
    client = fronted.client
    async with client.wire() as wire:
        for _ in range(2):
            await wire.send(request_bytes("HEAD", client.target("no/such")))
            assert (await wire.reply("HEAD")).status == 404


async def test_a_refused_fork_leaves_no_reference_behind(client: Client) -> None:
    """A source whose only forks were refused goes at once when it is deleted, and its path is free."""
    await prepare(client)
    for row in forks():
        if row.path == "fresh":
            await send(client, row)

    assert (await client.delete("json")).status == 204
    assert (await client.head("json")).status == 404
    assert (await client.put("json", "text/plain")).status == 201


async def test_a_refused_append_leaves_no_producer_state_behind(client: Client) -> None:
    """The retry of an append that was refused is not taken for a duplicate of it."""
    await client.put("s", "application/json")
    fields = {"producer_id": "p", "producer_epoch": "0", "producer_seq": "0", "stream_seq": "a"}

    assert (await client.post("s", b"{", "application/json", **fields)).code == "invalid-json"
    assert (await client.post("s", b"1", "text/plain", **fields)).code == "content-type-mismatch"
    assert (await client.post("s", b"1", "application/json", **fields)).status == 200
    assert (await client.post("s", b"1", "application/json", **fields)).status == 204
    assert (await client.read_all("s"))[0] == b"1"

    conflict = {**fields, "producer_seq": "1"}
    assert (await client.post("s", b"2", "application/json", **conflict)).code == "stream-seq-conflict"
    assert (await client.post("s", b"2", "application/json", **{**conflict, "stream_seq": "b"})).status == 200


async def test_refusals_within_one_batch_leave_their_neighbours_alone(client: Client) -> None:
    """Good and bad appends sent at once share commits; each gets its own answer."""
    await client.put("s", "application/json")
    bodies = [b"%d" % number if number % 2 else b"{" for number in range(100)]

    replies = await asyncio.gather(*(client.post("s", body, "application/json") for body in bodies))

    assert [reply.status for reply in replies] == [204 if number % 2 else 400 for number in range(100)]
    kept, _ = await client.read_all("s")
    assert sorted(int(message) for message in kept.split(b",")) == list(range(1, 100, 2))


async def test_null_is_a_message_like_any_other(client: Client) -> None:
    assert (await client.put("s", "application/json", b"null")).status == 201
    assert (await client.post("s", b"null", "application/json")).status == 204
    assert (await client.post("s", b"[null, null]", "application/json")).status == 204

    assert orjson.loads((await client.get("s", offset="-1")).body) == [None] * 4


@pytest.mark.parametrize("value", ["1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
async def test_an_expiry_of_long_ago_is_over_at_once_and_harms_nobody(site: Site, value: str) -> None:
    client = site.client

    assert (await client.put("old", "text/plain", b"x", stream_expires_at=value)).status == 201
    assert (await client.head("old")).status == 404
    await site.upkeep()

    assert site.engine.scan("", "", 10) == []
    assert (await client.put("new", "text/plain")).status == 201


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"])
async def test_an_expiry_at_the_end_of_the_calendar_can_be_asked_back(client: Client, value: str) -> None:
    created = await client.put("s", "text/plain", stream_expires_at=value)

    if created.status == 201:
        assert (await client.head("s")).headers["stream-expires-at"].startswith("9999-12-31T")
        assert len((await client.get("__ds/streams")).body) > 10
    else:
        assert created.code == "invalid-header"


async def test_the_longest_ttl_never_ends(site: Site) -> None:
    assert (await site.client.put("s", "text/plain", stream_ttl=str(2**53 - 1))).status == 201
    site.clock.advance_ms(10**13)

    assert (await site.client.head("s")).headers["stream-ttl"] == str(2**53 - 1)
    assert (await site.client.get("s", offset="-1")).status == 200

"""Server-sent events: every byte once and in order, nothing forged, the end told last (§5.8)."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.offsets import format_offset
from tests.http.site import bounded, until
from tests.http.wire import request_bytes
from tests.loops import time_passes
from tests.patience import HANG_S

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client, Event, Events

FORGERIES = [
    "\n\nevent: control\ndata: {}\n\n",
    "\r\n\r\nevent: control\r\ndata: {}\r\n\r\n",
    "\r\revent: control\rdata: {}\r\r",
    "x\rdata:y",
    "\n",
    "\r",
    "\r\n",
    "\n\r",
    " leading space",
    "  two\n   three",
    "\n leading\n: comment\nid: 5\nretry: 1\n",
    "tab\there: colon",
    "",
    "trailing\n",
    "\u2028line separator\u0085next\x0b\x0c",
    "\ufeffmark",
    "\x00\x01",
]
UTF8 = "aé€😀\u0000z\U0010ffff".encode()
BROKEN_UTF8 = [
    b"\xff",
    b"a\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\x80\x80",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
]


def unified(text: str) -> str:
    """Line ends as an event stream can carry them."""
    return re.sub("\r\n|\r", "\n", text)


async def until_closed(events: Events) -> list[tuple[str, dict[str, object]]]:
    """Return (text, control) pairs to the end; each data event must have its control event, the last one the end."""
    found = []
    rest: list[Event] = await events.rest()
    text = ""
    for event in rest:
        if event.kind == "data":
            assert text == "", "two data events in a row"
            text = event.text
        else:
            found.append((text, event.control))
            text = ""
    assert text == ""
    assert [control.get("streamClosed", False) for _, control in found] == [False] * (len(found) - 1) + [True]
    return found


@pytest.mark.parametrize("text", FORGERIES)
@pytest.mark.parametrize("live", [False, True], ids=["stored", "live"])
async def test_no_text_can_forge_an_event(fronted: Site, text: str, live: bool) -> None:  # noqa: FBT001
    client = fronted.client
    sent = f"<{text}>".encode()
    await client.put("s", "text/plain", b"" if live else sent)

    async with client.events("s", offset="-1") as events:
        if live:
            assert (await events.control())["upToDate"] is True
            await client.post("s", sent)
        shown, control = await events.pair()
        assert shown == unified(f"<{text}>")
        assert control["streamNextOffset"] == format_offset(len(sent))
        await client.post("s", sent, stream_closed="true")
        assert [text for text, _ in await until_closed(events)] == [unified(f"<{text}>")]


async def test_line_ends_between_json_tokens_do_no_harm(client: Client) -> None:
    message = b'{"a":\r\n1,\n"b":\r[ \n 2]}'
    await client.put("s", "application/json", message)

    async with client.events("s", offset="-1") as events:
        assert json.loads((await events.pair())[0]) == [{"a": 1, "b": [2]}]
        await client.post("s", b"[" + message + b",\n" + message + b"]", "application/json")
        assert json.loads((await events.pair())[0]) == [{"a": 1, "b": [2]}] * 2


@pytest.mark.parametrize("at", range(1, len(UTF8)))
async def test_no_character_is_split_wherever_the_appends_part_it(run: Run, at: int) -> None:
    """For a reader that is there before, one that comes in between, and one that comes after."""
    async with run() as site:
        client = site.client
        await client.put("s", "text/plain")

        async with client.events("s", offset="-1") as early:
            await early.control()
            await client.post("s", UTF8[:at])
            async with client.events("s", offset="-1") as between:
                await until(lambda: site.followers() == 2)
                await client.post("s", UTF8[at:], stream_closed="true")
                for events in (early, between):
                    assert "".join(text for text, _ in await until_closed(events)) == UTF8.decode()
        async with client.events("s", offset="-1") as late:
            assert "".join(text for text, _ in await until_closed(late)) == UTF8.decode()


async def test_characters_that_come_byte_by_byte(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain")

    async with client.events("s", offset="-1") as events:
        await events.control()
        for position in range(len(UTF8)):
            await client.post("s", UTF8[position : position + 1])
        await client.finish("s")
        found = await until_closed(events)

    assert "".join(text for text, _ in found) == UTF8.decode()
    ends = [int(str(control["streamNextOffset"])) for _, control in found]
    assert all(UTF8[:end].decode() for end in ends)


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 7])
async def test_pages_do_not_split_characters_either(run: Run, page: int) -> None:
    async with run(bounds=bounded(max_chunk_bytes=page)) as site:
        await site.client.put("s", "text/plain", UTF8 * 3, stream_closed="true")

        async with site.client.events("s", offset="-1") as events:
            text = "".join(text for text, _ in await until_closed(events))

    if page >= 4:
        assert text == UTF8.decode() * 3
    assert text.replace("\ufffd", "").startswith("a")


@pytest.mark.parametrize("broken", BROKEN_UTF8)
async def test_what_is_no_text_is_shown_as_such_and_not_waited_for(client: Client, broken: bytes) -> None:
    await client.put("s", "text/plain", b"before " + broken)

    async with client.events("s", offset="-1") as events:
        await client.post("s", b" after", stream_closed="true")
        found = await until_closed(events)

    text = "".join(text for text, _ in found)
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "\ufffd" in text
    assert found[-1][1]["streamNextOffset"] == format_offset(len(b"before  after") + len(broken))


async def test_half_a_character_at_the_end_of_a_closed_stream_is_shown(client: Client) -> None:
    await client.put("s", "text/plain", b"ab\xe2\x82")
    async with client.events("s", offset="-1") as events:
        assert (await events.pair())[0] == "ab"
        await client.finish("s")
        assert [text for text, _ in await until_closed(events)] == ["\ufffd"]


@pytest.mark.parametrize("content_type", ["application/octet-stream", "image/png", "application/ndjson"])
async def test_binary_streams_travel_as_base64(fronted: Site, content_type: str) -> None:
    client, chance = fronted.client, random.Random(4)
    pieces = [chance.randbytes(chance.randrange(1, 200)) for _ in range(30)]
    await client.put("s", content_type, pieces[0])

    async with client.events("s", offset="-1") as events:
        assert events.head.headers["stream-sse-data-encoding"] == "base64"
        assert events.head.headers["content-type"] == "text/event-stream"
        for piece in pieces[1:]:
            await client.post("s", piece, content_type)
        await client.finish("s")
        found = await until_closed(events)

    assert b"".join(base64.b64decode(text.replace("\n", ""), validate=True) for text, _ in found) == b"".join(pieces)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "TEXT/CSV; charset=utf-8"])
async def test_text_streams_do_not(client: Client, content_type: str) -> None:
    await client.put("s", content_type)
    async with client.events("s", offset="-1") as events:
        assert "stream-sse-data-encoding" not in events.head.headers
        assert events.head.headers["content-type"] == "text/event-stream"
        assert "no-" in events.head.headers["cache-control"]


async def test_the_last_bytes_come_before_the_end(fronted: Site) -> None:
    """Appends and the close race with readers that are just arriving."""
    client, chance = fronted.client, random.Random(5)

    async def one(number: int) -> None:
        path = f"s{number}"
        await client.put(path, "text/plain", b"first ")

        async def write() -> None:
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            await client.post(path, b"more ")
            await client.post(path, b"last", stream_closed="true")

        async def read() -> str:
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            async with client.events(path, offset="-1") as events:
                return "".join(text for text, _ in await until_closed(events))

        texts = await asyncio.gather(read(), write(), read(), read())
        assert {text for text in texts if text is not None} == {"first more last"}

    for start in range(0, 60, 10):
        await asyncio.gather(*(one(number) for number in range(start, start + 10)))


async def test_a_closed_stream_is_told_of_and_left(client: Client) -> None:
    await client.put("s", "text/plain", b"all", stream_closed="true")
    for offset, texts in (("-1", ["all"]), (format_offset(3), [""]), ("now", [""])):
        async with client.events("s", offset=offset) as events:
            found = await until_closed(events)
            assert [text for text, _ in found] == texts
            assert found[-1][1]["streamNextOffset"] == format_offset(3)
            assert "streamCursor" not in found[-1][1]


async def test_controls_say_where_and_whether_there_is_more(run: Run) -> None:
    async with run(bounds=bounded(max_chunk_bytes=10)) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * 25)
        async with client.events("s", offset="-1") as events:
            pairs = [await events.pair() for _ in range(3)]
            await client.post("s", b"y")
            pairs.append(await events.pair())

        assert [text for text, _ in pairs] == ["x" * 10, "x" * 10, "x" * 5, "y"]
        assert [control["streamNextOffset"] for _, control in pairs] == [format_offset(n) for n in (10, 20, 25, 26)]
        assert [control.get("upToDate", False) for _, control in pairs] == [False, False, True, True]
        assert all(control["streamCursor"].isdigit() for _, control in pairs)


async def test_now_begins_at_the_tail_and_says_so(client: Client) -> None:
    await client.put("s", "text/plain", b"old")
    async with client.events("s", offset="now") as events:
        first = await events.control()
        assert (first["streamNextOffset"], first["upToDate"]) == (format_offset(3), True)
        await client.post("s", b"new")
        assert (await events.pair())[0] == "new"


async def test_a_reader_that_comes_back_misses_and_repeats_nothing(fronted: Site) -> None:
    """It leaves after any control event, and goes on from its offset and cursor."""
    client, chance = fronted.client, random.Random(6)
    sent = [b'{"n":%d}' % number for number in range(300)]
    await client.put("s", "application/json")

    async def write() -> None:
        async with client.wire() as wire:
            for message in sent:
                fields = {"Content-Type": "application/json"}
                await wire.send(request_bytes("POST", client.target("s"), fields, message))
                await wire.reply("POST")
        await client.finish("s")

    async def read() -> list[int]:
        got: list[int] = []
        query = {"offset": "-1"}
        while True:
            async with client.events("s", **query) as events:
                for _ in range(chance.randrange(1, 12)):
                    event = await events.take()
                    if event.kind == "data":
                        got += [message["n"] for message in json.loads(event.text)]
                        event = await events.take()
                    if event.control.get("streamClosed"):
                        return got
                    cursor = event.control["streamCursor"]
                    query = {"offset": event.control["streamNextOffset"], "cursor": cursor}

    got, _ = await asyncio.gather(read(), write())

    assert got == list(range(300))


async def test_a_cursor_that_is_echoed_moves_on(client: Client) -> None:
    await client.put("s", "text/plain", b"x")
    async with client.events("s", offset="-1") as events:
        first = (await events.pair())[1]["streamCursor"]
    async with client.events("s", offset="-1", cursor=first) as events:
        cursors = [int((await events.pair())[1]["streamCursor"])]
        for _ in range(3):
            await client.post("s", b"y")
            cursors.append(int((await events.pair())[1]["streamCursor"]))
    assert int(first) < cursors[0]
    assert cursors == sorted(cursors)


@pytest.mark.still_time
async def test_silence_is_broken_by_comments(run: Run) -> None:
    async with run(bounds=bounded(sse_heartbeat_ms=15_000, sse_lifetime_ms=60_000)) as site:
        await site.client.put("s", "text/plain", b"x")
        async with site.client.events("s", offset="-1") as events:
            for _ in range(4):
                await time_passes(15)
            assert len(await events.rest()) == 2
            assert events.comments == 3


@pytest.mark.still_time
async def test_a_connection_has_its_time_and_ends_between_events(run: Run) -> None:
    async with run(bounds=bounded(sse_lifetime_ms=60_000)) as site:
        client = site.client
        await client.put("s")
        async with client.events("s", offset="-1") as events:
            await client.post("s", b"x")
            await time_passes(59)
            assert len(site.server._readers.connected) == 1
            await time_passes(1)
            rest = await events.rest()
        assert [event.kind for event in rest] == ["control", "data", "control"]
        await until(lambda: not site.server._readers.connected)
        assert site.followers() == 0


async def test_readers_that_leave_are_noticed(fronted: Site) -> None:
    """By a reset, by a clean end, and before they have read anything."""
    client = fronted.client
    await client.put("s", "text/plain", b"x" * 100)
    for leave in ("reset", "finish", "half"):
        async with client.events("s", offset="-1") as events:
            await until(lambda: fronted.followers() == 1)
            if leave == "finish":
                events.wire.writer.close()
            elif leave == "half":
                events.wire.writer.write_eof()
        await until(lambda: fronted.followers() == 0)
        await until(lambda: not fronted.server._readers.connected)
        assert not fronted.server.streams._hub._tails


async def test_a_delete_is_told_and_ends_the_connection(site: Site) -> None:
    client = site.client
    await client.put("s", "text/plain", b"x")
    async with client.events("s", offset="-1") as events:
        await events.pair()
        await client.delete("s")
        await client.put("s", "text/plain", b"another")
        (gone,) = await events.rest()
    assert (gone.kind, json.loads(gone.text)["code"]) == ("gone", "not-found")
    assert site.followers() == 0


async def test_a_request_behind_the_events_is_not_taken(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"x")
    async with client.wire() as wire:
        ask = request_bytes("GET", client.target("s", offset="-1", live="sse"))
        await wire.send(ask + request_bytes("DELETE", client.target("s")))
        assert (await wire.reply_head()).status == 200
        await until(lambda: fronted.followers() == 1)
        await wire.send(request_bytes("DELETE", client.target("s")))
        await client.post("s", b"y")
        async with asyncio.timeout(HANG_S):
            await wire.reader.readuntil(b"data:y\n")
    assert (await client.head("s")).status == 200


async def test_old_clients_get_events_too(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"x", stream_closed="true")
    async with client.wire() as wire:
        await wire.send(b"GET /v1/stream/s?offset=-1&live=sse HTTP/1.0\r\n\r\n")
        assert (await wire.reply_head()).status == 200
        assert b"streamClosed" in await wire.rest()


async def test_head_of_a_live_read_does_not_stay(fronted: Site) -> None:
    client = fronted.client
    await client.put("s")
    reply = await client.send("HEAD", client.target("s", offset="-1", live="sse"))
    assert reply.status == 200
    assert fronted.followers() == 0


async def test_forks_are_followed_through_their_sources(run: Run) -> None:
    async with run(bounds=bounded(max_chunk_bytes=7)) as site:
        client = site.client
        await client.put("s", "text/plain", "é€😀".encode() * 3)
        await client.fork("fork", "s")
        async with client.events("fork", offset="-1") as events:
            await until(lambda: site.followers() == 1)
            await client.post("s", b"not this")
            await client.post("fork", b"own", stream_closed="true")
            text = "".join(text for text, _ in await until_closed(events))
        assert text == "é€😀" * 3 + "own"


@pytest.mark.slow
async def test_many_readers_of_many_streams_get_their_own(run: Run) -> None:
    async with run(engine="lmdb") as site:
        client = site.client
        for stream in range(20):
            await client.put(f"s{stream}", "application/json")

        async def read(stream: int) -> list[str]:
            async with client.events(f"s{stream}", offset="-1") as events:
                texts = [text for text, _ in await until_closed(events)]
                return [message for text in texts if text for message in json.loads(text)]

        async def write(stream: int) -> None:
            for number in range(20):
                await client.post(f"s{stream}", json.dumps(f"{stream}/{number}").encode(), "application/json")
            await client.finish(f"s{stream}")

        reading = [asyncio.create_task(read(stream)) for stream in range(20) for _ in range(3)]
        await asyncio.gather(*(write(stream) for stream in range(20)))
        for number, reader in enumerate(reading):
            assert await reader == [f"{number // 3}/{message}" for message in range(20)]

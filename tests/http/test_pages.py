"""Catch-up reads by pages: whole messages, bytes exactly as sent, forks read through their sources (§5.6, §9.1)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.protocol.offsets import format_offset
from tests.http.site import bounded

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import EngineName
    from tests.http.wire import Client, Reply

PAGE = 100
EXACT = [
    b"12345678901234567890",
    b"1.0",
    b"1e5",
    b"-0",
    b"0.1e-07",
    b"1E300",
    b'{"a":1,"a":2}',
    b'{"b":1 , "a" : [ 1,2 ]}',
    rb'"\u00e9\/\ud83d\ude00"',
    rb'"\ud800"',
    b'"\xc3\xa9"',
    b'""',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'[[1,2],["],["]]',
    b'{"\\"":",","]":"["}',
    b'{"line":\r\n\t1}',
]


def messages(count: int, seed: int = 1) -> list[bytes]:
    chance = random.Random(seed)
    return [b'{"n":%d,"pad":"%b"}' % (number, b"," * chance.randrange(60)) for number in range(count)]


def check_pages(pages: list[Reply], bound: int) -> None:
    """Every page but the last says that there is more; none is larger than the bound, except for one message alone."""
    for page in pages[:-1]:
        assert not page.up_to_date
        assert not page.closed
        assert page.body != b"[]"
    assert pages[-1].up_to_date
    for page in pages:
        content = page.body
        if page.headers["content-type"] == "application/json":
            found = orjson.loads(content)
            content = content[1:-1] + b","
            assert len(content) <= bound or len(found) == 1
        else:
            assert len(content) <= bound


@pytest.mark.parametrize("together", [True, False], ids=["one append", "many appends"])
async def test_json_pages_are_whole_messages(run: Run, engine_name: EngineName, together: bool) -> None:  # noqa: FBT001
    async with run(engine=engine_name, bounds=bounded(max_chunk_bytes=PAGE)) as site:
        sent = messages(60)
        sent[20] = b'{"large":"%b"}' % (b"x" * 5 * PAGE)
        await site.client.put("s", "application/json")
        for body in [b"[" + b",".join(sent) + b"]"] if together else sent:
            await site.client.post("s", body, "application/json")

        read, pages = await site.client.read_all("s")

        check_pages(pages, PAGE)
        assert read == b",".join(sent)
        assert len(pages) > 10


@pytest.mark.slow
@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
async def test_other_pages_are_full(run: Run, engine_name: EngineName, content_type: str) -> None:
    async with run(engine=engine_name, bounds=bounded(max_chunk_bytes=PAGE)) as site:
        sent = random.Random(2).randbytes(1_037)
        await site.client.put("s", content_type, sent[:400])
        for start in range(400, len(sent), 7):
            await site.client.post("s", sent[start : start + 7], content_type)

        read, pages = await site.client.read_all("s")

        check_pages(pages, PAGE)
        assert read == sent
        assert [page.offset for page in pages] == [format_offset(min(PAGE * n, len(sent))) for n in range(1, 12)]


@pytest.mark.slow
async def test_a_default_page_is_a_mebibyte(run: Run, engine_name: EngineName) -> None:
    async with run(engine=engine_name) as site:
        sent = [b'"%06d%b"' % (number, b"x" * 990) for number in range(5_000)]
        assert (await site.client.put("s", "application/json", b"[" + b",".join(sent) + b"]")).status == 201

        read, pages = await site.client.read_all("s", max_bytes=1 << 30)

        check_pages(pages, 1 << 20)
        assert read == b",".join(sent)
        assert len(pages) == 5


async def test_one_message_larger_than_everything_goes_whole(run: Run, engine_name: EngineName) -> None:
    async with run(engine=engine_name) as site:
        large = b'"%b"' % (b"x" * 3_000_000)
        await site.client.put("s", "application/json", b"1")
        await site.client.post("s", large, "application/json")
        await site.client.post("s", b"2", "application/json")

        _, pages = await site.client.read_all("s", max_bytes=1 << 20)

        assert [page.body for page in pages] in (
            [b"[1]", b"[" + large + b"]", b"[2]"],
            [b"[1]", b"[" + large + b"]", b"[2]", b"[]"],
        )


async def test_a_message_larger_than_a_chunk_has_no_offsets_inside(run: Run, engine_name: EngineName) -> None:
    """Whatever it looks like inside: here like messages, each behind a comma."""
    large = b"[" + b"0," * 1_500_000 + b"0]"
    async with run(engine=engine_name) as site:
        client = site.client
        await client.put("j", "application/json")
        await client.post("j", b"[[1],%s,[2],[3]]" % large, "application/json")
        after = 4 + len(large) + 1

        page = await client.get("j", offset=format_offset(4), max_bytes=1)
        assert page.body == b"[%s]" % large
        assert (await client.get("j", offset=format_offset(4))).body == b"[%s,[2],[3]]" % large
        assert (await client.get("j", offset=format_offset(after))).body == b"[[2],[3]]"
        assert (await client.get("j", tail="2")).body == b"[[2],[3]]"
        assert (await client.get("j", tail="3")).body == b"[%s,[2],[3]]" % large
        assert (await client.get("j", tail="4")).body == b"[[1],%s,[2],[3]]" % large
        for inside in (5, 1_000_001, 2_999_999, after - 1):
            assert (await client.get("j", offset=format_offset(inside))).status == 400
        fork = await client.fork("f", "j", stream_fork_offset="-1", stream_fork_sub_offset="2")
        assert fork.offset == format_offset(after)


async def test_the_end_of_a_closed_stream_is_on_its_last_page_only(run: Run) -> None:
    async with run(bounds=bounded(max_chunk_bytes=10)) as site:
        await site.client.put("s", "text/plain", b"x" * 25, stream_closed="true")

        _, pages = await site.client.read_all("s")

        assert [page.closed for page in pages] == [False, False, True]
        at_end = await site.client.get("s", offset=pages[-1].offset)
        assert (at_end.status, at_end.body, at_end.closed, at_end.up_to_date) == (200, b"", True, True)


@pytest.mark.parametrize("message", EXACT)
async def test_json_comes_back_as_it_was_sent(client: Client, message: bytes) -> None:
    await client.put("s", "application/json", message if not message.startswith(b"[") else b"[" + message + b"]")
    await client.post("s", b" \n[ " + message + b" ,\t" + message + b" ] ", "application/json")

    assert (await client.get("s", offset="-1")).body.replace(b" ,\t", b",") == b"[" + b",".join([message] * 3) + b"]"


@pytest.mark.slow
async def test_every_offset_is_a_message_or_refused(run: Run, engine_name: EngineName) -> None:
    """Over several chunks, and through a fork's source."""
    async with run(engine=engine_name, bounds=bounded(max_chunk_bytes=40)) as site:
        client = site.client
        await client.put("source", "application/json", b"[" + b",".join(EXACT[:9]) + b"]")
        await client.post("source", b"[" + b",".join(EXACT[9:]) + b"]", "application/json")
        boundaries = [0]
        for message in EXACT:
            boundaries.append(boundaries[-1] + len(message) + 1)
        base = boundaries[12]
        await client.fork("fork", "source", stream_fork_offset=format_offset(base))
        await client.post("fork", b"[" + b",".join(EXACT[12:]) + b"]", "application/json")
        whole = b",".join(EXACT)

        for path in ("source", "fork"):
            for position in range(boundaries[-1] + 1):
                offset = format_offset(position)
                reply = await client.get(path, offset=offset)
                if position in boundaries:
                    assert (await client.read_all(path, offset))[0] == whole[position:]
                else:
                    assert (position, reply.status, reply.code) == (position, 400, "offset-inside-message")


async def test_forks_of_forks_read_as_one_stream(run: Run, engine_name: EngineName) -> None:
    async with run(engine=engine_name, bounds=bounded(max_chunk_bytes=50)) as site:
        client = site.client
        expected = {"0": messages(8)}
        await client.put("0", "application/json", b"[" + b",".join(expected["0"]) + b"]")
        for level in range(1, 7):
            source, path = str(level - 1), str(level)
            kept = expected[source][: len(expected[source]) - level % 3]
            own = [b'{"level":%d,"n":%d}' % (level, number) for number in range(level % 4)]
            await client.fork(path, source, stream_fork_offset="-1", stream_fork_sub_offset=str(len(kept)))
            if own:
                await client.post(path, b"[" + b",".join(own) + b"]", "application/json")
            expected[path] = kept + own

        for path, sent in expected.items():
            read, pages = await client.read_all(path)
            check_pages(pages, 50)
            assert read == b",".join(sent)
            assert (await client.head(path)).offset == pages[-1].offset == format_offset(sum(len(m) + 1 for m in sent))

        for path in ("0", "3", "5"):
            assert (await client.delete(path)).status == 204
        assert (await client.read_all("6"))[0] == b",".join(expected["6"])
        assert (await client.read_all("4"))[0] == b",".join(expected["4"])
        for path in ("6", "4", "2", "1"):
            assert (await client.delete(path)).status == 204
        await site.upkeep()
        assert site.engine.scan("", "", 10) == []


async def test_a_fork_of_bytes_may_begin_anywhere(client: Client) -> None:
    await client.put("s", "text/plain", b"0123456789")
    for base in range(11):
        path = f"fork{base}"
        reply = await client.fork(path, "s", stream_fork_offset="-1", stream_fork_sub_offset=str(base))
        assert (reply.status, reply.offset) == (201, format_offset(base))
        await client.post(path, b"|own")
        assert (await client.read_all(path))[0] == b"0123456789"[:base] + b"|own"
        for offset in range(base + 5):
            assert (await client.get(path, offset=format_offset(offset))).body == (b"0123456789"[:base] + b"|own")[
                offset:
            ]


async def test_a_fork_is_not_counted_out_over_any_length(client: Client) -> None:
    """Counting messages holds up everybody else, so a far one needs a closer anchor."""
    message = b'"' + b"x" * 1_000_000 + b'"'
    await client.put("s", "application/json")
    ends = [(await client.post("s", message, "application/json")).offset for _ in range(19)]

    far = await client.fork("far", "s", stream_fork_offset="-1", stream_fork_sub_offset="19")
    assert (far.status, far.code) == (400, "invalid-header")
    near = await client.fork("near", "s", stream_fork_offset=ends[9], stream_fork_sub_offset="9")
    assert (near.status, near.offset) == (201, ends[18])


async def test_appends_to_a_source_do_not_reach_its_fork(client: Client) -> None:
    await client.put("s", "text/plain", b"one ")
    await client.fork("fork", "s")
    await client.post("s", b"two")
    await client.post("fork", b"three")

    assert (await client.read_all("fork"))[0] == b"one three"
    assert (await client.read_all("s"))[0] == b"one two"


async def test_an_empty_page_is_an_answer_too(client: Client) -> None:
    await client.put("json", "application/json")
    await client.put("text", "text/plain")
    for path, body in (("json", b"[]"), ("text", b"")):
        for offset in ("-1", "now", "0" * 16):
            reply = await client.get(path, offset=offset)
            assert (reply.status, reply.body, reply.offset, reply.up_to_date) == (200, body, "0" * 16, True)


# --- tail=N ---


@pytest.mark.slow
@pytest.mark.parametrize("path", ["plain", "chunked", "fork"])
async def test_the_last_messages_can_be_asked_for(run: Run, engine_name: EngineName, path: str) -> None:
    async with run(engine=engine_name) as site:
        client = site.client
        sent = [*EXACT, *messages(20)]
        await client.put("plain", "application/json", b"[" + b",".join(sent) + b"]")
        await client.put("chunked", "application/json")
        for message in sent:
            await client.post("chunked", b"[" + message + b"]", "application/json")
        await client.fork("fork", "chunked", stream_fork_offset="-1", stream_fork_sub_offset="15")
        await client.post("fork", b"[" + b",".join(sent[15:30]) + b"]", "application/json")
        await client.post("fork", b"[" + b",".join(sent[30:]) + b"]", "application/json")
        whole = b",".join(sent) + b","

        for count in range(len(sent) + 3):
            reply = await client.get(path, tail=count)
            wanted = sent[-count:] if count else []
            assert reply.body == b"[" + b",".join(wanted) + b"]"
            assert (reply.offset, reply.up_to_date) == (format_offset(len(whole)), True)
            assert reply.headers["cache-control"] == "no-store"


async def test_the_last_messages_come_in_pages_like_all_others(run: Run) -> None:
    async with run(bounds=bounded(max_chunk_bytes=PAGE)) as site:
        sent = messages(50)
        await site.client.put("s", "application/json", b"[" + b",".join(sent) + b"]")

        first = await site.client.get("s", tail=30)
        rest, pages = await site.client.read_all("s", first.offset)

        assert not first.up_to_date
        check_pages([first, *pages], PAGE)
        assert first.body[1:-1] + b"," + rest == b",".join(sent[-30:])


async def test_many_last_messages(run: Run, engine_name: EngineName) -> None:
    async with run(engine=engine_name, bounds=bounded(max_chunk_bytes=1 << 24)) as site:
        await site.client.put("s", "application/json")
        for start in range(0, 30_000, 5_000):
            body = b",".join(b'{"n":%d}' % number for number in range(start, start + 5_000))
            await site.client.post("s", b"[" + body + b"]", "application/json")

        found = orjson.loads((await site.client.get("s", tail=10_000)).body)

        assert [message["n"] for message in found] == list(range(20_000, 30_000))


async def test_a_read_begins_at_one_place(client: Client) -> None:
    await client.put("s", "application/json", b"[1,2,3]")

    reply = await client.get("s", tail=2, offset="-1")
    assert orjson.loads(reply.body)["detail"] == (
        "query parameter tail: says where to begin, as offset does; give one of them"
    )


async def test_a_live_read_may_begin_at_the_last_messages(client: Client) -> None:
    await client.put("s", "application/json", b"[1,2,3,4]")

    poll = await client.get("s", tail=2, live="long-poll")
    assert (poll.status, poll.body, poll.offset) == (200, b"[3,4]", format_offset(8))
    async with client.events("s", tail=3) as events:
        assert (await events.pair())[0] == "[2,3,4]"
        await client.post("s", b"5", "application/json")
        text, control = await events.pair()
        assert (text, control["streamNextOffset"]) == ("[5]", format_offset(10))
    async with client.events("s", tail=0) as events:
        assert (await events.control())["streamNextOffset"] == format_offset(10)
        await client.post("s", b"6", "application/json")
        assert (await events.pair())[0] == "[6]"

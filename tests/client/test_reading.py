"""Reading from the real server, undisturbed."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import aiohttp
import orjson
import pytest

from durable_streams.client import (
    AsyncDurableStream,
    DurableStreamError,
    RetentionGoneError,
    SSEBytesIterationError,
    SSEReadAllError,
    StreamConsumedError,
    StreamEvent,
    StreamNotFoundError,
    astream,
)
from durable_streams.engine.memory import MemoryEngine
from durable_streams.runtime.config import ServerConfig
from durable_streams.server import Server
from tests.client.conftest import PAGE_BYTES
from tests.client.proxy import CuttingProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from durable_streams.client import LiveMode

    Make = Callable[..., Awaitable[AsyncDurableStream]]

LIVE: list[LiveMode] = [True, "auto", "long-poll", "sse"]


async def take(iterator: AsyncIterator[object], count: int) -> list[object]:
    return [await anext(iterator) for _ in range(count)]


async def test_pages_come_one_after_the_other(make: Make) -> None:
    stream = await make()
    for start in range(0, 2000, 100):
        await stream.append("[" + ",".join(map(str, range(start, start + 100))) + "]")
    async with stream.stream(live=False) as response:
        batches = await response.read_json_batches()
        assert len(batches) > 1
        assert [number for batch in batches for item in batch for number in item] == list(range(2000))
        assert response.up_to_date
        assert response.offset == (await stream.head()).offset


@pytest.mark.slow
async def test_a_server_that_answers_whole_is_asked_for_pages(tmp_path: Path) -> None:
    """One page is held, and asked for again after a cut, however long the stream; and what is read is everything."""
    server = Server(ServerConfig(port=0, engine="memory", data_dir=tmp_path), MemoryEngine())
    await server.start()
    try:
        async with await AsyncDurableStream.create(f"{server.url}/s", content_type="application/json") as stream:
            sent = [[f"{number} {'x' * 40}"] * 1000 for number in range(60)]
            for message in sent:
                await stream.append(orjson.dumps(message))
            async with stream.stream(live=False) as response:
                batches = await response.read_json_batches()
            assert [item for batch in batches for item in batch] == sent
            assert len(batches) == 3
    finally:
        await server.stop()


async def test_every_form_of_everything_up_to_the_tail(make: Make) -> None:
    stream = await make(content_type="text/plain")
    text = "ä" * PAGE_BYTES + "\r\nend\r"
    await stream.append(text)
    async with stream.stream(live=False) as response:
        assert await response.read_text() == text
    async with stream.stream(live="long-poll") as response:
        assert await response.read_bytes() == text.encode()
    async with stream.stream(live=False) as response:
        assert b"".join([chunk async for chunk in response]) == text.encode()


async def test_an_empty_stream_has_an_end_and_an_offset(make: Make) -> None:
    stream = await make()
    async with stream.stream(live=False) as response:
        assert await response.read_json() == []
        assert (response.up_to_date, response.stream_closed) == (True, False)
        assert response.offset == (await stream.head()).offset


@pytest.mark.parametrize("live", LIVE)
async def test_following_json(make: Make, live: LiveMode) -> None:
    stream = await make()
    await stream.append('{"n":0}')
    async with stream.stream(live=live) as response:
        items = response.iter_json()
        assert await anext(items) == {"n": 0}
        for n in range(1, 4):
            await stream.append(f'{{"n":{n}}}')
            assert await anext(items) == {"n": n}
            assert response.offset == (await stream.head()).offset
        await stream.close_stream(data='"end"')
        assert [item async for item in items] == ["end"]
        assert response.stream_closed


@pytest.mark.parametrize("live", LIVE)
async def test_following_exact_messages(make: Make, live: LiveMode) -> None:
    stream = await make()
    sent = [b"1.0", b"12345678901234567890123", b'{"a":1,"a":2}', rb'"\ud800"', b"[1, 2]"]
    async with stream.stream(live=live) as response:
        messages = response.iter_messages()
        for message in sent:
            await stream.append(message)
        assert await take(messages, len(sent)) == sent


@pytest.mark.parametrize("live", LIVE)
async def test_following_bytes(make: Make, live: LiveMode) -> None:
    stream = await make(content_type="application/octet-stream")
    async with stream.stream(live=live) as response:
        chunks = response.iter_bytes()
        for sent in (b"\x00\xff", b"\r", b"\n", bytes(range(256)) * 40):
            await stream.append(sent)
            received = b""
            while len(received) < len(sent):
                received += await anext(chunks)
            assert received == sent


@pytest.mark.parametrize("live", [True, "auto", "long-poll"])
async def test_following_the_exact_bytes_of_text(make: Make, live: LiveMode) -> None:
    stream = await make(content_type="text/plain")
    async with stream.stream(live=live) as response:
        chunks = response.iter_bytes()
        for sent in (b"a\rb\r\nc\n", b"\xc3", b"\xa9"):
            await stream.append(sent)
            assert await anext(chunks) == sent


@pytest.mark.parametrize("live", LIVE)
async def test_text_never_splits_a_character(make: Make, live: LiveMode) -> None:
    stream = await make(content_type="text/plain")
    async with stream.stream(live=live) as response:
        texts = response.iter_text()
        await stream.append("a€".encode()[:2])
        await stream.append("a€".encode()[2:])
        received = ""
        while received != "a€":
            received += await anext(texts)
            assert "a€".startswith(received)


async def test_text_that_ends_within_a_character_shows_it_broken_at_the_end(make: Make) -> None:
    stream = await make(content_type="text/plain")
    await stream.append("a€".encode()[:2])
    async with stream.stream(live=False) as response:
        events = [event async for event in response.iter_events("text")]
    assert [(event.data, event.next_offset) for event in events] == [("a\ufffd", (await stream.head()).offset)]


async def test_an_event_stream_does_not_open_within_a_character(make: Make) -> None:
    stream = await make(content_type="text/plain")
    await stream.append("€".encode()[:1])
    async with stream.stream(live="sse") as response:
        events = response.iter_events("text")
        first = asyncio.ensure_future(anext(events))
        await stream.append("€".encode()[1:])
        event = await first
        assert event.data == "€"
        assert event.next_offset == (await stream.head()).offset
        await stream.append("b")
        assert (await anext(events)).data == "b"


async def test_the_offset_never_runs_ahead_of_the_items(make: Make) -> None:
    stream = await make()
    await asyncio.gather(*(stream.append(str(n)) for n in range(5)))
    async with stream.stream(live=False) as response:
        seen = [(item, response.offset) async for item in response.iter_json()]
    offsets = [offset for _, offset in seen]
    assert offsets[:-1] == ["-1"] * 4
    assert offsets[-1] == (await stream.head()).offset


async def test_every_events_offset_is_where_it_ends(make: Make) -> None:
    stream = await make()
    await asyncio.gather(*(stream.append(f'"{n:0100d}"') for n in range(200)))
    async with stream.stream(live=False) as response:
        events = [event async for event in response.iter_events("messages")]
    assert len(events) > 2
    for event, following in pairwise(events):
        async with stream.stream(offset=event.next_offset, live=False) as response:
            assert await anext(response.iter_messages()) == (following.data or [None])[0]


async def test_changes_of_state_are_events_without_data(make: Make) -> None:
    stream = await make()
    async with stream.stream() as response:
        events = response.iter_events()
        start = (await stream.head()).offset
        first = await anext(events)
        assert (first.data, first.next_offset, first.up_to_date, first.stream_closed) == (None, start, True, False)
        await stream.close_stream()
        last = [event async for event in events][-1]
        assert (last.data, last.next_offset, last.up_to_date, last.stream_closed) == (None, start, True, True)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("json", [1]), ("json_batches", [1]), ("messages", [b"1"]), ("bytes", b"[1]"), ("text", "[1]")],
)
async def test_forms_of_events(make: Make, mode: str, expected: object) -> None:
    stream = await make()
    await stream.append("1")
    async with stream.stream(live=False) as response:
        events = [event async for event in response.iter_events(mode)]  # type: ignore[arg-type] # the table's strings
        assert [event.data for event in events] == [expected]


async def test_items_can_be_decoded(make: Make) -> None:
    stream = await make()
    await stream.append("7")
    for read in ("iter_json", "iter_json_batches"):
        async with stream.stream(live=False) as response:
            values = [value async for value in getattr(response, read)(str)]
            assert values in (["7"], [["7"]])


async def test_starting_now(make: Make) -> None:
    stream = await make()
    await stream.append('"old"')
    async with stream.stream(offset="now") as response:
        assert response.offset == (await stream.head()).offset
        await stream.append('"new"')
        assert await anext(response.iter_json()) == "new"


@pytest.mark.parametrize("live", [False, *LIVE])
async def test_starting_at_the_last_messages(make: Make, live: LiveMode) -> None:
    stream = await make()
    for n in range(5):
        await stream.append(str(n))
    async with stream.stream(tail=2, live=live) as response:
        items = response.iter_json()
        assert await take(items, 2) == [3, 4]
        assert response.offset == (await stream.head()).offset
        if live is not False:
            await stream.append("5")
            assert await anext(items) == 5


@pytest.mark.parametrize("live", LIVE)
async def test_a_stream_that_is_deleted_while_it_is_followed(make: Make, live: LiveMode) -> None:
    stream = await make()
    async with stream.stream(live=live) as response:
        items = response.iter_json()
        following = asyncio.ensure_future(anext(items))
        await stream.append("1")
        assert await following == 1
        following = asyncio.ensure_future(anext(items))
        await stream.delete()
        with pytest.raises(StreamNotFoundError):
            await following


@pytest.mark.parametrize("live", LIVE)
async def test_a_stream_that_was_replaced_is_not_gone_on_with(make: Make, live: LiveMode) -> None:
    """Nothing of the new one is taken for the rest of the old one."""
    stream = await make()
    async with stream.stream(live=live) as response:
        items = response.iter_json()
        for number in (1, 2):
            following = asyncio.ensure_future(anext(items))
            await stream.append(str(number))
            assert await following == number
        cursor, offset = response.cursor, response.offset
    await stream.delete()
    again = await make()
    await again.append("[1,2,3,4]")
    with pytest.raises(RetentionGoneError) as refused:
        async with astream(again.url, offset=offset, cursor=cursor, live=live) as response:
            await anext(response.iter_json())
    assert refused.value.details["code"] == "replaced"  # type: ignore[index] # the problem document


async def test_tail_takes_the_place_of_an_offset(root: str) -> None:
    for tail, offset in ((0, None), (1, "now")):
        with pytest.raises(ValueError, match="tail"):
            await astream(f"{root}/s", tail=tail, offset=offset)


async def test_a_closed_stream_ends_every_mode(make: Make) -> None:
    stream = await make()
    await stream.append("1")
    await stream.close_stream()
    for live in [False, *LIVE]:
        async with stream.stream(live=live) as response:
            assert [item async for item in response.iter_json()] == [1]
            assert response.stream_closed


async def test_what_the_response_says_of_itself(make: Make) -> None:
    stream = await make()
    async with stream.stream(offset="-1", live="sse") as response:
        assert (response.url, response.live, response.start_offset) == (stream.url, "sse", "-1")
        assert (response.status, response.ok, response.content_type) == (200, True, "application/json")
        assert "Stream-Next-Offset" in response.headers
        assert not response.closed
    assert response.closed


async def test_a_response_is_consumed_once(make: Make) -> None:
    stream = await make()
    async with stream.stream(live=False) as response:
        await response.read_json()
        for again in (response.iter_bytes, response.iter_text, response.iter_json, response.iter_events):
            with pytest.raises(StreamConsumedError) as refused:
                again()
            assert refused.value.consumed_by == "read_json"
        with pytest.raises(StreamConsumedError):
            await response.read_text()


async def test_what_an_event_stream_cannot_do(make: Make) -> None:
    stream = await make(content_type="text/plain")
    async with stream.stream(live="sse") as response:
        for inexact in (response.iter_bytes, lambda: response.iter_events("bytes"), lambda: aiter(response)):
            with pytest.raises(SSEBytesIterationError):
                inexact()
        with pytest.raises(SSEReadAllError):
            await response.read_text()
        with pytest.raises(ValueError, match="UTF-8"):
            response.iter_text("latin-1")
        await stream.append("still unread")
        assert await anext(response.iter_text("utf8")) == "still unread"


async def test_awaiting_opens_and_leaves_closing_to_the_caller(make: Make, root: str) -> None:
    stream = await make()
    await stream.append("1")
    response = await astream(stream.url, live=False)
    async with response:
        assert await response.read_json() == [1]


@pytest.mark.parametrize(("path", "kind"), [("nowhere", StreamNotFoundError), ("gone", RetentionGoneError)])
async def test_final_refusals_are_not_repeated(make: Make, root: str, *, path: str, kind: type[Exception]) -> None:
    gone = await make("gone")
    await (await gone.fork(f"{root}/fork")).head()
    await gone.delete()
    async with CuttingProxy(root) as proxy:
        with pytest.raises(kind):
            async with astream(f"{proxy.url}/{path}"):
                pass
        assert bytes(proxy.requests[0]).count(b"GET ") == 1
        assert proxy.connection_count == 1


async def test_a_malformed_offset_is_not_repeated(make: Make) -> None:
    stream = await make()
    async with CuttingProxy(stream.url) as proxy:
        with pytest.raises(DurableStreamError) as refused:
            async with astream(proxy.url, offset="nonsense"):
                pass
        assert refused.value.status == 400
        assert proxy.connection_count == 1


async def test_a_session_handed_in_stays_open(make: Make) -> None:
    stream = await make()
    async with aiohttp.ClientSession() as session:
        async with astream(stream.url, live=False, client=session) as response:
            await response.read_json()
        assert not session.closed


async def test_parameters_are_sorted_and_resolved_anew(make: Make) -> None:
    stream = await make()
    tokens = iter(["t1", "t2", "t3"])

    async def token() -> str:
        return next(tokens)

    async with CuttingProxy(stream.url) as proxy:
        url = f"{proxy.url}?z=1"
        async with astream(url, headers={"Authorization": token}, params={"b": lambda: "2", "no": None}) as response:
            items = response.iter_json()
            await stream.append("1")
            assert await anext(items) == 1
        sent = b"".join(proxy.requests).decode()
    assert "?b=2&max-bytes=1048576&z=1 " in sent
    assert "?b=2&live=sse&offset=" in sent
    assert "Authorization: t1" in sent
    assert "Authorization: t2" in sent


async def test_an_error_handler_may_amend_the_request(make: Make, root: str) -> None:
    stream = await make()
    await stream.append("1")
    asked = []

    def amend(error: Exception) -> dict[str, dict[str, str]] | None:
        asked.append(error)
        return {"params": {"offset": "-1"}} if len(asked) == 1 else None

    async with astream(stream.url, params={"offset": "bad"}, live=False, on_error=amend) as response:
        assert await response.read_json() == [1]
    assert len(asked) == 1

    async def let_go(error: Exception) -> None:
        asked.append(error)

    with pytest.raises(StreamNotFoundError):
        async with astream(f"{root}/nowhere", on_error=let_go):
            pass
    assert len(asked) == 2


async def test_cancelling_an_iteration_leaves_an_offset_to_go_on_from(make: Make) -> None:
    stream = await make()
    await stream.append("1")
    for live in LIVE:
        async with stream.stream(live=live) as response:
            items = response.iter_json()
            assert await anext(items) == 1
            waiting = asyncio.ensure_future(anext(items))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await stream.append("2")
        async with stream.stream(offset=response.offset, live=False) as response:
            assert await response.read_json() == [2]
        await stream.delete()
        await stream.create_stream()
        await stream.append("1")


def test_an_event_is_a_value() -> None:
    assert StreamEvent(b"a", "1", up_to_date=True) == StreamEvent(b"a", "1", up_to_date=True, cursor=None)

"""Connections cut at every byte: what the reader gets is the stream, once and in order, and its offset says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.client import (
    AsyncDurableStream,
    DurableStreamError,
    FetchError,
    RetentionGoneError,
    StreamNotFoundError,
    astream,
)
from tests.client.conftest import ONCE, QUICK
from tests.client.proxy import Cut, CuttingProxy, ScriptedServer, answer
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.client import LiveMode

    Make = Callable[..., Awaitable[AsyncDurableStream]]

FIRST, SECOND, THIRD = b"one\xc3\xa9", b"two\r\n", b"three"
CONTENT = {
    "application/json": [b'{"n": 1}', b'"\xc3\xa9"', b"[3]"],
    "text/plain": [FIRST, SECOND, THIRD],
    "application/octet-stream": [FIRST, b"\x00\xff", THIRD],
}


async def follow(url: str, live: LiveMode) -> tuple[list[bytes], str]:
    """Read to the end of a closed stream and return what came and the final offset."""
    async with astream(url, live=live, retry=QUICK, timeout=HANG_S) as response:
        if response.content_type == "application/json":
            received = [message async for message in response.iter_messages()]
        elif live == "sse":
            received = [text.encode() async for text in response.iter_text()]
        else:
            received = [chunk async for chunk in response.iter_bytes()]
        assert response.stream_closed
        return received, response.offset


def flat(received: list[bytes], content_type: str) -> object:
    return received if content_type == "application/json" else b"".join(received)


async def exchange_bytes(url: str, live: LiveMode) -> list[int]:
    """Return how many bytes of answers each connection of an undisturbed read takes."""
    async with CuttingProxy(url) as proxy:
        await follow(proxy.url, live)
        return [len(seen) for seen in proxy.answers]


@pytest.mark.slow
@pytest.mark.parametrize("content_type", CONTENT)
async def test_a_page_cut_at_every_byte(make: Make, content_type: str) -> None:
    stream = await make(content_type=content_type)
    for message in CONTENT[content_type]:
        await stream.append(message)
    expected = await stream.close_stream()
    (size,) = await exchange_bytes(stream.url, live=False)
    for position in range(size):
        async with CuttingProxy(stream.url, [Cut(answer_bytes=position)]) as proxy:
            received, offset = await follow(proxy.url, live=False)
            assert flat(received, content_type) == flat(CONTENT[content_type], content_type), position
            assert offset == expected.final_offset
            assert proxy.connection_count == 2


async def appending(stream: AsyncDurableStream, messages: list[bytes], live: LiveMode, *, cuts: list[Cut]) -> int:
    """Follow through a proxy while messages are appended one by one; return the bytes of all answers."""
    text = stream.content_type == "text/plain"
    async with CuttingProxy(stream.url, cuts) as proxy:
        async with astream(proxy.url, live=live, retry=QUICK, timeout=HANG_S) as response:
            json_mode = stream.content_type == "application/json"
            by_text = text and live == "sse"
            events = response.iter_events("messages" if json_mode else "text" if by_text else "bytes")
            received: list[bytes] = []
            for message in [*messages, None]:
                closing = await stream.close_stream() if message is None else None
                tail = closing.final_offset if closing else (await stream.append(message or b"")).next_offset
                while response.offset != tail or (closing and not response.stream_closed):
                    event = await anext(events)
                    assert event.next_offset == response.offset
                    if event.data is not None:
                        received += event.data if json_mode else [event.data.encode() if by_text else event.data]
        expected = [m.replace(b"\r\n", b"\n") for m in messages] if by_text else messages
        assert flat(received, stream.content_type or "") == flat(expected, stream.content_type or "")
        return max(map(len, proxy.answers))


@pytest.mark.slow
@pytest.mark.parametrize("content_type", CONTENT)
@pytest.mark.parametrize("live", ["long-poll", "sse"])
async def test_following_cut_at_every_byte(make: Make, content_type: str, live: LiveMode) -> None:
    if live == "sse" and content_type == "application/octet-stream":
        messages = [b"\x00\xff", b"\xfe"]
    else:
        messages = CONTENT[content_type]
    stream = await make("measured", content_type)
    size = await appending(stream, messages, live, cuts=[])
    assert size > 300
    # Every byte of the richest exchange, behind its first page, which has a test of its own; a sample of the others.
    first, step = (300, 1) if (live, content_type) == ("sse", "application/json") else (0, 7)
    for position in range(first, size + 1, step):
        stream = await make(f"cut-{position}", content_type)
        await appending(stream, messages, live, cuts=[Cut(answer_bytes=position)] * 2)


@pytest.mark.slow
async def test_requests_cut_at_every_byte(make: Make) -> None:
    stream = await make()
    await stream.append("1")
    await stream.close_stream()
    async with CuttingProxy(stream.url) as proxy:
        await follow(proxy.url, live=False)
        size = len(proxy.requests[0])
    for position in range(size):
        async with CuttingProxy(stream.url, [Cut(request_bytes=position)]) as proxy:
            received, _ = await follow(proxy.url, live=False)
            assert received == [b"1"]


PAGE = {"Content_Type": "application/json", "Stream_Next_Offset": "1", "Stream_Up_To_Date": "true"}


async def read(url: str) -> object:
    async with astream(url, live=False, retry=QUICK, timeout=HANG_S) as response:
        return await response.read_json()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507])
async def test_refusals_that_may_pass_are_waited_out(status: int) -> None:
    async with ScriptedServer([answer(status, b"busy"), answer(status), answer(200, b"[1]", **PAGE)]) as server:
        assert await read(server.url) == [1]
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 501])
async def test_refusals_that_will_not_pass_are_raised_at_once(status: int) -> None:
    async with ScriptedServer([answer(status), answer(200, b"[1]", **PAGE)]) as server:
        with pytest.raises(DurableStreamError) as refused:
            await read(server.url)
        assert refused.value.status == status
        assert len(server.requests) == 1


async def test_the_last_refusal_is_raised_when_patience_ends() -> None:
    async with ScriptedServer([answer(503, b"busy")]) as server:
        with pytest.raises(DurableStreamError) as refused:
            async with astream(server.url, retry=ONCE):
                pass
        assert refused.value.code == "BUSY"


async def test_a_server_that_is_not_there() -> None:
    async with ScriptedServer([]) as server:
        url = server.url
    with pytest.raises(FetchError) as fault:
        async with astream(url, retry=ONCE):
            pass
    assert fault.value.url == url


async def test_a_retry_after_is_waited_for() -> None:
    async with ScriptedServer([answer(503, Retry_After="1"), answer(200, b"[1]", **PAGE)]) as server:
        with pytest.raises(DurableStreamError):
            # Patience of half a second does not reach the second attempt, though the policy's own waits are short.
            async with astream(server.url, retry=ONCE):
                pass
        assert await read(server.url) == [1]


async def test_a_204_that_runs_ahead_skips_nothing() -> None:
    live = {**PAGE, "Stream_Cursor": "7"}
    script = [
        answer(200, b"[]", **PAGE),
        answer(204, Stream_Next_Offset="9", Stream_Up_To_Date="true", Stream_Cursor="8"),
        answer(200, b"[1]", **{**live, "Stream_Next_Offset": "2"}),
    ]
    async with ScriptedServer(script) as server, astream(server.url, live="long-poll", retry=QUICK) as response:
        assert await anext(response.iter_json()) == 1
        asked = [head.split(" ")[1] for head, _ in server.requests]
    assert asked == [
        "/stream?max-bytes=1048576",
        "/stream?live=long-poll&offset=1",
        "/stream?cursor=8&live=long-poll&offset=1",
    ]


def event_stream(text: bytes) -> bytes:
    return answer(200, text, Content_Type="text/event-stream")


async def test_data_without_its_control_event_is_asked_for_again() -> None:
    script = [
        answer(200, b"[]", **PAGE),
        event_stream(
            b'event: data\ndata: [1]\n\nevent: control\ndata: {"streamNextOffset":"2"}\n\nevent: data\ndata: [2]\n\n'
        ),
        event_stream(
            b'event: data\ndata: [2]\n\nevent: control\ndata: {"streamNextOffset":"3","streamClosed":true}\n\n'
        ),
    ]
    async with ScriptedServer(script) as server, astream(server.url, live="sse", retry=QUICK) as response:
        assert [item async for item in response.iter_json()] == [1, 2]
        assert "offset=2" in server.requests[2][0]


async def test_several_data_events_before_one_control_event() -> None:
    both = b"event: data\ndata: [1]\n\nevent: other\ndata: x\n\nevent: data\ndata: [\ndata: 2]\n\n"
    script = [
        answer(200, b"[]", **PAGE),
        event_stream(both + b'event: control\ndata: {"streamNextOffset":"2","streamClosed":true}\n\n'),
    ]
    async with ScriptedServer(script) as server, astream(server.url, live="sse", retry=QUICK) as response:
        assert [batch async for batch in response.iter_json_batches()] == [[1, 2]]


async def test_an_event_stream_in_chunks_that_breaks_off() -> None:
    first = b'event: data\ndata: [1]\n\nevent: control\ndata: {"streamNextOffset":"2"}\n\nevent: data\ndata: [2]\n\n'
    second = b'event: data\ndata: [2]\n\nevent: control\ndata: {"streamNextOffset":"3","streamClosed":true}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = [
        answer(200, b"[]", **PAGE),
        head + f"{len(first):x}\r\n".encode() + first + b"\r\n",
        head + f"{len(second):x}\r\n".encode() + second + b"\r\n0\r\n\r\n",
    ]
    async with ScriptedServer(script) as server, astream(server.url, live="sse", retry=QUICK) as response:
        assert [item async for item in response.iter_json()] == [1, 2]


async def test_a_page_in_chunks_that_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nStream-Next-Offset: 1\r\nStream-Up-To-Date: true\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    async with ScriptedServer([head + b"2\r\n[1\r\n", head + b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n"]) as server:
        assert await read(server.url) == [1]
        assert len(server.requests) == 2


async def test_a_stream_that_is_deleted_while_it_is_followed() -> None:
    async with ScriptedServer([answer(200, b"[]", **PAGE), answer(404)]) as server:
        with pytest.raises(StreamNotFoundError):
            async with astream(server.url, live="sse", retry=QUICK) as response:
                await anext(response.iter_json())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b'{"code":"not-found","detail":"x"}', StreamNotFoundError),
        (b'{"code":"gone","detail":"x"}', RetentionGoneError),
        (b'{"code":"replaced","detail":"x"}', RetentionGoneError),
        (b"{}", RetentionGoneError),
        (b"gone", RetentionGoneError),
    ],
)
async def test_an_event_that_says_that_the_stream_is_gone(said: bytes, kind: type[DurableStreamError]) -> None:
    first = b'event: data\ndata: [1]\n\nevent: control\nid: x\ndata: {"streamNextOffset":"2"}\n\n'
    script = [answer(200, b"[]", **PAGE), event_stream(first + b"event: gone\ndata: " + said + b"\n\n")]
    async with ScriptedServer(script) as server, astream(server.url, live="sse", retry=QUICK) as response:
        items = response.iter_json()
        assert await anext(items) == 1
        with pytest.raises(kind):
            await anext(items)
        assert response.offset == "2"
        assert len(server.requests) == 2


async def test_event_streams_that_end_at_once_are_not_asked_for_in_a_hurry() -> None:
    async with ScriptedServer([answer(200, b"[]", **PAGE), event_stream(b": hello\n\n")]) as server:
        with pytest.raises(FetchError, match="ended at once"):
            async with astream(server.url, live="sse", retry=ONCE) as response:
                await anext(response.iter_json())
        assert len(server.requests) == 2


async def test_an_answer_that_is_no_event_stream() -> None:
    async with ScriptedServer([answer(200, b"[]", **PAGE), answer(200, b"[1]", **PAGE)]) as server:
        with pytest.raises(DurableStreamError) as refused:
            async with astream(server.url, live="sse", retry=QUICK) as response:
                await anext(response.iter_json())
        assert refused.value.code == "SSE_NOT_SUPPORTED"


async def test_a_page_whose_end_cannot_be_known_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nStream-Next-Offset: 1\r\n\r\n[1]"
    async with ScriptedServer([head]) as server:
        with pytest.raises(FetchError, match="without a length"):
            await read(server.url)


async def test_a_server_without_tail_is_not_read_from_the_start() -> None:
    async with ScriptedServer([answer(200, b"[1]", **PAGE)]) as server:
        with pytest.raises(DurableStreamError) as refused:
            async with astream(server.url, tail=1, retry=QUICK):
                pass
        assert refused.value.code == "TAIL_NOT_SUPPORTED"

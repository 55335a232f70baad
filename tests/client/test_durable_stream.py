"""The handle and the list, against the real server and against lost answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.client import (
    AppendResult,
    AsyncDurableStream,
    CloseResult,
    DurableStreamError,
    FetchError,
    HeadResult,
    RetentionGoneError,
    SeqConflictError,
    StreamClosedError,
    StreamExistsError,
    StreamListing,
    StreamNotFoundError,
    TailMovedError,
    list_streams,
)
from tests.client.conftest import ONCE, QUICK
from tests.client.proxy import Cut, CuttingProxy, ScriptedServer, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Make = Callable[..., Awaitable[AsyncDurableStream]]


async def stored(stream: AsyncDurableStream) -> list[object]:
    async with stream.stream(live=False) as response:
        return await response.read_json()


async def test_a_life(root: str) -> None:
    url = f"{root}/a/b"
    async with await AsyncDurableStream.create(url, content_type="application/json", ttl_seconds=3600) as stream:
        assert (stream.url, stream.content_type) == (url, "application/json")
        appended = await stream.append('{"n":1}')
        assert appended == AppendResult((await stream.head()).offset or "")
        closed = await stream.close_stream(data="2")
        assert closed == await stream.close_stream()
        head = await stream.head()
        assert head == HeadResult(
            exists=True,
            content_type="application/json",
            offset=closed.final_offset,
            cache_control="no-store",
            stream_closed=True,
            ttl_seconds=3600,
            extensions=head.extensions,
        )
        assert head.extensions >= {"list", "tail"}
        await stream.delete()
        with pytest.raises(StreamNotFoundError):
            await stream.head()


async def test_connecting_learns_the_content_type(make: Make) -> None:
    await make()
    stream = await make("text", "text/plain; charset=utf-8")
    async with await AsyncDurableStream.connect(stream.url) as connected:
        assert connected.content_type == "text/plain; charset=utf-8"


async def test_connecting_to_nothing(root: str) -> None:
    with pytest.raises(StreamNotFoundError) as refused:
        await AsyncDurableStream.connect(f"{root}/nowhere")
    assert refused.value.url == f"{root}/nowhere"


async def test_appending_without_connecting_asks_for_the_content_type(make: Make) -> None:
    stream = await make()
    async with AsyncDurableStream(stream.url) as handle:
        await handle.append("[1,2]")
    assert await stored(stream) == [[1, 2]]


async def test_creating_again_finds_it_and_creating_otherwise_does_not(make: Make, root: str) -> None:
    stream = await make()
    await stream.append("1")
    await stream.create_stream(content_type="application/json")
    assert await stored(stream) == [1]
    with pytest.raises(StreamExistsError):
        await AsyncDurableStream.create(stream.url, content_type="text/plain")


async def test_creating_with_content_and_closed(root: str) -> None:
    url = f"{root}/whole"
    async with await AsyncDurableStream.create(
        url, content_type="application/json", body="[1,2]", closed=True, expires_at="2999-01-01T00:00:00Z"
    ) as stream:
        assert await stored(stream) == [1, 2]
        head = await stream.head()
        assert (head.stream_closed, head.expires_at) == (True, "2999-01-01T00:00:00.000Z")
        with pytest.raises(StreamClosedError) as refused:
            await stream.append("3")
        assert refused.value.final_offset == head.offset
        with pytest.raises(StreamClosedError):
            await stream.close_stream(data="3")
        assert await stream.close_stream() == CloseResult(head.offset or "")


async def test_a_seq_that_does_not_rise(make: Make) -> None:
    stream = await make()
    await stream.append("1", seq="b")
    with pytest.raises(SeqConflictError):
        await stream.append("2", seq="a")
    assert await stored(stream) == [1]


async def test_another_content_type(make: Make) -> None:
    stream = await make()
    with pytest.raises(DurableStreamError) as refused:
        await stream.append("x", content_type="text/plain")
    assert (refused.value.status, refused.value.code) == (409, "CONFLICT")


async def test_what_is_not_one_message_is_not_sent(make: Make) -> None:
    stream = await make()
    for wrong in ("1,2", "", "{"):
        with pytest.raises(DurableStreamError) as refused:
            await stream.append(wrong)
        assert refused.value.status is None


async def test_forks(make: Make, root: str) -> None:
    stream = await make("source/ä")
    first = await stream.append("1")
    await stream.append("2")
    await stream.append("3")
    whole = await stream.fork(f"{root}/whole")
    part = await stream.fork(f"{root}/part", offset=first.next_offset, sub_offset=1, ttl_seconds=60)
    await part.append("4")
    assert await stored(whole) == [1, 2, 3]
    assert await stored(part) == [1, 2, 4]
    assert part.content_type == "application/json"
    assert (await part.head()).ttl_seconds == 60
    with pytest.raises(DurableStreamError) as refused:
        await stream.fork(f"{root}/beyond", offset="9" * 16)
    assert refused.value.status == 400
    await stream.delete()
    with pytest.raises(RetentionGoneError):
        await stream.head()
    with pytest.raises(StreamExistsError):
        await stream.fork(f"{root}/late")


async def test_a_plain_append_is_not_repeated_when_it_may_have_happened(make: Make) -> None:
    stream = await make()
    async with CuttingProxy(stream.url, [Cut(), Cut(answer_bytes=0)]) as proxy:
        async with AsyncDurableStream(proxy.url, content_type="application/json", retry=QUICK) as handle:
            await handle.head()
        async with AsyncDurableStream(proxy.url, content_type="application/json", retry=QUICK) as handle:
            with pytest.raises(FetchError):
                await handle.append("1")
        assert proxy.connection_count == 2
    assert await stored(stream) == [1]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_plain_append_is_not_repeated_after_a_gateway_gave_up(status: int) -> None:
    async with ScriptedServer([answer(status)]) as server:
        async with AsyncDurableStream(server.url, content_type="text/plain", retry=QUICK) as handle:
            with pytest.raises(DurableStreamError) as refused:
                await handle.append("1")
        assert refused.value.status == status
        assert len(server.requests) == 1


@pytest.mark.parametrize("refusal", [answer(429), answer(408), answer(503, Retry_After="0")])
async def test_a_plain_append_that_was_turned_away_is_repeated(refusal: bytes) -> None:
    async with ScriptedServer([refusal, answer(204, Stream_Next_Offset="1")]) as server:
        async with AsyncDurableStream(server.url, content_type="text/plain", retry=QUICK) as handle:
            assert (await handle.append("1")).next_offset == "1"
        assert len(server.requests) == 2


REPEATABLE: dict[str, Callable[[AsyncDurableStream], Awaitable[object]]] = {
    "create": lambda handle: handle.create_stream(content_type="application/json"),
    "head": lambda handle: handle.head(),
    "close": lambda handle: handle.close_stream(),
    "delete": lambda handle: handle.delete(),
}


@pytest.mark.parametrize("operation", REPEATABLE)
async def test_requests_that_change_nothing_twice_are_repeated(make: Make, operation: str) -> None:
    stream = await make()
    async with CuttingProxy(stream.url, [Cut(answer_bytes=0), Cut(answer_bytes=10)]) as proxy:
        async with AsyncDurableStream(proxy.url, retry=QUICK) as handle:
            await REPEATABLE[operation](handle)
        assert proxy.connection_count == 3
    if operation == "delete":
        with pytest.raises(StreamNotFoundError):
            await stream.head()
    else:
        assert (await stream.head()).stream_closed == (operation == "close")


async def test_a_redirected_append_is_not_taken_for_acknowledged() -> None:
    async with ScriptedServer([answer(302, Location="/elsewhere"), answer(200, Stream_Next_Offset="1")]) as server:
        async with AsyncDurableStream(server.url, content_type="text/plain", retry=QUICK) as handle:
            with pytest.raises(DurableStreamError) as refused:
                await handle.append("1")
        assert refused.value.status == 302
        assert len(server.requests) == 1


async def test_an_acknowledgement_without_an_offset() -> None:
    async with ScriptedServer([answer(200, b"hello")]) as server:
        async with AsyncDurableStream(server.url, content_type="text/plain", retry=QUICK) as handle:
            with pytest.raises(DurableStreamError) as refused:
                await handle.append("1")
        assert refused.value.code == "MISSING_OFFSET"


async def test_deleting_nothing_is_refused_if_nothing_was_lost(root: str) -> None:
    async with AsyncDurableStream(f"{root}/nowhere", retry=QUICK) as handle:
        with pytest.raises(StreamNotFoundError):
            await handle.delete()


async def test_listing(make: Make, root: str) -> None:
    for number in range(7):
        await make(f"many/{number}")
    await (await make("other", "text/plain")).close_stream()
    fork = await (await make("many/0")).fork(f"{root}/zz", ttl_seconds=60)
    listed = [entry async for entry in list_streams(root, page_size=3, retry=QUICK)]
    assert [entry.path for entry in listed] == [*(f"many/{n}" for n in range(7)), "other", "zz"]
    head = await fork.head()
    assert listed[-2].closed
    assert listed[-2].content_type == "text/plain"
    assert listed[-1] == StreamListing(
        "zz", "application/json", head.offset or "", closed=False, ttl_s=60, forked_from=listed[-1].forked_from
    )
    assert (listed[-1].forked_from or "").endswith("many/0")
    some = [entry.path async for entry in list_streams(root + "/", prefix="many/", after="many/4", retry=QUICK)]
    assert some == ["many/5", "many/6"]


async def test_breaking_off_a_list(make: Make, root: str) -> None:
    await make()
    entries = list_streams(root, page_size=1, retry=QUICK)
    async for entry in entries:
        assert entry.path == "s"
        break
    await entries.aclose()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"streams":1}'])
async def test_a_list_that_is_none(body: bytes) -> None:
    async with ScriptedServer([answer(200, body)]) as server:
        with pytest.raises(DurableStreamError) as refused:
            await anext(list_streams(server.url, retry=ONCE))
        assert refused.value.code == "PARSE_ERROR"


async def test_compare_and_swap(make: Make) -> None:
    stream = await make()
    tail = (await stream.append("1", if_match="0000000000000000")).next_offset
    for write in (
        stream.append("2", if_match="0000000000000000"),
        stream.close_stream(if_match="0000000000000000"),
        stream.delete(if_match="0000000000000000"),
    ):
        with pytest.raises(TailMovedError) as moved:
            await write
        assert (moved.value.current_offset, moved.value.stream_closed) == (tail, False)
    tail = (await stream.append("2", if_match=tail)).next_offset
    assert (await stream.close_stream(if_match=tail)).final_offset == tail
    assert await stored(stream) == [1, 2]
    with pytest.raises(TailMovedError) as moved:
        await stream.delete(if_match="0000000000000000")
    assert moved.value.stream_closed
    await stream.delete(if_match=tail)

"""Appends that travel together, against the real server, a server without the extension, and lost answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.client import (
    AsyncDurableStream,
    BatchAppender,
    DurableStreamError,
    FetchError,
    ProducerTriple,
    RetryPolicy,
    SequenceGapError,
    StaleEpochError,
    StreamClosedError,
    StreamNotFoundError,
)
from durable_streams.client.batch_appender import LINE_MAX_BYTES
from tests.client.conftest import ONCE, QUICK
from tests.client.proxy import Cut, CuttingProxy, ScriptedServer, answer
from tests.client.test_append_as import stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Make = Callable[..., Awaitable[AsyncDurableStream]]

JSON = "application/json"
GEN = ProducerTriple("gen", 0, 0)


@asynccontextmanager
async def appending(root: str, retry: RetryPolicy = QUICK) -> AsyncIterator[Callable[..., AsyncDurableStream]]:
    """Make handles whose appends travel together."""
    async with AsyncDurableStream(root) as session_holder:
        client = session_holder._endpoint.session
        appender = BatchAppender(root, client=client, retry=retry)

        def handle(path: str, content_type: str = JSON) -> AsyncDurableStream:
            url = f"{root.rstrip('/')}/{path}"
            return AsyncDurableStream(url, content_type=content_type, client=client, retry=retry, appender=appender)

        yield handle
        await appender.aclose()


def requests(proxy: CuttingProxy) -> bytes:
    return b"".join(bytes(one) for one in proxy.requests)


async def test_what_comes_together_is_one_request(root: str, make: Make) -> None:
    streams = [await make(f"s{n}") for n in range(50)]
    async with CuttingProxy(root) as proxy, appending(proxy.url) as handle:
        results = await asyncio.gather(*(handle(f"s{n}").append_as(GEN, [b"%d" % n, b"[]"]) for n in range(50)))
        assert requests(proxy).count(b"POST ") == 1
    assert not any(one.duplicate or one.in_doubt for one in results)
    for number, (stream, result) in enumerate(zip(streams, results, strict=True)):
        assert await stored(stream) == [number, []]
        assert (await stream.head()).offset == result.offset


async def test_offsets_duplicates_and_closes_are_as_alone(root: str, make: Make) -> None:
    stream = await make("s")
    async with appending(root) as handle:
        together = handle("s")
        first = await together.append_as(GEN, [b"1"])
        assert first.offset == (await stream.head()).offset
        assert (await together.append_as(GEN, [b"2"])).duplicate
        closed = await together.append_as(ProducerTriple("gen", 0, 1), [], close=True)
        assert (closed.duplicate, closed.offset) == (False, first.offset)
        assert (await stream.head()).stream_closed
    assert await stored(stream) == [1]


async def test_bytes_are_bytes(root: str, make: Make) -> None:
    stream = await make("raw", "application/octet-stream")
    async with appending(root) as handle:
        await handle("raw", "application/octet-stream").append_as(GEN, [b"\x00\xff", b"\n"])
    async with stream.stream(live=False) as response:
        assert await response.read_bytes() == b"\x00\xff\n"


async def test_a_refusal_is_the_one_it_would_be_alone_and_harms_nobody(root: str, make: Make) -> None:
    for name in ("closed", "stale", "gap", "fine"):
        await make(name)
    await (await make("closed")).close_stream()
    await (await make("stale")).append_as(ProducerTriple("gen", 3, 0), [b"1"])
    async with appending(root) as handle:
        said = await asyncio.gather(
            handle("closed").append_as(GEN, [b"1"]),
            handle("stale").append_as(GEN, [b"1"]),
            handle("gap").append_as(ProducerTriple("gen", 0, 2), [b"1"]),
            handle("missing").append_as(GEN, [b"1"]),
            handle("fine").append_as(GEN, [b"1"]),
            return_exceptions=True,
        )
    kinds = [type(one) for one in said[:4]]
    assert kinds == [StreamClosedError, StaleEpochError, SequenceGapError, StreamNotFoundError]
    assert isinstance(said[1], StaleEpochError)
    assert said[1].current_epoch == 3
    assert await stored(await make("fine")) == [1]


async def test_a_lost_answer_leaves_one_copy_of_each(root: str, make: Make) -> None:
    streams = [await make(f"s{n}") for n in range(5)]
    async with CuttingProxy(root, [Cut(answer_bytes=0)]) as proxy, appending(proxy.url) as handle:
        results = await asyncio.gather(*(handle(f"s{n}").append_as(GEN, [b"1"]) for n in range(5)))
    assert all(one.duplicate and one.in_doubt for one in results)
    assert [await stored(stream) for stream in streams] == [[1]] * 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_many_writers_over_connections_that_are_cut_anywhere(root: str, make: Make, seed: int) -> None:
    streams = [await make(f"s{n}") for n in range(20)]
    cuts = [
        Cut(answer_bytes=(seed * 37 + n * 61) % 900) if n % 2 else Cut(request_bytes=(seed * 53 + n * 71) % 2000)
        for n in range(40)
    ]

    async def write(stream: AsyncDurableStream) -> int:
        results = [await stream.append_as(ProducerTriple("gen", 0, n), [b"%d" % n]) for n in range(30)]
        await stream.append_as(ProducerTriple("gen", 0, 30), [b'"end"'], close=True)
        assert not any(one.duplicate and not one.in_doubt for one in results)
        return sum(one.duplicate for one in results)

    async with CuttingProxy(root, cuts) as proxy, appending(proxy.url) as handle:
        duplicates = await asyncio.gather(*(write(handle(f"s{n}")) for n in range(20)))
        assert not proxy.cuts
    assert sum(duplicates) > 0
    for stream in streams:
        assert await stored(stream) == [*range(30), "end"]


async def test_a_request_cut_short_is_made_again(root: str, make: Make) -> None:
    stream = await make("s")
    async with CuttingProxy(root, [Cut(request_bytes=200)]) as proxy, appending(proxy.url) as handle:
        await handle("s").append_as(GEN, [b'"' + b"x" * 1000 + b'"'])
    assert await stored(stream) == ["x" * 1000]


@pytest.mark.parametrize(
    "refusal", [answer(404), answer(405), answer(401), answer(400), answer(200, b"<html>", Content_Type="text/html")]
)
async def test_without_the_extension_each_goes_alone(refusal: bytes) -> None:
    accepted = answer(200, Stream_Next_Offset="05", Producer_Epoch="0", Producer_Seq="0")
    async with ScriptedServer([refusal, accepted]) as server, appending(server.url) as handle:
        result = await handle("s").append_as(GEN, [b"1"])
        again = await handle("s").append_as(ProducerTriple("gen", 0, 1), [b"2"])
    asked = [head.split(" ")[1] for head, _ in server.requests]
    # A refusal of this one request says nothing of the next.
    third = "/stream/__ds/batch" if refusal == answer(400) else "/stream/s"
    assert asked[:3] == ["/stream/__ds/batch", "/stream/s", third]
    assert (result.offset, result.duplicate) == ("05", False)
    assert again.offset == "05"


async def test_a_store_that_fails_leaves_a_doubt() -> None:
    failing = answer(200, b'{"status":503,"code":"store-failed","detail":""}\n')
    duplicate = answer(204, Stream_Next_Offset="05", Producer_Epoch="0", Producer_Seq="0")
    async with ScriptedServer([failing, duplicate]) as server, appending(server.url) as handle:
        result = await handle("s").append_as(GEN, [b"1"])
    assert (result.duplicate, result.in_doubt) == (True, True)


async def test_no_answer_is_everybodys_failure() -> None:
    async with ScriptedServer([answer(503)]) as server, appending(server.url, ONCE) as handle:
        said = await asyncio.gather(*(handle(f"s{n}").append_as(GEN, [b"1"]) for n in range(3)), return_exceptions=True)
        url = server.url
    assert [type(one) for one in said] == [DurableStreamError] * 3
    async with appending(url, ONCE) as handle:
        with pytest.raises(FetchError):
            await handle("s").append_as(GEN, [b"1"])


async def test_nobodys_cancellation_touches_the_others(root: str, make: Make) -> None:
    streams = [await make(f"s{n}") for n in range(2)]
    async with CuttingProxy(root) as proxy, appending(proxy.url) as handle:
        first, second = (asyncio.create_task(handle(f"s{n}").append_as(GEN, [b"1"])) for n in range(2))
        await proxy.asked.wait()
        first.cancel()
        await second
        assert first.cancelled() or await asyncio.wait([first])
    assert await stored(streams[1]) == [1]


async def test_what_is_cancelled_before_it_leaves_is_not_sent(root: str, make: Make) -> None:
    stream = await make("s")
    async with appending(root) as handle:
        task = asyncio.create_task(handle("s").append_as(GEN, [b"1"]))
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        await handle("s").append_as(ProducerTriple("other", 0, 0), [b"2"])
    assert await stored(stream) == [2]


async def test_large_appends_and_foreign_streams_go_alone(root: str, make: Make) -> None:
    large, other = await make("large"), await make("other")
    async with appending(f"{root.rstrip('/')}/below") as handle, appending(root) as at_root:
        await at_root("large").append_as(GEN, [b'"' + b"x" * LINE_MAX_BYTES + b'"'])
        foreign = AsyncDurableStream(other.url, content_type=JSON, appender=handle("s")._appender)
        async with foreign:
            await foreign.append_as(GEN, [b"1"])
    assert [len(one) for one in await stored(large) if isinstance(one, str)] == [LINE_MAX_BYTES]
    assert await stored(other) == [1]


async def test_closing_tells_who_still_waits() -> None:
    async with ScriptedServer([answer(503)]) as server, appending(server.url, RetryPolicy(60, 60)) as handle:
        waiting = asyncio.create_task(handle("s").append_as(GEN, [b"1"]))
        await server.asked.wait()
        appender: Any = handle("s")._appender
        await appender.aclose()
        with pytest.raises(DurableStreamError, match="closed"):
            await waiting

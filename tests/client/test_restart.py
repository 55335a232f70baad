"""The real server process killed and restarted under producers and followers; afterwards both sides are compared."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from durable_streams.client import AsyncDurableStream, IdempotentProducer, RetryPolicy, astream
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.client import LiveMode
    from tests.conftest import Serve
    from tests.serving import ServerProcess

PATIENT = RetryPolicy(initial_s=0.01, max_s=0.2, give_up_after_s=HANG_S)
MESSAGE_COUNT = 3000
ENDINGS: dict[str, Callable[[ServerProcess], object]] = {
    "killed": lambda server: server.kill(),
    "drained": lambda server: server.stop(),
}


def messages(content_type: str) -> list[bytes]:
    drawn = random.Random(7)
    lines = [f"{n} {'é' * drawn.randrange(40)}" for n in range(MESSAGE_COUNT)]
    return [f'"{line}"'.encode() if content_type == "application/json" else line.encode() for line in lines]


async def follow(url: str, live: LiveMode, seen: asyncio.Semaphore) -> tuple[list[bytes], str]:
    received: list[bytes] = []
    async with astream(url, live=live, retry=PATIENT) as response:
        json_mode = response.content_type == "application/json"
        chunks = response.iter_messages() if json_mode else response.iter_bytes()
        async for chunk in chunks:
            received.append(chunk)
            seen.release()
        assert response.stream_closed
        return received, response.offset


async def produce(url: str, content_type: str, sent: list[bytes]) -> None:
    async with IdempotentProducer(
        url, "writer", content_type=content_type, max_batch_bytes=700, linger_ms=1, retry=PATIENT, max_buffer_bytes=4000
    ) as producer:
        for message in sent:
            producer.append(message)
            await producer.drain()
        await producer.close_stream(sent[0])


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
async def test_restarts_under_load(serve: Serve, content_type: str, ending: str) -> None:
    server = serve(arguments=["--long-poll-timeout-ms", "500"])
    url = server.stream_url("followed")
    sent = messages(content_type)
    lives: list[LiveMode] = ["long-poll", "sse"] if content_type == "application/json" else ["long-poll", True]
    seen = [asyncio.Semaphore(0) for _ in lives]
    async with await AsyncDurableStream.create(url, content_type=content_type) as stream:
        followers = [asyncio.create_task(follow(url, live, one)) for live, one in zip(lives, seen, strict=True)]
        producing = asyncio.create_task(produce(url, content_type, sent))
        for _ in range(3):
            for one in seen:
                for _ in range(20):
                    await one.acquire()
            await asyncio.to_thread(ENDINGS[ending], server)
            await asyncio.to_thread(server.start)
        await producing
        expected = [*sent, sent[0]]
        final_offset = (await stream.head()).offset
        for received, offset in await asyncio.gather(*followers):
            assert offset == final_offset
            if content_type == "application/json":
                assert received == expected
            else:
                assert b"".join(received) == b"".join(expected)


async def test_a_reader_may_start_before_the_server(serve: Serve) -> None:
    server = serve()
    url = server.stream_url("early")
    async with await AsyncDurableStream.create(url, content_type="text/plain", body="here") as _:
        pass
    server.kill()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read(url))
        tasks.create_task(asyncio.to_thread(server.start))
    assert reading.result() == "here"


async def read(url: str) -> str:
    async with astream(url, live=False, retry=PATIENT) as response:
        return await response.read_text()

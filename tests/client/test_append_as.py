"""Appends under an explicit producer triple, against the real server and against lost answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.client import (
    AsyncDurableStream,
    DurableStreamError,
    ProducerTriple,
    SequenceGapError,
    StaleEpochError,
    StreamClosedError,
)
from tests.client.conftest import QUICK
from tests.client.proxy import Cut, CuttingProxy, ScriptedServer, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Make = Callable[..., Awaitable[AsyncDurableStream]]


async def stored(stream: AsyncDurableStream) -> list[object]:
    async with stream.stream(live=False) as response:
        return await response.read_json()


async def test_first_under_a_triple_wins_and_the_rest_are_told(make: Make) -> None:
    stream = await make()
    first = await stream.append_as(ProducerTriple("turn", 0, 0), [b"1", b"[2]"])
    second = await stream.append_as(ProducerTriple("turn", 0, 0), [b"3"])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert await stored(stream) == [1, [2]]


async def test_soon_is_at_once_what_will_be_the_result(make: Make) -> None:
    stream = await make()
    first, refused = (stream.append_soon(ProducerTriple("gen", 0, seq), [b"1"]) for seq in (0, 5))
    assert not (await first).duplicate
    with pytest.raises(SequenceGapError):
        await refused
    with pytest.raises(DurableStreamError, match="EMPTY_BODY"):
        _ = stream.append_soon(ProducerTriple("gen", 0, 1), [b""])


async def test_refusals_are_told_apart(make: Make) -> None:
    stream = await make()
    with pytest.raises(SequenceGapError):
        await stream.append_as(ProducerTriple("gen", 0, 1), [b"1"])
    await stream.append_as(ProducerTriple("gen", 1, 0), [b"1"])
    with pytest.raises(StaleEpochError) as stale:
        await stream.append_as(ProducerTriple("gen", 0, 0), [b"2"])
    assert stale.value.current_epoch == 1
    with pytest.raises(DurableStreamError, match="EMPTY_BODY"):
        await stream.append_as(ProducerTriple("gen", 1, 1), [b""])


async def test_a_close_is_decided_once(make: Make) -> None:
    stream = await make()
    stop = ProducerTriple("stop", 0, 0)
    assert not (await stream.append_as(stop, [b'{"by":1}'], close=True)).duplicate
    assert (await stream.append_as(stop, [b'{"by":2}'], close=True)).duplicate
    with pytest.raises(StreamClosedError):
        await stream.append_as(ProducerTriple("gen", 0, 0), [b"3"])
    assert await stored(stream) == [{"by": 1}]


async def test_a_lost_answer_leaves_one_copy_and_says_that_it_was_in_doubt(make: Make) -> None:
    stream = await make()
    async with (
        CuttingProxy(stream.url, [Cut(answer_bytes=0)]) as proxy,
        AsyncDurableStream(proxy.url, content_type="application/json", retry=QUICK) as cut,
    ):
        result = await cut.append_as(ProducerTriple("gen", 0, 0), [b"1"])
    assert (result.duplicate, result.in_doubt) == (True, True)
    assert await stored(stream) == [1]


async def test_a_2xx_that_acknowledges_nothing_is_no_acknowledgement() -> None:
    """As of a captive portal: whoever took it for one would go on to the next append, and lose this one."""
    async with (
        ScriptedServer([answer(200, b"<html>welcome to the hotel</html>")]) as server,
        AsyncDurableStream(server.url, content_type="text/plain", retry=QUICK) as stream,
    ):
        with pytest.raises(DurableStreamError, match="acknowledges nothing"):
            await stream.append_as(ProducerTriple("gen", 0, 0), [b"1"])

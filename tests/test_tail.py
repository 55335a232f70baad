"""The hub: who follows is told in order, a slice a turn, and only while they follow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.errors import NotFoundError
from durable_streams.protocol.head import Head
from durable_streams.protocol.sse import Encoding
from durable_streams.streams.tail import FRAME_MAX_BYTES, TOLD_COUNT, UNTOLD_MAX_BYTES, Frame, Hub

if TYPE_CHECKING:
    from durable_streams.protocol.errors import StreamError


def head(sid: int, tail: int) -> Head:
    return Head(f"s{sid}", sid, 1, tail, 0, 0, 0, 0, b"")


class Listener:
    """Notes what it is told; leaves at its first news if it is ``brief``."""

    def __init__(self, hub: Hub, sid: int, heard: list[tuple[int, int]], *, brief: bool = False) -> None:
        self._hub, self._sid, self._heard, self._brief = hub, sid, heard, brief
        self.gone = 0
        self.large = 0

    def on_frame(self, frame: Frame) -> None:
        self._heard.append((self._sid, frame.end))
        self.large += frame.is_large
        if self._brief:
            self._hub.unfollow(self._sid, self)

    def on_gone(self, why: StreamError) -> None:
        assert isinstance(why, NotFoundError)
        self.gone += 1


async def turns_until_idle(hub: Hub) -> int:
    count = 0
    while not hub.is_idle:
        await asyncio.sleep(0)
        count += 1
    return count


@pytest.fixture
def heard() -> list[tuple[int, int]]:
    return []


async def test_very_many_are_told_a_slice_a_turn_and_in_order(heard: list[tuple[int, int]]) -> None:
    hub = Hub()
    listeners = [Listener(hub, 1, heard) for _ in range(4 * TOLD_COUNT)]
    for listener in listeners:
        hub.follow(head(1, 0), Encoding.TEXT, listener)
    hub.publish(head(1, 3), b"abc")
    hub.tell()
    assert len(heard) == TOLD_COUNT
    hub.publish(head(1, 5), b"de")
    hub.tell()
    assert len(heard) == TOLD_COUNT, "what waits is not overtaken"
    assert await turns_until_idle(hub) >= 7
    assert heard == [(1, 3)] * len(listeners) + [(1, 5)] * len(listeners)


async def test_very_many_streams_are_told_a_slice_a_turn(heard: list[tuple[int, int]]) -> None:
    hub = Hub()
    for sid in range(4 * TOLD_COUNT):
        hub.follow(head(sid, 0), Encoding.TEXT, Listener(hub, sid, heard))
        hub.publish(head(sid, 1), b"x")
    hub.tell()
    assert len(heard) == TOLD_COUNT // 2, "making a frame counts as well"
    await turns_until_idle(hub)
    assert len(heard) == 4 * TOLD_COUNT


async def test_who_leaves_while_it_waits_is_told_nothing(heard: list[tuple[int, int]]) -> None:
    hub = Hub()
    listeners = [Listener(hub, 1, heard) for _ in range(2 * TOLD_COUNT)]
    for listener in listeners:
        hub.follow(head(1, 0), Encoding.TEXT, listener)
    hub.publish(head(1, 1), b"x")
    hub.gone(1, NotFoundError("s1"))
    hub.tell()
    hub.unfollow(1, listeners[-1])
    await turns_until_idle(hub)
    assert len(heard) == len(listeners) - 1, "what was added is told before the end"
    assert [listener.gone for listener in listeners] == [1] * (len(listeners) - 1) + [0]
    assert not hub.is_followed(1)


async def test_one_that_leaves_when_told_is_gone(heard: list[tuple[int, int]]) -> None:
    hub = Hub()
    hub.follow(head(1, 0), Encoding.TEXT, Listener(hub, 1, heard, brief=True))
    hub.publish(head(1, 1), b"x")
    hub.tell()
    assert (heard, hub.is_followed(1)) == ([(1, 1)], False)


async def test_large_and_much_news_come_without_their_bytes(heard: list[tuple[int, int]]) -> None:
    hub = Hub()
    listener = Listener(hub, 1, heard)
    hub.follow(head(1, 0), Encoding.TEXT, listener)
    end = FRAME_MAX_BYTES + 1
    hub.publish(head(1, end), bytes(end))
    hub.tell()
    assert listener.large == 1

    for _ in range(UNTOLD_MAX_BYTES // FRAME_MAX_BYTES + 1):
        end += FRAME_MAX_BYTES
        hub.publish(head(1, end), bytes(FRAME_MAX_BYTES))
    hub.tell()
    assert listener.large == 2, "only the last did not fit"
    hub.publish(head(1, end + 1), b"x")
    hub.tell()
    assert listener.large == 2, "there is room again"

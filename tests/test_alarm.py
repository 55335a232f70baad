"""One timer for many deadlines, on a loop whose time the test moves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_streams.runtime.alarm import Alarm
from durable_streams.runtime.clock import ManualClock
from tests.loops import StillLoop, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HORIZON_MS = 10_000


class Watched:
    """An alarm, and how often it has rung. ``pass_ms`` moves the clock and the loop alike."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.alarm = Alarm(self.clock, HORIZON_MS)
        self.rung_count = 0
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            await self.alarm.rung()
            self.rung_count += 1

    def set_in(self, *waits_ms: int) -> None:
        for wait_ms in waits_ms:
            self.alarm.set(self.clock.now_ms() + wait_ms)

    async def pass_ms(self, by_ms: int) -> int:
        """Return how often it has rung by then."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StillLoop)
        for _ in range(by_ms):
            self.clock.advance_ms(1)
            loop.advance_s(0.001)
            await asyncio.sleep(0)
        await turns()
        return self.rung_count


@pytest.mark.parametrize("waits_ms", [(5,), (5, 9), (9, 5), (9, 5, 5, 7), (5, HORIZON_MS + 1)])
def test_it_rings_once_at_the_earliest_and_not_before(waits_ms: tuple[int, ...]) -> None:
    async def watch() -> None:
        watched = Watched()
        watched.set_in(*waits_ms)
        assert await watched.pass_ms(5) == 0, "what rings early finds nothing due"
        assert await watched.pass_ms(2) == 1
        assert await watched.pass_ms(20) == 1, "the later ones are looked for by whoever was woken"

    on_still_time(watch)


@pytest.mark.parametrize("wait_ms", [0, -1, -1_000_000])
def test_what_is_due_already_rings_soon(wait_ms: int) -> None:
    async def watch() -> None:
        watched = Watched()
        watched.set_in(wait_ms)
        assert await watched.pass_ms(2) == 1

    on_still_time(watch)


def test_beyond_the_horizon_it_is_not_set() -> None:
    async def watch() -> None:
        watched = Watched()
        watched.set_in(HORIZON_MS + 1)
        assert await watched.pass_ms(HORIZON_MS + 5) == 0
        watched.set_in(HORIZON_MS)
        assert await watched.pass_ms(HORIZON_MS + 2) == 1

    on_still_time(watch)


def test_after_it_has_rung_it_is_set_anew() -> None:
    async def watch() -> None:
        watched = Watched()
        for count in range(1, 4):
            watched.set_in(8)
            assert await watched.pass_ms(8) == count - 1
            assert await watched.pass_ms(2) == count

    on_still_time(watch)


def test_what_rang_while_nobody_waited_is_heard_once() -> None:
    async def watch() -> None:
        watched = Watched()
        watched._listening.cancel()
        for _ in range(2):
            watched.set_in(1)
            await watched.pass_ms(3)
        await watched.alarm.rung()
        again = asyncio.create_task(watched.alarm.rung())
        await turns()
        assert not again.done()

    on_still_time(watch)


def on_still_time(test: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        runner.run(test())

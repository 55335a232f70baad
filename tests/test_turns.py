"""Work shared out over turns of the loop: so much in one, first come, first served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from durable_streams.runtime.turns import STEP_BYTES, TURN_BYTES, Turns

if TYPE_CHECKING:
    from collections.abc import Callable


def noting(done: list[int], number: int, cost_bytes: int) -> Callable[[], int]:
    def step() -> int:
        done.append(number)
        return cost_bytes

    return step


async def test_a_turn_ends_once_it_has_cost_enough() -> None:
    turns = Turns()
    done: list[int] = []
    for number in range(5):
        turns.add(noting(done, number, TURN_BYTES // 2))
    for expected in ([0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4]):
        await asyncio.sleep(0)
        assert done == expected


async def test_steps_of_nothing_are_counted_too() -> None:
    turns = Turns()
    done: list[int] = []
    for number in range(1_000):
        turns.add(noting(done, number, 0))
    await asyncio.sleep(0)
    assert done == list(range(TURN_BYTES // STEP_BYTES))


async def test_who_has_more_to_do_goes_behind_the_others() -> None:
    turns = Turns()
    names: list[str] = []

    def step(name: str, left: int) -> int:
        names.append(name)
        if left:
            turns.add(lambda: step(name, left - 1))
        return TURN_BYTES

    turns.add(lambda: step("a", 2))
    turns.add(lambda: step("b", 1))
    for _ in range(6):
        await asyncio.sleep(0)
    assert "".join(names) == "ababa"


async def test_one_that_fails_keeps_nobody_from_a_turn() -> None:
    turns = Turns()
    done: list[int] = []

    def fail() -> int:
        raise AssertionError("on purpose")

    turns.add(fail)
    turns.add(noting(done, 1, 0))
    await asyncio.sleep(0)
    assert done == [1]


async def test_a_turn_may_be_waited_for_and_given_up() -> None:
    turns = Turns()
    given_up = asyncio.create_task(turns.mine(TURN_BYTES))
    waits = [asyncio.create_task(turns.mine(TURN_BYTES)) for _ in range(2)]
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait_for(asyncio.gather(*waits), None)

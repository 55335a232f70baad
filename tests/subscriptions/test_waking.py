"""The queue between commits and deliveries."""

from __future__ import annotations

import asyncio

from durable_streams.subscriptions.waking import WakingQueue
from tests.loops import turns


async def test_first_come_first_served() -> None:
    queue = WakingQueue()
    for path in ("b", "a", "c"):
        queue.offer(path)
    assert [await queue.take() for _ in range(3)] == ["b", "a", "c"]


async def test_a_path_waits_once_and_may_come_again_when_taken() -> None:
    queue = WakingQueue()
    for path in ("a", "b", "a"):
        queue.offer(path)
    assert await queue.take() == "a"
    queue.offer("a")
    assert [await queue.take() for _ in range(2)] == ["b", "a"]
    third = asyncio.create_task(queue.take())
    await turns()
    assert not third.done()
    third.cancel()


async def test_whoever_takes_from_an_empty_queue_waits_for_the_next() -> None:
    queue = WakingQueue()
    for path in ("a", "b"):  # also when it was emptied in between
        taking = asyncio.create_task(queue.take())
        await turns()
        assert not taking.done()
        queue.offer(path)
        assert await taking == path


async def test_one_that_is_cancelled_takes_nothing_along() -> None:
    """Nor does one that was to have a path, and is cancelled in the same turn."""
    queue = WakingQueue()
    for offered_first in (False, True):
        taking = asyncio.create_task(queue.take())
        await turns()
        if offered_first:
            queue.offer("a")
        taking.cancel()
        await asyncio.wait([taking])
        assert taking.cancelled()
        queue.offer("a")
        assert await queue.take() == "a"


async def test_of_two_that_wait_each_has_one() -> None:
    queue = WakingQueue()
    both = [asyncio.create_task(queue.take()) for _ in range(2)]
    await turns()
    queue.offer("a")
    await turns()
    assert [task.done() for task in both] == [True, False]
    queue.offer("b")
    assert [await task for task in both] == ["a", "b"]

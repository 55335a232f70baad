"""The queue between commits and deliveries."""

from __future__ import annotations

import asyncio

from durable_streams.subscriptions.waking import FAILED_MAX, FAILING_MAX, HOST_MAX, WakingQueue
from tests.loops import turns


async def test_first_come_first_served() -> None:
    queue = WakingQueue()
    for path in ("b", "a", "c"):
        queue.offer(path)
    assert [(await queue.take()).path for _ in range(3)] == ["b", "a", "c"]


async def test_a_path_waits_once_and_may_come_again_when_taken() -> None:
    queue = WakingQueue()
    for path in ("a", "b", "a"):
        queue.offer(path)
    assert (await queue.take()).path == "a"
    queue.offer("a")
    assert [(await queue.take()).path for _ in range(2)] == ["b", "a"]
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
        assert (await taking).path == path


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
        assert (await queue.take()).path == "a"


async def test_of_two_that_wait_each_has_one() -> None:
    queue = WakingQueue()
    both = [asyncio.create_task(queue.take()) for _ in range(2)]
    await turns()
    queue.offer("a")
    await turns()
    assert [task.done() for task in both] == [True, False]
    queue.offer("b")
    assert [(await task).path for task in both] == ["a", "b"]


async def nothing_comes(queue: WakingQueue) -> None:
    taking = asyncio.create_task(queue.take())
    await turns()
    assert not taking.done()
    taking.cancel()


async def test_a_host_that_holds_its_slots_keeps_no_other_waiting() -> None:
    queue = WakingQueue()
    for number in range(HOST_MAX + 2):
        queue.offer(f"dead/{number}", "dead")
    queue.offer("well", "well")
    taken = [await queue.take() for _ in range(HOST_MAX + 1)]
    assert taken[1].path == "well", "hosts take turns"
    await nothing_comes(queue)

    queue.give_back(taken[0], failed=True)
    assert (await queue.take()).path == f"dead/{HOST_MAX}"
    await nothing_comes(queue)


async def test_those_that_failed_have_slots_of_their_own_and_come_last() -> None:
    queue = WakingQueue()
    for number in range(FAILING_MAX + 2):
        queue.offer(f"dead/{number}", f"host {number}")
    for _ in range(FAILING_MAX + 2):
        queue.give_back(await queue.take(), failed=True)
    for number in range(FAILING_MAX + 2):
        queue.offer(f"dead/{number}", f"host {number}")
    first = await queue.take()
    assert first.failing
    queue.offer("well", "well")
    assert (await queue.take()).path == "well", "sound ones go first"
    for _ in range(FAILING_MAX - 1):
        await queue.take()
    await nothing_comes(queue)

    queue.give_back(first, failed=False)
    await queue.take()
    queue.offer(first.path, first.host)
    assert await queue.take() == first._replace(failing=False), "its success is remembered too"


async def test_what_says_nothing_of_the_host_changes_nothing_about_it() -> None:
    queue = WakingQueue()
    for failed in (True, None):
        queue.offer("a")
        queue.give_back(await queue.take(), failed=failed)
    queue.offer("a")
    assert (await queue.take()).failing


async def test_failures_are_remembered_up_to_a_bound() -> None:
    queue = WakingQueue()
    for number in range(FAILED_MAX + 1):
        queue.offer(f"{number}")
        queue.give_back(await queue.take(), failed=True)
    for path, failing in (("0", False), ("1", True)):
        queue.offer(path)
        assert (await queue.take()).failing is failing

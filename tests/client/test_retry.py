from __future__ import annotations

import asyncio
import random

import pytest
import tenacity

from durable_streams.client import FetchError, RetryPolicy
from durable_streams.client.retry import RETRY_AFTER_MAX_S, Interrupted, _Backoff, retrying, unless_applied
from tests.patience import HANG_S

QUICK = RetryPolicy(initial_s=0.0001, max_s=0.001, give_up_after_s=HANG_S)


class Flaky:
    """Fails so often, then returns."""

    def __init__(self, failure_count: int, *, may_be_applied: bool = True) -> None:
        self.left, self.attempts, self.may_be_applied = failure_count, 0, may_be_applied
        self.tried = asyncio.Event()

    async def __call__(self) -> str:
        self.attempts += 1
        self.tried.set()
        if self.attempts <= self.left:
            raise Interrupted(FetchError(f"attempt {self.attempts}"), may_be_applied=self.may_be_applied)
        return "done"


async def test_interruptions_are_borne() -> None:
    flaky = Flaky(5)
    assert await retrying(QUICK, flaky) == "done"
    assert flaky.attempts == 6


async def test_what_a_user_has_seeded_is_left_alone() -> None:
    before = random.getstate()
    await retrying(QUICK, Flaky(3))
    assert random.getstate() == before


async def test_patience_of_zero_tries_once() -> None:
    flaky = Flaky(1)
    with pytest.raises(FetchError, match="attempt 1"):
        await retrying(RetryPolicy(give_up_after_s=0), flaky)
    assert flaky.attempts == 1


async def test_patience_without_end() -> None:
    assert await retrying(RetryPolicy(initial_s=0.0001, max_s=0.0001, give_up_after_s=None), Flaky(100)) == "done"


@pytest.mark.parametrize(("may_be_applied", "attempts"), [(True, 1), (False, 2)])
async def test_what_may_have_been_applied_is_not_repeated_blindly(*, may_be_applied: bool, attempts: int) -> None:
    flaky = Flaky(1, may_be_applied=may_be_applied)
    if may_be_applied:
        with pytest.raises(FetchError):
            await retrying(QUICK, flaky, repeat_if=unless_applied)
    else:
        await retrying(QUICK, flaky, repeat_if=unless_applied)
    assert flaky.attempts == attempts


async def test_other_exceptions_pass_at_once() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await retrying(QUICK, broken)


async def test_waiting_can_be_cancelled() -> None:
    flaky = Flaky(10**9)
    task = asyncio.create_task(retrying(RetryPolicy(initial_s=1000, max_s=1000, give_up_after_s=None), flaky))
    await flaky.tried.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("asked_s", "low_s", "high_s"), [(3, 3, 3.3), (0, 0, 0.5), (10**6, RETRY_AFTER_MAX_S, RETRY_AFTER_MAX_S)]
)
async def test_a_server_may_ask_for_a_longer_wait_within_reason(asked_s: float, low_s: float, high_s: float) -> None:
    state = tenacity.RetryCallState(tenacity.AsyncRetrying(), None, (), {})
    fault = Interrupted(FetchError("busy"), may_be_applied=False, retry_after_s=asked_s)
    state.set_exception((Interrupted, fault, None))
    for _ in range(50):
        assert low_s <= _Backoff(RetryPolicy(initial_s=0.5))(state) <= high_s

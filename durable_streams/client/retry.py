"""When to ask again, and how long to wait.

Owns: the classification of faults and the backoff. Must not know: what is being asked.
Invariant: a request that may have been carried out is repeated only if carrying it out twice changes nothing.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import tenacity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.client.errors import DurableStreamError, FetchError

T = TypeVar("T")

_CHANCE: Final = random.Random()  # noqa: S311 spreads load, guards nothing. Not the module's own: users may have seeded it.
RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
"""Answers that another attempt may better. Every other refusal is final."""
RETRY_AFTER_MAX_S: Final = 60.0
"""A ``Retry-After`` beyond this is cut to it, so that a wrong one does not stop a client for hours."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to keep trying.

    The wait before attempt n is random, up to ``initial_s`` · 2^n and up to ``max_s``; a ``Retry-After`` is a lower
    bound.

    Attributes:
        initial_s: bound of the first wait, in seconds.
        max_s: bound of every wait, in seconds.
        give_up_after_s: no further attempt this many seconds after the first; every success starts anew.
            0 tries once; ``None`` never gives up.
    """

    initial_s: float = 0.05
    max_s: float = 5.0
    give_up_after_s: float | None = 30.0


PATIENT: Final = RetryPolicy(give_up_after_s=300.0)
"""For followers and producers, which are meant to outlive a restart of the server."""


class Interrupted(Exception):  # noqa: N818 internal signal: ``error`` is what callers get to see
    """One attempt brought no answer that counts.

    Attributes:
        error: what to raise if no further attempt is made.
        may_be_applied: the server may have carried the request out all the same.
        retry_after_s: the wait the server asked for, in seconds.
    """

    def __init__(
        self, error: DurableStreamError | FetchError, *, may_be_applied: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error, self.may_be_applied, self.retry_after_s = error, may_be_applied, retry_after_s


def always(_interruption: Interrupted) -> bool:
    """Repeat whatever happened: right for requests that are idempotent."""
    return True


def unless_applied(interruption: Interrupted) -> bool:
    """Repeat only what surely was not carried out: right for appends without a producer."""
    return not interruption.may_be_applied


async def retrying(
    policy: RetryPolicy, attempt: Callable[[], Awaitable[T]], *, repeat_if: Callable[[Interrupted], bool] = always
) -> T:
    """Run ``attempt`` until it returns, raises anything but ``Interrupted``, or patience ends.

    Raises:
        DurableStreamError, FetchError: the last interruption's error.
    """
    started_s = time.monotonic()
    try:
        # Nearly every request gets its answer at once: the machinery of repeating, 24 µs, is for those that do not.
        return await attempt()
    except Interrupted as interruption:
        first = interruption
    return await _again(policy, attempt, first, repeat_if=repeat_if, spent_s=time.monotonic() - started_s)


async def _again(
    policy: RetryPolicy,
    attempt: Callable[[], Awaitable[T]],
    first: Interrupted,
    *,
    repeat_if: Callable[[Interrupted], bool],
    spent_s: float,
) -> T:
    """Go on from the interruption of the first attempt, which took ``spent_s``."""
    give_up_after_s = policy.give_up_after_s
    stop = tenacity.stop_never if give_up_after_s is None else tenacity.stop_after_delay(give_up_after_s - spent_s)
    attempts = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Interrupted) and repeat_if(error)),
        wait=_Backoff(policy),
        stop=stop,
        reraise=True,
    )
    try:
        async for trial in attempts:
            with trial:
                if trial.retry_state.attempt_number == 1:
                    raise first
                return await attempt()
    except Interrupted as interruption:
        raise interruption.error from interruption.__cause__
    raise AssertionError("attempts end with a return or an exception")


class _Backoff(tenacity.wait.wait_base):
    """Exponential with full jitter, but never sooner than the server asked for."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._exponential = tenacity.wait_exponential(multiplier=policy.initial_s, max=policy.max_s)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        wait_s = _CHANCE.uniform(0, self._exponential(retry_state))
        fault = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(fault, Interrupted) and fault.retry_after_s is not None:
            # A tenth more, at random: all clients of a restarted server were given the same number.
            asked_s = fault.retry_after_s * _CHANCE.uniform(1.0, 1.1)
            wait_s = max(wait_s, min(asked_s, RETRY_AFTER_MAX_S))
        return wait_s

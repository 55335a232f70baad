"""Signals to stop, at every moment of a start: real ones, sent to this very process."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from durable_streams.runtime.stopping import STOP_SIGNALS, StoppedEarlyError, StopSignals

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    installed = StopSignals()
    installed.install()
    yield installed
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_what_is_being_opened(signals: StopSignals, number: signal.Signals) -> None:
    def work() -> None:
        with signals.interrupting():
            signal.raise_signal(number)
            pytest.fail("it went on")

    with pytest.raises(StoppedEarlyError):
        work()


def test_what_cleans_up_after_a_signal_is_left_alone(signals: StopSignals) -> None:
    cleaned = []

    def work() -> None:
        with signals.interrupting():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)
                cleaned.append("all of it")

    with pytest.raises(StoppedEarlyError):
        work()
    assert cleaned


def test_a_signal_that_came_before_ends_what_is_opened_next(signals: StopSignals) -> None:
    with signals.interrupting():
        pass
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(StoppedEarlyError), signals.interrupting():
        pytest.fail("it began")


@pytest.mark.parametrize("before", [True, False])
def test_a_loop_is_told_of_a_signal_then_or_before(signals: StopSignals, *, before: bool) -> None:
    async def until_told() -> None:
        told = asyncio.Event()
        if before:
            signal.raise_signal(signal.SIGTERM)
        signals.wake(asyncio.get_running_loop(), told)
        assert told.is_set() is before
        if not before:
            signal.raise_signal(signal.SIGTERM)
        await told.wait()

    asyncio.run(until_told())


def test_a_signal_when_the_loop_has_ended_changes_nothing(signals: StopSignals) -> None:
    async def end() -> None:
        signals.wake(asyncio.get_running_loop(), asyncio.Event())

    asyncio.run(end())
    signal.raise_signal(signal.SIGTERM)

"""Who is taken for dead, and who is not: judged by own beats, whatever the clocks of the machines say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from durable_streams.agents import Pace
from durable_streams.agents.events import TextDelta, ToolCalled
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.beacon import HOUR_MS, Beacon
from durable_streams.agents.sessions.leases import Leases
from durable_streams.agents.sessions.settings import Settings
from durable_streams.client import StreamClosedError
from durable_streams.runtime.clock import ManualClock, SystemClock
from tests.agents.conftest import ended, shows, stored, text_of
from tests.agents.test_sessions import Speaker, asking
from tests.patience import comes_true, let_pass

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from durable_streams.agents import Run
    from durable_streams.agents.events import Event
    from tests.agents.conftest import Adapters

LEASE_BEATS = 4
"""What a lease of three intervals comes to: the first beat may have been under way when the silence began."""


class Judge:
    """Leases and a clock that moves as it is told."""

    def __init__(self) -> None:
        self.leases = Leases("me", lease_ms=15_000, renew_ms=5_000)
        self.number, self.now_s = 0, 100.0
        self.beats(1)

    def beats(self, count: int, after_s: float = 5.0, hour: int = 0) -> list[str]:
        lost: list[str] = []
        for _ in range(count):
            self.number += 1
            self.now_s += after_s
            lost += self.leases.own_beat(self.number, self.now_s, hour)
        return lost


def test_who_is_silent_for_the_lease_is_lost() -> None:
    judge = Judge()
    judge.leases.heard("other")
    assert judge.beats(LEASE_BEATS - 1) == []
    assert judge.beats(1) == ["other"]
    assert judge.leases.is_lost("other")
    assert judge.beats(9) == [], "it is told once"


def test_a_sign_of_life_begins_the_lease_anew() -> None:
    judge = Judge()
    for _ in range(9):
        judge.leases.heard("other")
        assert judge.beats(LEASE_BEATS - 1) == []
    judge.beats(1)
    assert judge.leases.is_lost("other")
    judge.leases.heard("other")
    assert not judge.leases.is_lost("other"), "it was slow"


def test_one_never_heard_of_has_a_whole_lease_from_now_on() -> None:
    judge = Judge()
    assert not judge.leases.is_lost("other")
    assert judge.beats(LEASE_BEATS) == ["other"]


def test_each_announces_its_own_lease() -> None:
    judge = Judge()
    judge.leases.heard("other", lease_ms=60_000)
    assert judge.beats(12) == []
    assert judge.beats(1) == ["other"]


@pytest.mark.parametrize("gap_s", [10.1, 3600.0])
def test_after_a_gap_of_ones_own_the_count_begins_anew(gap_s: float) -> None:
    judge = Judge()
    judge.leases.heard("other")
    judge.beats(LEASE_BEATS - 1)
    assert judge.beats(1, after_s=gap_s) == [], "a freeze, or no server: the other had no chance either"
    assert judge.beats(LEASE_BEATS - 1) == []
    assert judge.beats(1) == ["other"]


def test_where_every_beat_takes_long_who_is_silent_is_found_all_the_same() -> None:
    judge = Judge()
    judge.beats(1, after_s=12.0)
    judge.leases.heard("other")
    assert judge.beats(LEASE_BEATS - 1, after_s=12.0) == []
    assert judge.beats(1, after_s=12.0) == ["other"]


def test_beats_that_have_waited_somewhere_count_as_one() -> None:
    judge = Judge()
    judge.leases.heard("other")
    assert judge.beats(100, after_s=0.01) == []
    judge.number -= 50
    assert judge.beats(50) == [], "they were read before"


def test_who_was_heard_in_another_hours_stream_is_judged_by_what_came_by_that_one() -> None:
    judge = Judge()
    judge.leases.own_hour(7)
    judge.leases.heard("ahead", hour=8)
    assert judge.beats(100, hour=7) == [], "the other connection may be lost"
    assert judge.leases.hours == {8}
    assert judge.beats(LEASE_BEATS, hour=8) == [], "the first tells how long nothing was read there"
    assert judge.beats(1, hour=8) == ["ahead"]
    assert judge.leases.hours == set()


def test_who_was_heard_in_a_stream_that_is_not_followed_any_more_has_a_whole_lease() -> None:
    judge = Judge()
    judge.leases.own_hour(7)
    judge.leases.heard("other", hour=7)
    judge.beats(LEASE_BEATS - 1, hour=7)
    judge.leases.own_hour(9)
    assert judge.beats(LEASE_BEATS, hour=9) == []
    assert judge.beats(1, hour=9) == ["other"]


def test_nobody_takes_itself_for_dead_and_who_leaves_is_gone_at_once() -> None:
    judge = Judge()
    assert not judge.leases.is_lost("me")
    assert judge.beats(100) == []
    judge.leases.heard("other")
    judge.leases.left("other")
    assert judge.leases.is_lost("other")
    assert judge.beats(LEASE_BEATS) == []


class Shifted(SystemClock):
    """A machine whose clock is wrong."""

    def __init__(self, by_ms: int) -> None:
        self._by_ms = by_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._by_ms


def short(root: str) -> Settings:
    return Settings(root, lease_ms=1_000, renew_ms=100, pace=Pace(linger_ms=5))


async def beats(root: str, clock: SystemClock, *, name: str, count: int) -> None:
    """Wait until a process has beaten so often."""

    def enough(said: list[dict[str, Any]]) -> bool:
        return sum(1 for one in said if one.get("owner") == name and "beat" in one) >= count

    await shows(f"{root}/agents/running/{clock.now_ms() // 3_600_000}", enough)


@pytest.mark.slow
@pytest.mark.parametrize("by_ms", [20_000, -20_000, 300_000])
async def test_a_wrong_clock_kills_nothing(root: str, by_ms: int) -> None:
    speaker, clock = Speaker(), Shifted(by_ms)
    async with Adapter(short(root), speaker) as owner, Adapter(short(root), speaker, clock=clock) as other:
        asked = await owner.ask("s1", asking())
        await speaker.said.wait()
        await beats(root, clock, name=other._name, count=20)
        assert await other.active("s1") == asked.attempt
        assert await owner.active("s1") == asked.attempt
        speaker.go.set()
        assert (await ended(other, "s1", asked.attempt.id)).status == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-1, 1])
async def test_who_dies_with_a_clock_in_another_hour_is_found(root: str, hours: int) -> None:
    now_ms = SystemClock().now_ms()
    async with Adapter(short(root), Speaker(), clock=ManualClock(now_ms)) as adapter:
        theirs = Beacon(adapter.places, ManualClock(now_ms + hours * HOUR_MS))
        await theirs.beat("ghost", 1, lease_ms=1_000, ended=())

        async def is_found() -> bool:
            return "ghost" in adapter._leases._lost

        await comes_true(is_found)
        said = await stored(f"{root}/agents/running/{now_ms // HOUR_MS + hours}")
        assert {one["owner"]: one.get("elsewhere", False) for one in said} == {"ghost": False, adapter._name: True}


async def test_a_process_that_has_left_leaves_nothing_open_for_the_length_of_a_lease(
    root: str, adapters: Adapters
) -> None:
    speaker = Speaker()
    async with adapters(speaker) as other:
        async with adapters(speaker) as owner:
            asked = await owner.ask("s1", asking())
            await speaker.said.wait()
            # As one that is killed while it shuts down: it has said that it is gone, and ended nothing.
            run = next(task for task in owner._tasks if task.get_name().startswith("run "))
            run.cancel()
            await asyncio.wait([run])
        assert (await ended(other, "s1", asked.attempt.id)).status == "lost"
    assert (await stored(f"{root}/{asked.attempt.stream}"))[-1] == {"type": "abort", "reason": "lost"}


@pytest.mark.slow
async def test_a_tool_that_holds_the_loop_is_named_and_kills_nothing(root: str) -> None:
    with capture_logs() as logs:

        async def hold() -> str:
            # Blocking is what it is here for: it goes on until somebody has said so.
            while not any(line["event"] == "loop_held" for line in logs):
                let_pass(0.01)
            return "held"

        class Holding:
            async def open(self, run: Run) -> AsyncGenerator[Event, None]:
                yield TextDelta("t", str(await run.call(ToolCalled("c1", "sleepy", {}), hold)))

        async with Adapter(short(root), Holding()) as adapter:
            asked = await adapter.ask("s1", asking())
            final = await ended(adapter, "s1", asked.attempt.id)
            assert final.status == "finished"
            assert text_of(await stored(f"{root}/{final.stream}")) == "held"
    assert [line["tool"] for line in logs if line["event"] == "loop_held"] == ["sleepy"]


async def test_a_run_is_named_before_its_turn_is_won(root: str, adapters: Adapters) -> None:
    """Whoever dies between the two would leave a run that nobody looks for."""

    async def nothing() -> AsyncGenerator[str, None]:
        return
        yield

    async with adapters(nothing()) as adapter:
        session = adapter.session("s1")
        await session.ensure()
        await session.stream.close_stream()
        with pytest.raises(StreamClosedError):
            await adapter.ask("s1", asking())
        said = await stored(f"{root}/agents/running/{adapter.now_ms() // HOUR_MS}")
        assert adapter.owners("s1") == []
        [named] = [one for one in said if "generation" in one]
        assert named["session"] == "s1"
        # Nor are the others to remember what nobody has won.
        await shows(
            f"{root}/agents/running/{adapter.now_ms() // HOUR_MS}",
            lambda said: any(named["generation"] in one.get("ended", ()) for one in said),
        )

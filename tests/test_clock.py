"""The server's clock: small corrections are followed, jumps are believed at the second look only."""

from __future__ import annotations

import pytest

from durable_streams.runtime.clock import JUMP_MIN_MS, SECOND_LOOK_MS, SteadyClock

START_MS = 1_800_000_000_000
DAY_MS = 86_400_000


class Machine:
    """A machine's two clocks."""

    def __init__(self) -> None:
        self.wall_ms, self.steady_ms = START_MS, 5_000

    def pass_ms(self, by_ms: int) -> None:
        self.wall_ms += by_ms
        self.steady_ms += by_ms

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall_ms * 1_000_000, lambda: self.steady_ms * 1_000_000)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_time_passes(machine: Machine) -> None:
    clock = machine.clock()
    assert clock.now_ms() == START_MS
    machine.pass_ms(DAY_MS)
    assert clock.now_ms() == START_MS + DAY_MS
    assert clock.jumps == 0


@pytest.mark.parametrize("by_ms", [1, -1, JUMP_MIN_MS - 1, 1 - JUMP_MIN_MS])
def test_a_correction_is_followed_at_once(machine: Machine, by_ms: int) -> None:
    clock = machine.clock()
    for number in range(1, 20):
        machine.wall_ms += by_ms
        assert clock.now_ms() == START_MS + number * by_ms
    assert clock.jumps == 0


@pytest.mark.parametrize("by_ms", [DAY_MS, -DAY_MS, JUMP_MIN_MS, -JUMP_MIN_MS])
def test_a_jump_is_believed_when_it_has_lasted(machine: Machine, by_ms: int) -> None:
    clock = machine.clock()
    machine.wall_ms += by_ms
    assert clock.now_ms() == START_MS
    machine.pass_ms(SECOND_LOOK_MS - 1)
    assert (clock.now_ms(), clock.jumps) == (START_MS + SECOND_LOOK_MS - 1, 0)
    machine.pass_ms(1)
    assert (clock.now_ms(), clock.jumps) == (machine.wall_ms, 1)
    machine.pass_ms(7)
    assert (clock.now_ms(), clock.jumps) == (machine.wall_ms, 1)


def test_a_jump_that_is_taken_back_never_was(machine: Machine) -> None:
    clock = machine.clock()
    machine.wall_ms += DAY_MS
    assert clock.now_ms() == START_MS
    machine.pass_ms(SECOND_LOOK_MS - 1)
    clock.now_ms()
    machine.wall_ms -= DAY_MS
    assert clock.now_ms() == START_MS + SECOND_LOOK_MS - 1
    machine.wall_ms += DAY_MS
    machine.pass_ms(SECOND_LOOK_MS - 1)
    assert (clock.now_ms(), clock.jumps) == (START_MS + 2 * (SECOND_LOOK_MS - 1), 0)


def test_a_clock_that_jumps_about_is_not_believed(machine: Machine) -> None:
    clock = machine.clock()
    for _ in range(20):
        machine.wall_ms += DAY_MS
        machine.pass_ms(SECOND_LOOK_MS - 1)
        clock.now_ms()
    assert (clock.now_ms(), clock.jumps) == (START_MS + 20 * (SECOND_LOOK_MS - 1), 0)


def test_the_machines_own_clocks_agree() -> None:
    clock = SteadyClock()
    assert clock.now_ms() <= clock.now_ms()
    assert clock.jumps == 0

"""The watchdog of the loop: says that a turn was too long, and what it was doing; the clock is the test's."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from durable_streams.runtime.watchdog import LOOK_S, STALL_S, Watchdog
from tests.patience import comes_true


async def test_a_late_turn_is_logged_once_with_what_it_was_doing() -> None:
    now_s = 100.0
    watchdog = Watchdog(asyncio.get_running_loop(), lambda: now_s)
    with capture_logs() as logs:
        now_s += STALL_S
        watchdog.look()
        watchdog.come_round()
        assert logs == []

        for _ in range(3):
            now_s += STALL_S
            watchdog.look()
        watchdog.come_round()
        watchdog.come_round()
    assert [(line["event"], line["ms"]) for line in logs] == [("the loop stood still", round(3 * STALL_S * 1000))]
    assert "test_a_late_turn_is_logged_once_with_what_it_was_doing" in logs[0]["doing"]


async def test_it_looks_from_a_thread_of_its_own() -> None:
    shown_s = [0.0]
    watchdog = Watchdog(asyncio.get_running_loop(), lambda: shown_s[0])
    watchdog.start()
    assert watchdog._timer is not None
    watchdog._timer.cancel()  # the loop does not come round any more
    shown_s[0] += STALL_S + 2 * LOOK_S

    async def noticed() -> bool:
        return bool(watchdog._doing)

    await comes_true(noticed)
    watchdog.stop()
    assert not watchdog._thread.is_alive()

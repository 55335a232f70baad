"""A process's signs of life reach the others whatever becomes of one connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.beacon import Beacon
from durable_streams.agents.sessions.places import Places
from durable_streams.agents.sessions.pulse import Pulse
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sources.given import as_source
from durable_streams.client import AsyncDurableStream, RetryPolicy
from durable_streams.runtime.clock import ManualClock, SystemClock
from tests.agents.conftest import shows
from tests.client.proxy import Cut, CuttingProxy
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any


async def test_a_beat_whose_connection_is_lost_is_given_up_before_any_other_request_would_be(root: str) -> None:
    clock = ManualClock(SystemClock().now_ms())
    places = Places(root)
    hour = await Beacon(places, clock).name("nobody", "s", "g")
    await places.aclose()

    def has_beaten(said: list[dict[str, Any]]) -> bool:
        return any("beat" in one for one in said)

    async with CuttingProxy(root, [Cut(is_silent=True), Cut(is_silent=True)]) as proxy:
        lost = asyncio.create_task(_asks_once(f"{proxy.url}/agents/running/{hour}"))
        await asyncio.wait_for(proxy.asked.wait(), HANG_S)
        pulse = Pulse(Settings(proxy.url, lease_ms=1_000, renew_ms=100), "me", clock)
        pulse.start()
        await asyncio.wait_for(shows(f"{root}/agents/running/{hour}", has_beaten), HANG_S)
        assert not lost.done()
        lost.cancel()
        await pulse.stop()


async def test_a_process_has_one_pulse(root: str) -> None:
    """A service that is handed an adapter enters it; whoever enters it as well would leave a thread behind."""
    async with Adapter(Settings(root), as_source(_nothing())) as adapter:
        with pytest.raises(RuntimeError, match="once"):
            await adapter.__aenter__()


async def _nothing() -> AsyncGenerator[str, None]:
    return
    yield


async def _asks_once(url: str) -> None:
    async with AsyncDurableStream(url, retry=RetryPolicy(give_up_after_s=0)) as stream:
        await stream.head()

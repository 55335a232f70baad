"""A clock that was ahead: what was noted by it does not last until that time comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.runtime.clock import ManualClock
from tests.http.site import bounded
from tests.subscriptions.api import LEASE_MS, Api, code_of

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.subscriptions.conftest import Run

DAY_MS = 86_400_000
TTL_S = 3_600


async def claim_and_touch(site: Site) -> None:
    """Hold a lease, and touch a stream with a TTL."""
    api = Api(site.client)
    await api.create_pull(pattern="events/*", lease_ttl_ms=LEASE_MS)
    await site.client.put("events/a", "text/plain", b"1")
    await site.client.put("brief", "text/plain", b"x", stream_ttl=str(TTL_S))
    await site.client.put("other", "text/plain", b"x", stream_ttl=str(TTL_S))
    await api.claimed("worker of tomorrow")


async def check_right_again(site: Site) -> None:
    """The lease ends in its time from now on, and so do the streams."""
    api = Api(site.client)
    await site.upkeep()
    assert code_of(await api.claim("another")) == "ALREADY_CLAIMED"
    site.clock.advance_ms(LEASE_MS)
    await site.upkeep()
    assert (await api.claimed("another"))["generation"] == 2

    await site.client.get("other", offset="-1")
    site.clock.advance_ms(TTL_S * 1_000 - LEASE_MS)
    await site.upkeep()
    assert [(await site.client.head(path)).status for path in ("brief", "other")] == [404, 200]
    site.clock.advance_ms(LEASE_MS)
    await site.upkeep()
    assert (await site.client.head("other")).status == 404


async def test_after_a_jump_back(site: Site) -> None:
    await site.upkeep()
    site.clock.advance_ms(DAY_MS)
    await claim_and_touch(site)
    site.clock.jump_ms(-DAY_MS)
    await check_right_again(site)


async def test_after_a_start_with_a_clock_that_is_right_again(run: Run) -> None:
    ahead = ManualClock()
    ahead.advance_ms(DAY_MS)
    async with run(engine="lmdb", clock=ahead) as site:
        await claim_and_touch(site)
    async with run(engine="lmdb", clock=ManualClock()) as site:
        await check_right_again(site)


async def test_touches_that_were_only_noted_are_taken_back(site: Site) -> None:
    client = site.client
    await client.put("brief", "text/plain", b"x", stream_ttl=str(TTL_S))
    await site.upkeep()
    site.clock.advance_ms(TTL_S * 500)
    await client.get("brief", offset="-1")
    site.clock.jump_ms(-TTL_S * 500)
    await site.upkeep()
    site.clock.advance_ms(TTL_S * 1_000)
    await site.upkeep()
    assert (await client.head("brief")).status == 404


@pytest.mark.parametrize("sweep_count", [1, 2, 1_000])
async def test_all_deadlines_are_looked_through(run: Run, sweep_count: int) -> None:
    async with run(bounds=bounded(sweep_count=sweep_count)) as site:
        site.clock.advance_ms(DAY_MS)
        for number in range(5):
            await site.client.put(f"s{number}", "text/plain", b"x", stream_ttl=str(TTL_S + number))
        site.clock.jump_ms(-DAY_MS)
        await site.upkeep()
        site.clock.advance_ms((TTL_S + 5) * 1_000)
        await site.upkeep()
        assert [(await site.client.head(f"s{number}")).status for number in range(5)] == [404] * 5

"""Cost follows what is due, not how many there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.protocol.subscription_config import parse_creation

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.subscriptions.api import Api

COUNT = 5_000
DUE_COUNT = 10


async def create_many(site: Site) -> None:
    loop = asyncio.get_running_loop()
    answers = []
    for number in range(COUNT):
        fields = {"type": "pull-wake", "streams": [f"jobs/{number}"], "wake_stream": "wake/pool", "lease_ttl_ms": 1_000}
        answers.append(loop.create_future())
        site.server.subscriptions.submit_create(
            f"s{number}", parse_creation(orjson.dumps(fields)), "http://x/v1", settle=answers[-1].set_result
        )
    assert all(answer is True for answer in await asyncio.gather(*answers))


@pytest.mark.slow
async def test_ten_due_of_many_cost_ten_commands(site: Site, api: Api) -> None:
    await create_many(site)
    await site.client.put("wake/pool", "application/json")
    for number in range(DUE_COUNT):
        await site.client.put(f"jobs/{number * (COUNT // DUE_COUNT)}", body=b"x")
        await api.claimed(name=f"s{number * (COUNT // DUE_COUNT)}")
    assert await site.server._upkeep._deadlines.meet() == 0
    site.clock.advance_ms(1_000)

    assert await site.server._upkeep._deadlines.meet() == DUE_COUNT, "one command for each"
    assert await site.server._upkeep._deadlines.meet() == 0
    assert len(await api.wakes()) == 2 * DUE_COUNT

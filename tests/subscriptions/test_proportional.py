"""What an append costs follows the subscriptions that it changes, not all that match."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from durable_streams.engine.memory import MemoryEngine
from durable_streams.protocol.subscription_config import head_path, parse_creation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.engine.base import ProducerRow
    from durable_streams.protocol.head import Head
    from tests.http.site import Site
    from tests.subscriptions.conftest import Run

COUNT = 200


class CountingEngine(MemoryEngine):
    """Counts the looks into it for heads and links."""

    looks = 0

    def load(self, paths: Sequence[str]) -> list[Head | None]:
        self.looks += 1
        return super().load(paths)

    def load_producers(self, keys: Sequence[tuple[int, str]]) -> list[ProducerRow | None]:
        self.looks += 1
        return super().load_producers(keys)


async def subscribe_many(site: Site) -> None:
    loop = asyncio.get_running_loop()
    answers = []
    await site.client.put("wake/pool", "application/json")
    for number in range(COUNT):
        fields = {"type": "pull-wake", "pattern": "jobs/*", "wake_stream": "wake/pool"}
        answers.append(loop.create_future())
        site.server.subscriptions.submit_create(
            f"s{number}", parse_creation(orjson.dumps(fields)), "http://x/v1", settle=answers[-1].set_result
        )
    assert all(answer is True for answer in await asyncio.gather(*answers))


def moved(site: Site, stream: str) -> int:
    matcher = site.server.subscriptions._wakes.matcher
    assert len(matcher.match(stream)) == COUNT
    return len(matcher.moved_by(stream, lambda _path: False))


async def test_a_new_stream_is_linked_by_a_few_looks_and_then_changes_nothing(run: Run) -> None:
    engine = CountingEngine()
    async with run(engine=engine) as site:
        await subscribe_many(site)
        await site.client.put("jobs/a", "text/plain")
        assert moved(site, "jobs/a") == COUNT
        engine.looks = 0
        await site.client.post("jobs/a", b"x")
        assert engine.looks < 10, "one for all links, not one for each"
        assert moved(site, "jobs/a") == 0, "all of them wake, and have it listed"
        engine.looks = 0
        await site.client.post("jobs/a", b"y")
        assert engine.looks < 5
        assert (await site.client.get("wake/pool", offset="-1")).body.count(b'"type":"wake"') == COUNT


async def test_what_rests_again_or_has_lost_its_link_is_changed_by_the_next(run: Run) -> None:
    async with run() as site:
        await subscribe_many(site)
        await site.client.put("jobs/a", body=b"x")
        assert moved(site, "jobs/a") == 0
        await site.client.delete("jobs/a")
        assert moved(site, "jobs/a") == COUNT, "its links are gone"
        await site.client.put("jobs/a", body=b"x")
        assert moved(site, "jobs/a") == 0

        site.server.subscriptions._wakes.matcher.forget(head_path("s7"))
        assert moved(site, "jobs/a") == 1, "what may be incomplete is looked at"

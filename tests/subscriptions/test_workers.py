"""Five worker processes, killed at random, share one subscription over two hundred streams."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.client import (
    AsyncDurableStream,
    AsyncSubscription,
    LeaseLostError,
    SubscriptionNotFoundError,
    Worker,
)
from tests.patience import HANG_S, comes_true, pause
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Serve
    from tests.serving import ServerProcess

STREAM_COUNT = 200
EVENTS_PER_STREAM = 6
WORKER_COUNT = 5
KILL_COUNT = 20
LEASE_MS = 1_000
FIELDS = {"type": "pull-wake", "pattern": "jobs/*", "wake_stream": "wake/jobs", "lease_ttl_ms": LEASE_MS}


@contextlib.contextmanager
def workers(root_url: str, log: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers; whoever is killed is replaced by ``replace``."""
    running = [start_worker(root_url, log) for _ in range(WORKER_COUNT)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def start_worker(root_url: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.subscriptions.worker_process", root_url, "jobs", str(log)]
    return subprocess.Popen(command, cwd=REPOSITORY)


async def append_all(root_url: str, chance: random.Random) -> None:
    """Append every event once, streams interleaved at random."""
    order = [stream for stream in range(STREAM_COUNT) for _ in range(EVENTS_PER_STREAM)]
    chance.shuffle(order)
    numbers: dict[int, int] = defaultdict(int)
    async with AsyncDurableStream(f"{root_url}/none", content_type="application/json") as session:
        for stream in order:
            url = f"{root_url}/jobs/{stream:03}"
            handle = AsyncDurableStream(url, content_type="application/json", client=session._endpoint.session)
            if not numbers[stream]:
                await handle.create_stream(content_type="application/json")
            await handle.append(orjson.dumps({"stream": stream, "number": numbers[stream]}))
            numbers[stream] += 1
            await pause(chance.random() * 0.01)


async def kill_some(processes: list[subprocess.Popen[bytes]], restart: Any, chance: random.Random) -> None:  # noqa: ANN401
    for _ in range(KILL_COUNT):
        await pause(chance.random() * 0.8)
        place = chance.randrange(WORKER_COUNT)
        processes[place].kill()
        processes[place].wait()
        processes[place] = restart()


async def until_acked(subscription: AsyncSubscription, tails: dict[str, int]) -> None:
    async def look() -> bool:
        shown = await subscription.show()
        return {link["path"]: int(link["acked_offset"]) for link in shown["streams"]} == tails

    await comes_true(look)


async def tails_of(root_url: str) -> dict[str, int]:
    tails = {}
    for stream in range(STREAM_COUNT):
        async with AsyncDurableStream(f"{root_url}/jobs/{stream:03}") as handle:
            tails[f"jobs/{stream:03}"] = int((await handle.head()).offset or 0)
    return tails


def check(lines: list[dict[str, Any]]) -> None:
    """Hold what the workers noted to the promises. Lines of different processes are ordered by generation only."""
    holders: dict[int, int] = {}
    acked: dict[str, list[tuple[int, int]]] = defaultdict(list)
    begun: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        generation = line["generation"]
        assert holders.setdefault(generation, line["pid"]) == line["pid"], f"two workers held generation {generation}"
        if line["what"] == "acked":
            acked[line["path"]].append((generation, line["to"]))
        else:
            begun[line["path"]].append(line)
    for path, acks in acked.items():
        offsets = [offset for _, offset in sorted(acks)]
        assert offsets == sorted(set(offsets)), f"the cursor of {path} stood still or went back"
        for line in begun[path]:
            before = [offset for generation, offset in acks if generation < line["generation"]]
            assert line["start"] >= max(before, default=0), "what was acknowledged came again"
    for path, pages in begun.items():
        check_pages(path, pages)
    assert len(begun) == STREAM_COUNT


def check_pages(path: str, pages: list[dict[str, Any]]) -> None:
    """Within a claim pages follow each other; over all of them no event is missing."""
    place: dict[int, int] = {}
    seen: set[int] = set()
    for page in pages:
        assert place.get(page["generation"], page["start"]) == page["start"], f"{path} out of order"
        place[page["generation"]] = page["end"]
        numbers = [item["number"] for item in page["items"]]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "in order"
        seen.update(numbers)
    assert seen == set(range(EVENTS_PER_STREAM)), f"{path} was not processed whole"


@pytest.mark.slow
async def test_every_event_is_processed_though_workers_are_killed(server: ServerProcess, tmp_path: Path) -> None:
    root_url, log, chance = server.stream_url("").rstrip("/"), tmp_path / "log", random.Random(7)
    async with await AsyncDurableStream.create(f"{root_url}/wake/jobs", content_type="application/json"):
        pass
    async with AsyncSubscription(root_url, "jobs") as subscription:
        await subscription.create(FIELDS)
        with workers(root_url, log) as processes:
            await asyncio.gather(
                append_all(root_url, chance), kill_some(processes, lambda: start_worker(root_url, log), chance)
            )
            await until_acked(subscription, await tails_of(root_url))

    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    check(lines)
    assert len({line["generation"] for line in lines}) > KILL_COUNT // 4
    assert len({line["pid"] for line in lines}) > 1


@pytest.fixture
async def jobs(serve: Serve) -> str:
    """The root URL of a server with a subscription ``jobs`` to ``jobs/*``."""
    root_url = serve(engine="memory").stream_url("").rstrip("/")
    async with await AsyncDurableStream.create(f"{root_url}/wake/jobs", content_type="application/json"):
        pass
    async with AsyncSubscription(root_url, "jobs") as subscription:
        await subscription.create(FIELDS)
    return root_url


async def put(root_url: str, name: str, body: bytes, *, content_type: str = "application/json") -> None:
    async with AsyncDurableStream(f"{root_url}/jobs/{name}", content_type=content_type) as stream:
        await stream.create_stream(content_type=content_type)
        await stream.append(body)


async def cursors(root_url: str) -> dict[str, int]:
    async with AsyncSubscription(root_url, "jobs") as subscription:
        return {link["path"]: int(link["acked_offset"]) for link in (await subscription.show())["streams"]}


async def test_going_on_acknowledges_and_leaving_gives_back(jobs: str) -> None:
    for name in ("a", "b"):
        await put(jobs, name, b'{"n":1}')
    async with Worker(jobs, "jobs", name="one") as worker:
        works = aiter(worker)
        first = await anext(works)
        assert await cursors(jobs) == {"jobs/a": 0, "jobs/b": 0}
        second = await anext(works)
        assert [first.items, second.items] == [[{"n": 1}], [{"n": 1}]]
        assert await cursors(jobs) == {"jobs/a": int(first.next_offset), "jobs/b": 0}
    async with Worker(jobs, "jobs", name="two") as worker:
        again = await anext(aiter(worker))
        assert (again.path, again.generation) == ("jobs/b", 2), "at once, not after the lease"


async def test_a_worker_waits_for_work_and_brings_bytes_as_they_are(jobs: str) -> None:
    async with Worker(jobs, "jobs") as worker:
        works = aiter(worker)
        waiting = asyncio.create_task(anext(works))
        await put(jobs, "a", b"\xff\x00", content_type="application/octet-stream")
        work = await waiting
        assert (work.path, work.payload, work.content_type) == ("jobs/a", b"\xff\x00", "application/octet-stream")


@pytest.mark.slow
async def test_a_heartbeat_keeps_long_work_and_a_lost_lease_is_told(jobs: str) -> None:
    async with AsyncSubscription(jobs, "jobs") as subscription:
        await subscription.delete()
        # So long that a busy machine does not miss it, and seen to be made longer instead of waited out.
        await subscription.create(FIELDS | {"lease_ttl_ms": 6 * LEASE_MS})
        await put(jobs, "a", b"1")
        async with Worker(jobs, "jobs") as worker:
            work = await anext(aiter(worker))
            ends = {(await subscription.show())["lease_expires_at"]}

            async def is_made_longer_twice() -> bool:
                ends.add((await subscription.show())["lease_expires_at"])
                return len(ends) == 3

            await comes_true(is_made_longer_twice)
            assert not work.lost.is_set()
            assert (await subscription.show())["generation"] == 1
            await subscription.delete()
            await subscription.create({"type": "pull-wake", "streams": ["x"], "wake_stream": "wake/jobs"})
            async with asyncio.timeout(HANG_S):
                await work.lost.wait()
            with pytest.raises(LeaseLostError):
                await worker._ack(worker._claim, {})  # type: ignore[arg-type] # it has one


async def test_a_worker_of_nothing_is_refused(jobs: str) -> None:
    with pytest.raises(SubscriptionNotFoundError):
        async with Worker(jobs, "none"):
            pass

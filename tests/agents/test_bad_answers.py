"""Loops that serve many go on whatever one stream does to them: here it fails as nobody has foreseen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from durable_streams.agents.sessions.beacon import Beacon
from durable_streams.agents.sessions.leases import Leases
from durable_streams.agents.sessions.places import JSON, Places, session_path
from durable_streams.agents.sessions.reaper import Reaper
from durable_streams.agents.sessions.rows import attempt_row
from durable_streams.agents.sessions.session import Session
from durable_streams.client import AsyncDurableStream, ProducerTriple
from durable_streams.runtime.clock import SystemClock
from tests.agents.conftest import ended, shows
from tests.agents.test_endings import ATTEMPT
from tests.agents.test_sessions import Speaker, asking

if TYPE_CHECKING:
    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.client.astream import AsyncStreamSession
    from tests.agents.conftest import Adapters


class OddError(Exception):
    """One that no handler names."""


class OddStream(AsyncDurableStream):
    """A stream that cannot be read the first time."""

    reads = 0

    def stream(self, **options: Any) -> AsyncStreamSession:  # noqa: ANN401 whatever the handle takes
        self.reads += 1
        if self.reads == 1:
            raise OddError
        return super().stream(**options)


class OddPlaces(Places):
    """Streams of which one, by its path, is odd."""

    def __init__(self, root_url: str, odd_path: str) -> None:
        super().__init__(root_url)
        self._odd_path = odd_path
        self._odd = OddStream(f"{self.root_url}/{odd_path}", content_type=JSON, client=self.session)

    def stream(self, path: str, *_: object) -> AsyncDurableStream:
        if path == self._odd_path:
            return self._odd
        return super().stream(path)


@pytest.mark.slow
async def test_a_follower_of_a_session_follows_on(root: str) -> None:
    places = OddPlaces(root, session_path("s1"))
    session = Session(places, "s1")
    await session.ensure()
    with capture_logs() as logs:
        async with session.following():
            row = b'{"type":"presence","key":"p","headers":{"operation":"insert"},"value":{"id":"p"}}'
            await session.append(ProducerTriple("x", 0, 0), [row])
            await session.changed(lambda state: "p" in state.presence)
    assert [line["event"] for line in logs] == ["follow_failed"]
    await places.aclose()


class Heard:
    """Who listens, and what was named."""

    def __init__(self) -> None:
        self.named_ones: list[str] = []
        self.once = asyncio.Event()

    def named(self, owner: str, session_id: str, gid: str) -> None:
        self.named_ones.append(f"{owner} {session_id} {gid}")
        self.once.set()

    def beat(self, *_: object, **__: object) -> None:
        raise AssertionError

    def handed_on(self, *_: object) -> None:
        raise AssertionError

    def left(self, _owner: str) -> None:
        raise AssertionError


@pytest.mark.slow
async def test_a_follower_of_the_beacon_follows_on(root: str) -> None:
    clock = SystemClock()
    places = OddPlaces(root, f"agents/running/{clock.now_ms() // 3_600_000}")
    beacon, heard = Beacon(places, clock), Heard()
    with capture_logs() as logs:
        watching = asyncio.create_task(beacon.watch(heard))
        await beacon.name("o", "s1", "g1")
        await heard.once.wait()
        watching.cancel()
        await asyncio.wait([watching])
    assert set(heard.named_ones) == {"o s1 g1"}
    assert [line["event"] for line in logs] == ["beacon_failed"]
    await places.aclose()


class Burying:
    """A process in which one session cannot be looked at the first time."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.looks: list[str] = []
        self.ended: list[str] = []
        self.both = asyncio.Event()

    def session(self, session_id: str) -> Session:
        self.looks.append(session_id)
        if self.looks.count("bad") == 1 and session_id == "bad":
            raise OddError
        return Session(self._places, session_id)

    def is_lost(self, attempt: Attempt) -> bool:
        return attempt.owner == ATTEMPT.owner

    async def end_lost(self, session: Session, attempt: Attempt) -> None:
        del attempt
        self.ended.append(session.session_id)
        if len(self.ended) == 2:
            self.both.set()


@pytest.mark.slow
async def test_a_session_that_cannot_be_looked_at_is_looked_at_again_and_the_others_are_ended(root: str) -> None:
    places = Places(root)
    process = Burying(places)
    beacon = Beacon(places, SystemClock())
    reaper = Reaper(process, beacon, Leases("me", lease_ms=2, renew_ms=1))
    with capture_logs() as logs:
        running = asyncio.create_task(reaper.run())
        for session_id in ("bad", "good"):
            session = Session(places, session_id)
            await session.ensure()
            row = attempt_row(replace(ATTEMPT, id=f"g-{session_id}"), "insert")
            await session.append(ProducerTriple("turn", 0, 0), [row])
            await beacon.name(ATTEMPT.owner, session_id, f"g-{session_id}")
        await beacon.leave(ATTEMPT.owner)
        await process.both.wait()
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
    assert process.ended == ["good", "bad"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["look_failed"]
    await places.aclose()


async def test_what_is_not_the_sources_fault_ends_the_run_as_failed(root: str, adapters: Adapters) -> None:
    """A run whose bookkeeping breaks is closed and recorded all the same."""
    speaker = Speaker()
    async with adapters(speaker) as adapter:
        asked = await adapter.ask("s1", asking())
        await speaker.said.wait()
        [owner] = adapter.owners("s1")
        # As good as any other fault of this program: the session's state as nobody would leave it.
        adapter.session("s1").state.controls[asked.attempt.id] = {"stop": 7}
        await adapter.session("s1").append(
            ProducerTriple("x", 0, 0), [b'{"type":"x","key":"y","headers":{"operation":"insert"},"value":{}}']
        )
        final = await ended(adapter, "s1", asked.attempt.id)
        assert (final.status, final.reason) == ("failed", "the adapter failed")
        assert owner.recorded.result() == final
    await shows(f"{root}/{final.stream}", lambda chunks: chunks[-1]["type"] == "error")

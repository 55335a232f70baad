"""Where adapter processes find each other's runs: one stream per hour that names what was running then.

An owner names its run when it starts and again in each new hour, so whatever runs is named in this hour's stream or the
last one's. The streams expire by themselves. Lose one and lost runs are found later, when somebody opens their session.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from durable_streams.agents.sessions.places import JSON
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.sessions.places import Places
    from durable_streams.runtime.clock import Clock

HOUR_MS: Final = 3_600_000
TTL_S: Final = 4 * 3600
FOLLOW_AGAIN_S: Final = 1.0

log = structlog.get_logger(__name__)


def hour_of(now_ms: int) -> int:
    """Return the hour since the epoch."""
    return now_ms // HOUR_MS


class Beacon:
    """Names runs and tells of named ones."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._places, self._clock = places, clock
        self._created: set[int] = set()

    async def name(self, session_id: str, gid: str) -> int:
        """Name a run in this hour's stream and return the hour."""
        hour = hour_of(self._clock.now_ms())
        await self._create(hour)
        await self._places.stream(_path(hour)).append(orjson.dumps({"session": session_id, "generation": gid}))
        return hour

    async def watch(self, found: Callable[[str, str], None]) -> None:
        """Tell (session, generation) of every run named in the last hour and from now on, perhaps more than once."""
        hour = hour_of(self._clock.now_ms())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(hour - 1, found))
            while True:
                group.create_task(self._follow(hour, found))
                hour += 1
                await asyncio.sleep(max(1.0, (hour * HOUR_MS - self._clock.now_ms()) / 1000))

    async def _follow(self, hour: int, found: Callable[[str, str], None]) -> None:
        offset: str | None = None

        async def read() -> None:
            nonlocal offset
            async with self._places.stream(_path(hour)).stream(offset=offset, live=True) as response:
                async for one in response.iter_json():
                    offset = response.offset
                    _tell(one, found)

        while hour_of(self._clock.now_ms()) <= hour + 1:
            remaining_s = ((hour + 2) * HOUR_MS - self._clock.now_ms()) / 1000
            try:
                await self._create(hour)
                async with asyncio.timeout(remaining_s):
                    await read()
            except (DurableStreamError, FetchError, TimeoutError):
                pass
            except Exception:  # else nobody here would end what dead processes left
                log.exception("beacon_failed", hour=hour)
            await asyncio.sleep(FOLLOW_AGAIN_S)

    async def _create(self, hour: int) -> None:
        if hour not in self._created:
            await self._places.stream(_path(hour)).create_stream(content_type=JSON, ttl_seconds=TTL_S)
            self._created.add(hour)


def _tell(one: object, found: Callable[[str, str], None]) -> None:
    """Tell of a run that is named; anybody may have written what names none."""
    if isinstance(one, dict):
        session_id, gid = one.get("session"), one.get("generation")
        if isinstance(session_id, str) and isinstance(gid, str):
            found(session_id, gid)


def _path(hour: int) -> str:
    return f"agents/running/{hour}"

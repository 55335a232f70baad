"""Where adapter processes find each other and each other's runs: one stream per hour, of signs of life and of names.

An owner names its run when it starts and again in each new hour, so whatever runs is named in this hour's stream or the
last one's. The streams expire by themselves. Lose one and lost runs are found later, when somebody opens their session.
Clocks may differ by up to an hour: the next hour's stream is followed as well.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import orjson
import structlog

from durable_streams.agents.sessions.places import JSON
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from durable_streams.agents.sessions.places import Places
    from durable_streams.runtime.clock import Clock

HOUR_MS: Final = 3_600_000
TTL_S: Final = 4 * 3600
FOLLOW_AGAIN_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life.

    Attributes:
        owner: the process's name.
        number: from 1.
        lease_ms: how long the process may be silent before it is lost.
        ended: which of its runs have ended.
        hour: in whose stream it is.
        elsewhere: whether that is another hour than the process's own: for itself alone, which watches others there.
    """

    owner: str
    number: int
    lease_ms: int
    ended: Sequence[str]
    hour: int
    elsewhere: bool = False


class Listener(Protocol):
    """Who is told what the processes say; anything perhaps more than once."""

    def named(self, owner: str, session_id: str, gid: str) -> None:
        """Take a run that a process has named as its own."""

    def beat(self, sign: Sign) -> None:
        """Take a process's sign of life, and which of its runs have ended."""

    def handed_on(self, owner: str, session_id: str, gid: str) -> None:
        """Take a run that a process leaves to others before its turn has come."""

    def left(self, owner: str) -> None:
        """Take a process's word that it is gone."""


def hour_of(now_ms: int) -> int:
    """Return the hour since the epoch."""
    return now_ms // HOUR_MS


class Beacon:
    """Says what one process has to say, and tells what all say."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._places, self._clock = places, clock
        self._created: set[int] = set()

    async def name(self, owner: str, session_id: str, gid: str) -> int:
        """Name a run in this hour's stream and return the hour."""
        return await self._say({"owner": owner, "session": session_id, "generation": gid})

    async def hand_on(self, owner: str, session_id: str, gid: str) -> None:
        """Leave a run to others."""
        await self._say({"owner": owner, "session": session_id, "generation": gid, "handedOn": True})

    async def beat(
        self, owner: str, number: int, *, lease_ms: int, ended: Sequence[str], elsewhere: Collection[int] = ()
    ) -> None:
        """Give a sign of life in this hour's stream, and a copy for oneself in those of the hours ``elsewhere``."""
        beat = {"owner": owner, "beat": number, "leaseMs": lease_ms, "ended": ended}
        own = hour_of(self._clock.now_ms())
        others = [hour for hour in elsewhere if hour != own and abs(hour - own) <= 1]
        copy = beat | {"ended": [], "elsewhere": True}
        await asyncio.gather(self._say(beat, own), *(self._say(copy, hour) for hour in others))

    async def leave(self, owner: str) -> None:
        """Say that a process is gone: nobody need wait for its lease to run out."""
        await self._say({"owner": owner, "left": True})

    async def watch(self, listener: Listener) -> None:
        """Tell what was said in the last hour and from now on."""
        hour = hour_of(self._clock.now_ms())
        async with asyncio.TaskGroup() as group:
            for known in (hour - 1, hour):
                group.create_task(self._follow(known, listener))
            while True:
                hour += 1
                group.create_task(self._follow(hour, listener))
                await asyncio.sleep(max(1.0, (hour * HOUR_MS - self._clock.now_ms()) / 1000))

    async def _say(self, what: dict[str, object], hour: int | None = None) -> int:
        hour = hour_of(self._clock.now_ms()) if hour is None else hour
        await self._create(hour)
        await self._places.stream(_path(hour)).append(orjson.dumps(what))
        return hour

    async def _follow(self, hour: int, listener: Listener) -> None:
        offset: str | None = None

        async def read() -> None:
            nonlocal offset
            async with self._places.stream(_path(hour)).stream(offset=offset, live=True) as response:
                async for one in response.iter_json():
                    offset = response.offset
                    _tell(one, listener, hour)

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


def _tell(one: object, listener: Listener, hour: int) -> None:
    """Tell of what was said; anybody may have written what says nothing."""
    if not isinstance(one, dict) or not isinstance(owner := one.get("owner"), str):
        return
    session_id, gid, number, lease_ms = (one.get(name) for name in ("session", "generation", "beat", "leaseMs"))
    if isinstance(session_id, str) and isinstance(gid, str):
        tell = listener.handed_on if one.get("handedOn") is True else listener.named
        tell(owner, session_id, gid)
    elif isinstance(number, int) and isinstance(lease_ms, int):
        ended = one.get("ended")
        named = [gid for gid in ended if isinstance(gid, str)] if isinstance(ended, list) else []
        listener.beat(Sign(owner, number, lease_ms, named, hour, elsewhere=one.get("elsewhere") is True))
    elif one.get("left") is True:
        listener.left(owner)


def _path(hour: int) -> str:
    return f"agents/running/{hour}"

"""Stops what is being written, whoever runs it: what runs here first, and then what is written about it.

Invariant: cancelling a source of this process waits for no answer of any server. What could not be recorded is recorded
later, for as long as the process lives, and whoever asked is told how it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from durable_streams.agents.sessions.endings import Noting, ask_owner, finalize, stop_as_handler
from durable_streams.agents.sessions.persist import until_answered
from durable_streams.client import FetchError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from durable_streams.agents.events import Ending
    from durable_streams.agents.sessions.owner import Owner
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.agents.sessions.session import Session
    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.agents.sessions.state import SessionState

T = TypeVar("T")

ANSWER_S: Final = 2.0
"""How long whoever asked waits for the stop to be recorded, beyond the grace."""
LOOK_S: Final = 10.0
"""How long it is tried to find out what is being written."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a stop.

    Attributes:
        stopped: whether the run ended because somebody stopped it, this caller or another; of one that is not recorded,
            whether its source was cancelled here.
        why: if not: ``idle`` (nothing runs), ``stale`` (another one runs), ``finished``, ``failed`` or ``lost`` first.
        attempt: the one meant, as it ended.
        recorded: whether that is in the log; ``False``: it will be, once the streams server answers.
    """

    stopped: bool
    why: str | None = None
    attempt: Attempt | None = None
    recorded: bool = True


class Process(Noting, Protocol):
    """What stopping needs of its process."""

    settings: Settings
    places: Places

    def session(self, session_id: str) -> Session:
        """Return a session's object."""

    def owners(self, session_id: str) -> list[Owner]:
        """Return those of a session's runs that are this process's, in turn order."""

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run something that ends with the process."""

    def aside(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run something that ends with the process, and that nobody waits for."""

    async def project(self, session: Session, attempt: Attempt) -> None:
        """Tell an attempt in the AG-UI stream, if it is told there."""


class Stopping:
    """The stops of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def stop(self, session_id: str, ending: Ending, gid: str | None = None) -> Stopped:
        """Stop what is being written, whoever runs it.

        Args:
            session_id: the session.
            ending: by whom and why.
            gid: only if it is this one; ``None``: whatever is being written.

        Raises:
            DurableStreamError: the server refused.
            FetchError: it cannot be reached, and nothing is known to run here.
        """
        session = self._process.session(session_id)
        owner = self._here(session, gid)
        if owner is not None:
            return await self._stop_here(owner, ending)
        if gid is None:
            active = (await self._look(session)).active()
            if not active:
                return Stopped(stopped=False, why="idle")
            gid = active[0].id
        work = until_answered(partial(self._stop_there, session, ending, gid), f"stop of {gid}")
        stopping = self._process.spawn(work)
        await asyncio.wait([stopping], timeout=self._patience_s())
        return stopping.result() if stopping.done() else Stopped(stopped=False, recorded=False)

    def _here(self, session: Session, gid: str | None) -> Owner | None:
        """Return the run that is meant, if it is known without asking anybody that this process has it."""
        owners = self._process.owners(session.session_id)
        if gid is not None:
            return next((owner for owner in owners if owner.attempt.id == gid), None)
        first = owners[0] if owners else None
        if first is None or any(one.turn < first.attempt.turn for one in session.state.active()):
            return None
        return first

    async def _stop_here(self, owner: Owner, ending: Ending) -> Stopped:
        in_time = owner.request_stop(ending)
        await asyncio.wait([owner.recorded], timeout=self._patience_s())
        if owner.recorded.done() and not owner.recorded.cancelled():
            return _verdict(owner.recorded.result())
        return Stopped(in_time, None if in_time else "ended", owner.attempt, recorded=False)

    async def _look(self, session: Session) -> SessionState:
        try:
            async with asyncio.timeout(LOOK_S):
                return await session.refresh()
        except TimeoutError as late:
            raise FetchError("the streams server does not answer: what is being written is not known") from late

    async def _stop_there(self, session: Session, ending: Ending, gid: str) -> Stopped:
        attempt = (await session.refresh()).attempts.get(gid)
        if attempt is None or not attempt.active:
            return Stopped(stopped=False, why="stale") if attempt is None else _verdict(attempt)
        await ask_owner(session, attempt, ending)
        await self._wait_ended(session, gid)
        # Whether or not the owner was in time: the log knows.
        places = self._process.places
        await stop_as_handler(places, attempt, ending)
        await finalize(places, session, attempt, noting=self._process)
        # Its owner does so too, if there still is one.
        self._process.aside(self._process.project(session, attempt))
        return _verdict((await session.refresh()).attempts[gid])

    async def _wait_ended(self, session: Session, gid: str) -> None:
        """Give the owner its time: it closes what is open, which nobody else can do so well."""
        with contextlib.suppress(TimeoutError):
            async with session.following(), asyncio.timeout(self._process.settings.grace_ms / 1000):
                await session.changed(lambda state: not state.attempts[gid].active)

    def _patience_s(self) -> float:
        return self._process.settings.grace_ms / 1000 + ANSWER_S


def _verdict(final: Attempt) -> Stopped:
    return Stopped(final.status == "aborted", None if final.status == "aborted" else final.status, final)

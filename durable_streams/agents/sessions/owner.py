"""One attempt that this process runs: from its turn to its end.

Theory. One task iterates the source; cancelling it is what stops the model. Three things do that: somebody's stop, told
here or in a control row; a refusal of an append, which says that the run has been ended elsewhere; a final row of the
session, which says the same to a model that is silent. That its process lives is said by ``pulse``.
Invariant: a stop's tidy ending goes out under the ``stop`` triple, so against any other stop the first one wins.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from durable_streams.agents.answers import answers_told
from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.errors import RunEndedError
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.conduct import Conductor
from durable_streams.agents.runs.run import Run
from durable_streams.agents.sessions.beacon import HOUR_MS, hour_of
from durable_streams.agents.sessions.bulk import restored
from durable_streams.agents.sessions.endings import STOP, fail, row_triple
from durable_streams.agents.sessions.memory import SessionMemory
from durable_streams.agents.sessions.persist import until_answered
from durable_streams.agents.sessions.prompts import history
from durable_streams.agents.sessions.rows import Attempt, attempt_row
from durable_streams.agents.telling import Teller
from durable_streams.client import DurableStreamError, FetchError, StaleEpochError
from durable_streams.client.retry import PATIENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.agents.runs.conduct import Ended
    from durable_streams.agents.sessions.beacon import Beacon
    from durable_streams.agents.sessions.begun import Begun
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.session import Session
    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.agents.sessions.state import SessionState
    from durable_streams.agents.sources.base import Source
    from durable_streams.runtime.clock import Clock

NAME_AGAIN_MS: Final = 1_000


class Owner:
    """Runs one attempt.

    Args:
        places: where the streams are.
        session: the attempt's session.
        attempt: as its row says now.
        settings: pace.
        clock: for endings.
        begun: what an earlier owner, or attempt, has stored; ``None``: the stream's first chunk and nothing else.

    Attributes:
        attempt: as its row says.
        recorded: its final row, once whoever runs this has written it.
        handed_on: it is left as it stands, for another process.
    """

    def __init__(
        self,
        places: Places,
        session: Session,
        attempt: Attempt,
        *,
        settings: Settings,
        clock: Clock,
        begun: Begun | None = None,
    ) -> None:
        self._places, self._session, self._settings, self._clock = places, session, settings, clock
        self.attempt = attempt
        # The first of an owner that takes over has won it the run.
        self._row_seq = 0 if attempt.epoch == 0 else 1
        self._row_lock = asyncio.Lock()
        self._begun = begun
        codec = UiChunks() if begun is None else UiChunks.resumed(begun.chunks)
        if begun is None:
            # Stored already: the stream was created with it.
            codec.begin(self._identity())
        stream = places.stream(attempt.stream, PATIENT)
        self._teller = Teller(settings.show_errors)
        self._conductor = Conductor(stream, codec, pace=settings.pace, epoch=attempt.epoch, teller=self._teller)
        self._ended = asyncio.Event()
        self._has_turn = attempt.status != "queued"
        self.handed_on = False
        self.recorded: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._session.session_id

    def request_stop(self, ending: Ending) -> bool:
        """Cancel the source and write the tidy ending; the first request counts. See ``Conductor.stop``."""
        return not self.handed_on and self._conductor.stop(ending)

    def hand_on(self) -> bool:
        """Leave the run as it stands if its turn has not come; the return value says so."""
        if not self._has_turn and not self.handed_on:
            self.handed_on = True
            self._conductor.yield_to_other()
        return self.handed_on

    async def ended(self) -> None:
        """Wait until this owner has written its ending or found another's."""
        await self._ended.wait()

    async def run(self, source: Source, request: Mapping[str, object], beacon: Beacon) -> None:
        """Run to the end, and until that is written. The session's final row is not written here.

        Raises:
            DurableStreamError: the server refuses the ending.
        """
        try:
            async with self._session.following(), asyncio.TaskGroup() as group:
                aside = [group.create_task(self._keep_named(beacon)), group.create_task(self._heed_others())]
                try:
                    await self._answer(source, request)
                finally:
                    for task in aside:
                        task.cancel()
        finally:
            self._ended.set()

    async def _answer(self, source: Source, request: Mapping[str, object]) -> None:
        self._conductor.start(source, partial(self._prepare, request))
        try:
            await self._conclude(await self._conductor.ended())
        except RunEndedError:
            pass
        finally:
            await self._conductor.release()

    async def _prepare(self, request: Mapping[str, object]) -> Run:
        await self._take_turn()
        self._has_turn = True
        messages = history(self._session.state, self.attempt.prompt_id)
        messages = await restored(self._places, self.session_id, messages)
        writer, memory = self._conductor.writer, SessionMemory(self._session)
        if self._begun is None:
            return Run(self._identity(), messages, writer, request, memory, teller=self._teller)
        for event in self._begun.closing:
            writer.put(event)
        [answer] = await restored(self._places, self.session_id, [{"parts": self._begun.parts}])
        run = Run(self._identity(), messages, writer, request, memory, answer["parts"], self._teller)
        earlier = self._begun.earlier
        return run if earlier is None else replace(run, answers=answers_told(earlier.answers), state=earlier.state)

    async def _conclude(self, ended: Ended) -> None:
        writer = self._conductor.writer
        ending = ended.ending if ended.stopped else replace(ended.ending, at_ms=self._clock.now_ms())
        triple = STOP if ended.stopped else None

        async def end() -> None:
            if writer.failure is not None:
                await fail(self._places, self.attempt, ending)
            else:
                await writer.end(ending, triple)

        await until_answered(end, f"end of {self.attempt.id}")

    def _identity(self) -> Identity:
        return Identity(self.attempt.message_id, self.attempt.id, self.session_id)

    async def _take_turn(self) -> None:
        attempt = self.attempt
        if attempt.status != "queued":
            return

        def is_next(state: SessionState) -> bool:
            return all(one.turn >= attempt.turn for one in state.active())

        await self._session.changed(is_next)
        await self._update(replace(self.attempt, status="running"))

    async def _keep_named(self, beacon: Beacon) -> None:
        """Name the run again in each new hour; it was named for this one before it was won."""
        hour = hour_of(self._clock.now_ms())
        while True:
            wait_ms = max(NAME_AGAIN_MS, (hour + 1) * HOUR_MS - self._clock.now_ms())
            await asyncio.sleep(wait_ms / 1000)
            with contextlib.suppress(DurableStreamError, FetchError):
                hour = await beacon.name(self.attempt.owner, self.session_id, self.attempt.id)

    async def _update(self, attempt: Attempt) -> None:
        async with self._row_lock:
            self.attempt = attempt
            triple = row_triple(attempt.id, attempt.epoch, self._row_seq)
            try:
                await self._session.append(triple, [attempt_row(self.attempt)])
            except StaleEpochError:
                # Taken over, or over: whatever this process believes, it is not its own any more.
                self._conductor.yield_to_other()
                raise
            self._row_seq += 1

    async def _heed_others(self) -> None:
        """Heed a stop that somebody asks for elsewhere, another's ending, and another owner."""
        gid = self.attempt.id
        await self._session.changed(lambda state: gid in state.controls or self._is_gone(state))
        if self._is_gone(self._session.state):
            self._conductor.yield_to_other()
            return
        asked = self._session.state.controls[gid].get("stop") or {}
        ending = Ending("aborted", asked.get("reason"), asked.get("by"), asked.get("at") or self._clock.now_ms())
        self.request_stop(ending)

    def _is_gone(self, state: SessionState) -> bool:
        known = state.attempts.get(self.attempt.id)
        return known is not None and (not known.active or known.epoch > self.attempt.epoch)

"""One generation that this process runs: from its turn to its end.

Theory. One task iterates the source; cancelling it is what stops the model. Three things do that: somebody's stop, told
here or in a control row; a refusal of an append, which says that the run has been ended elsewhere; a refusal of the
lease. The lease is renewed by a timer, as a thinking model may be silent for minutes.
Invariant: a stop's tidy ending goes out under the ``stop`` triple, so against any other stop the first one wins.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.errors import RunEndedError
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.conduct import Conductor
from durable_streams.agents.runs.run import Run
from durable_streams.agents.sessions.beacon import hour_of
from durable_streams.agents.sessions.endings import STOP, fail, row_triple
from durable_streams.agents.sessions.memory import SessionMemory
from durable_streams.agents.sessions.prompts import history
from durable_streams.agents.sessions.rows import Generation, generation_row
from durable_streams.client import DurableStreamError, FetchError, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.agents.runs.conduct import Ended
    from durable_streams.agents.sessions.beacon import Beacon
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.session import Session
    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.agents.sessions.state import SessionState
    from durable_streams.agents.sources.base import Source
    from durable_streams.runtime.clock import Clock


class Owner:
    """Runs one generation.

    Args:
        places: where the streams are.
        session: the generation's session.
        generation: as its row says now.
        settings: lease and pace.
        clock: for lease and endings.
    """

    def __init__(
        self,
        places: Places,
        session: Session,
        generation: Generation,
        *,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._places, self._session, self._settings, self._clock = places, session, settings, clock
        self.generation = generation
        self._row_seq = 0
        self._row_lock = asyncio.Lock()
        codec = UiChunks()
        # Stored already: the stream was created with it.
        codec.begin(self._identity())
        self._conductor = Conductor(places.stream(generation.stream), codec, pace=settings.pace)
        self._ended = asyncio.Event()

    def request_stop(self, ending: Ending) -> None:
        """Cancel the source and write the tidy ending; the first request counts."""
        self._conductor.stop(ending)

    async def ended(self) -> None:
        """Wait until this owner has written its ending or found another's."""
        await self._ended.wait()

    async def run(self, source: Source, request: Mapping[str, object], beacon: Beacon) -> None:
        """Run to the end. The session's final row is not written here.

        Raises:
            DurableStreamError, FetchError: the ending could not be written; the lease will run out.
        """
        try:
            async with self._session.following(), asyncio.TaskGroup() as group:
                aside = [group.create_task(self._keep_lease(beacon)), group.create_task(self._heed_control())]
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
        messages = history(self._session.state, self.generation.prompt_id)
        return Run(self._identity(), messages, self._conductor.writer, request, SessionMemory(self._session))

    async def _conclude(self, ended: Ended) -> None:
        writer = self._conductor.writer
        ending = ended.ending if ended.stopped else replace(ended.ending, at_ms=self._clock.now_ms())
        if writer.failure is not None:
            await fail(self._places, self.generation, ending)
        else:
            await writer.end(ending, STOP if ended.stopped else None)

    def _identity(self) -> Identity:
        return Identity(self.generation.message_id, self.generation.id, self._session.session_id)

    async def _take_turn(self) -> None:
        generation = self.generation
        if generation.status != "queued":
            return

        def is_next(state: SessionState) -> bool:
            return all(one.turn >= generation.turn for one in state.active())

        await self._session.changed(is_next)
        await self._update(replace(self.generation, status="running"))

    async def _keep_lease(self, beacon: Beacon) -> None:
        named = -1
        while True:
            with contextlib.suppress(DurableStreamError, FetchError):
                if hour_of(self._clock.now_ms()) != named:
                    named = await beacon.name(self._session.session_id, self.generation.id)
            await asyncio.sleep(self._settings.renew_ms / 1000)
            with contextlib.suppress(DurableStreamError, FetchError):
                await self._update(self.generation)

    async def _update(self, generation: Generation) -> None:
        async with self._row_lock:
            lease_until = self._clock.now_ms() + self._settings.lease_ms
            self.generation = replace(generation, lease_until=lease_until)
            triple = row_triple(generation.id, 0, self._row_seq)
            try:
                await self._session.append(triple, [generation_row(self.generation)])
            except StaleEpochError:
                # The final row is written: whatever this process believes, the run is over.
                self._conductor.yield_to_other()
                raise
            self._row_seq += 1

    async def _heed_control(self) -> None:
        gid = self.generation.id
        await self._session.changed(lambda state: gid in state.controls)
        asked = self._session.state.controls[gid].get("stop") or {}
        ending = Ending("aborted", asked.get("reason"), asked.get("by"), asked.get("at") or self._clock.now_ms())
        self.request_stop(ending)

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
from typing import TYPE_CHECKING

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.errors import RunEndedError
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.drive import drive
from durable_streams.agents.runs.run import Run
from durable_streams.agents.runs.scope import Scope
from durable_streams.agents.runs.writer import StreamWriter
from durable_streams.agents.sessions.beacon import hour_of
from durable_streams.agents.sessions.endings import STOP, fail, row_claim
from durable_streams.agents.sessions.prompts import history
from durable_streams.agents.sessions.rows import Generation, generation_row
from durable_streams.client import DurableStreamError, FetchError, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        self._stop: Ending | None = None
        self._stopping = asyncio.Event()
        self._driving: asyncio.Task[Ending] | None = None
        self._scope = Scope()
        self._cancelling: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    def request_stop(self, ending: Ending) -> None:
        """Cancel the source and write the tidy ending; the first request counts."""
        if self._stop is None:
            self._stop = ending
            self._stopping.set()
            self._cancel()

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
        generation = self.generation
        identity = Identity(generation.message_id, generation.id, self._session.sid)
        codec = UiChunks()
        codec.begin(identity)
        writer = StreamWriter(self._places.stream(generation.stream), codec, pace=self._settings.pace)
        self._driving = asyncio.create_task(self._drive(source, identity, writer=writer, request=request))
        writer.on_failure = lambda _error: self._cancel()
        if self._stop is not None:
            self._cancel()
        try:
            ending = await self._ending(self._driving, writer)
            if ending is not None and writer.failure is not None:
                await fail(self._places, generation, ending)
            elif ending is not None:
                await writer.end(ending, STOP if self._stop is ending else None)
        except RunEndedError:
            pass
        finally:
            writer.abandon()
            self._cancel()
            if self._cancelling is not None:
                await self._cancelling

    async def _drive(
        self, source: Source, identity: Identity, *, writer: StreamWriter, request: Mapping[str, object]
    ) -> Ending:
        self._scope.enter()
        await self._take_turn()
        messages = history(self._session.state, self.generation.prompt_id)
        return await drive(source, Run(identity, messages, writer, request), writer=writer, scope=self._scope)

    async def _ending(self, driving: asyncio.Task[Ending], writer: StreamWriter) -> Ending | None:
        """Wait for the source and return the ending to write; ``None`` if somebody else has ended the run."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([driving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        now_ms = self._clock.now_ms()
        if self._stop is not None:
            # Written at once: how long the source takes to let go, and what it makes of it, changes nothing.
            return self._stop
        # Cancelled without a stop: by a refused append, or by a refused lease, that is, by somebody else's ending.
        error = writer.failure or (
            RunEndedError(self.generation.stream) if driving.cancelled() else driving.exception()
        )
        if isinstance(error, RunEndedError):
            return None
        if error is not None:
            return Ending("failed", reason=str(error) or type(error).__name__, at_ms=now_ms)
        return replace(driving.result(), at_ms=now_ms)

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
                    named = await beacon.name(self._session.sid, self.generation.id)
            await asyncio.sleep(self._settings.renew_ms / 1000)
            with contextlib.suppress(DurableStreamError, FetchError):
                await self._update(self.generation)

    async def _update(self, generation: Generation) -> None:
        async with self._row_lock:
            lease_until = self._clock.now_ms() + self._settings.lease_ms
            self.generation = replace(generation, lease_until=lease_until)
            claim = row_claim(generation.id, 0, self._row_seq)
            try:
                await self._session.append(claim, [generation_row(self.generation)])
            except StaleEpochError:
                # The final row is written: whatever this process believes, the run is over.
                self._cancel()
                raise
            self._row_seq += 1

    async def _heed_control(self) -> None:
        gid = self.generation.id
        await self._session.changed(lambda state: gid in state.controls)
        asked = self._session.state.controls[gid].get("stop") or {}
        ending = Ending("aborted", asked.get("reason"), asked.get("by"), asked.get("at") or self._clock.now_ms())
        self.request_stop(ending)

    def _cancel(self) -> None:
        if self._driving is not None and self._cancelling is None:
            self._cancelling = asyncio.create_task(self._scope.end(self._driving))

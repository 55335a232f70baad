"""One adapter process: takes prompts, runs what it wins, stops anything, and ends what dead processes left.

Must not know: HTTP requests. Invariant: nothing in memory is authoritative; any process can answer for any session.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
import structlog

from durable_streams.agents.answers import answered_parts
from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.errors import AgentError
from durable_streams.agents.events import Ending
from durable_streams.agents.sessions.answering import Answering, NotWaitingError, closing_rows
from durable_streams.agents.sessions.beacon import Beacon
from durable_streams.agents.sessions.begun import NothingMore, begun
from durable_streams.agents.sessions.bulk import forget_asked, keep_asked
from durable_streams.agents.sessions.catalogue import announce
from durable_streams.agents.sessions.continuing import follower_of, opening
from durable_streams.agents.sessions.counts import Counts
from durable_streams.agents.sessions.endings import fail, fence, finalize, read, reap
from durable_streams.agents.sessions.leases import Leases
from durable_streams.agents.sessions.ledger import DayLimitError, Ledger, SessionLimitError
from durable_streams.agents.sessions.outcomes import Outcomes
from durable_streams.agents.sessions.owner import Owner
from durable_streams.agents.sessions.persist import until_answered
from durable_streams.agents.sessions.places import Places
from durable_streams.agents.sessions.projection import project
from durable_streams.agents.sessions.prompts import (
    InvalidPromptError,
    history,
    new_message,
    plan,
    resubmitted,
    rewrites,
)
from durable_streams.agents.sessions.pulse import Pulse
from durable_streams.agents.sessions.reaper import Reaper
from durable_streams.agents.sessions.rows import Attempt, attempt_row, message_row
from durable_streams.agents.sessions.session import Session
from durable_streams.agents.sessions.stopping import Stopped, Stopping
from durable_streams.agents.sessions.taking import handed_request, take
from durable_streams.agents.sessions.turns import attempt_at, win_turn
from durable_streams.agents.sessions.webhook import Webhook
from durable_streams.agents.sources.base import refusal_of
from durable_streams.client import DurableStreamError
from durable_streams.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from typing import Self

    from durable_streams.agents.answers import Answer
    from durable_streams.agents.sessions.answering import Answered
    from durable_streams.agents.sessions.begun import Begun
    from durable_streams.agents.sessions.ended import OnFinish, RunEnded
    from durable_streams.agents.sessions.prompts import Plan, Prompt
    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.agents.sources.base import Source
    from durable_streams.runtime.clock import Clock

SESSIONS_KEPT: Final = 10_000
"""Sessions whose state is kept in memory; forgotten ones are read again when needed."""
ATTEMPTS_MAX: Final = 50
"""Lost races for a turn in a row before a prompt is given up."""
SHUTDOWN_S: Final = 5.0
TAKEOVERS_MAX: Final = 3
"""How often a run is gone on with: what it does may be what its owners die of."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class BusyError(AgentError):
    """An answer is being written, and the settings say that new prompts are turned away.

    Attributes:
        attempt: what is being written.
    """

    public = True

    def __init__(self, attempt: Attempt) -> None:
        super().__init__("an answer is being written; stop it first")
        self.attempt = attempt


class DrainingError(AgentError):
    """This process is about to end and takes no more prompts; another one will."""

    public = True

    def __init__(self) -> None:
        super().__init__("this process is about to end; try again")


_REFUSALS: Final[Mapping[type[AgentError], str]] = {
    BusyError: "busy",
    DayLimitError: "day-limit",
    DrainingError: "draining",
    SessionLimitError: "session-limit",
}
"""Refusals of prompts that are counted."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a prompt: the attempt that answers it, and whether this post started it."""

    attempt: Attempt
    created: bool


class Adapter:
    """An adapter process; ``async with`` runs it.

    Args:
        settings: see ``Settings``.
        source: answers the prompts.
        clock: wall clock.
        on_finish: told of each ending that this process records, after it is, at most once: a coroutine function, or
            one that is run in a thread.
    """

    def __init__(
        self, settings: Settings, source: Source, *, clock: Clock | None = None, on_finish: Sequence[OnFinish] = ()
    ) -> None:
        self.settings = settings
        self.places = Places(settings.streams_url)
        self._source = source
        self._clock = clock or SystemClock()
        self._name = uuid.uuid4().hex[:12]
        self._beacon = Beacon(self.places, self._clock)
        self._leases = Leases(self._name, lease_ms=settings.lease_ms, renew_ms=settings.renew_ms)
        self._pulse = Pulse(settings, self._name, self._clock, elsewhere=lambda: self._leases.hours)
        self.counts = Counts()
        self._ledger = Ledger(self.places, self._clock, settings.limits)
        self._outcomes = Outcomes(
            self.places,
            counts=self.counts,
            ledger=self._ledger,
            on_finish=on_finish,
            delivers=settings.webhook is not None,
        )
        self._sessions: dict[str, Session] = {}
        self._owners: dict[str, Owner] = {}
        self._claiming: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reaper = Reaper(self, self._beacon, self._leases)
        self._stopping = Stopping(self)
        self._answering = Answering(self)
        self._draining = False

    async def __aenter__(self) -> Self:
        self._pulse.start()
        self.aside(self._reaper.run())
        if self.settings.webhook is not None:
            webhook = Webhook(self.places, self.settings.webhook, clock=self._clock, counts=self.counts)
            self.aside(webhook.run())
        return self

    @property
    def draining(self) -> bool:
        """Whether no more prompts are taken, as the process is about to end."""
        return self._draining

    async def drain(self, within_s: float) -> None:
        """Take no more prompts, leave what waits for its turn to other processes, and let the rest end by itself.

        Args:
            within_s: how long that is waited for; ``aclose`` ends what still runs.
        """
        self._draining = True
        handed = [owner.attempt.id for owner in list(self._owners.values()) if owner.hand_on()]
        runs = self._run_tasks()
        log.info("draining", handed_on=len(handed), running=len(runs) - len(handed))
        if runs:
            await asyncio.wait(runs, timeout=within_s)

    def _run_tasks(self) -> set[asyncio.Task[Any]]:
        return {task for task in self._tasks if task.get_name().startswith("run ")}

    async def __aexit__(self, *_exc: object) -> None:
        """Stop the runs of this process, each with its ending, and release everything."""
        ending = Ending("aborted", reason="shutdown", at_ms=self._clock.now_ms())
        owners = list(self._owners.values())
        for owner in owners:
            owner.request_stop(ending)
        if owners:
            await asyncio.wait([asyncio.ensure_future(owner.ended()) for owner in owners], timeout=SHUTDOWN_S)
            if runs := self._run_tasks():
                await asyncio.wait(runs, timeout=SHUTDOWN_S)
        if hooks := {task for task in self._tasks if task.get_name().startswith("on_finish ")}:
            await asyncio.wait(hooks, timeout=SHUTDOWN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pulse.stop()
        await self.places.aclose()

    def session(self, session_id: str) -> Session:
        """Return a session's object; it may not exist yet."""
        session = self._sessions.pop(session_id, None) or Session(self.places, session_id)
        self._sessions[session_id] = session
        if len(self._sessions) > SESSIONS_KEPT:
            # The first that nobody uses; what is in use is at the end.
            forgotten = next((old for old, one in self._sessions.items() if one.idle and old != session_id), None)
            if forgotten is not None:
                del self._sessions[forgotten]
        return session

    def forget(self, session_id: str) -> None:
        """Know nothing of a session any more: it was deleted."""
        self._sessions.pop(session_id, None)

    def owners(self, session_id: str) -> list[Owner]:
        """Return those of a session's runs that are this process's, in turn order."""
        mine = [owner for owner in self._owners.values() if owner.session_id == session_id]
        return sorted(mine, key=lambda owner: owner.attempt.turn)

    async def ask(self, session_id: str, prompt: Prompt) -> Asked:
        """Answer a prompt: start an attempt, or find the one that answers it already.

        Raises:
            DrainingError: this process is about to end.
            SessionLimitError, DayLimitError: the tokens that may be taken have been.
            BusyError: another prompt is being answered and ``on_busy`` is ``reject``.
            InvalidPromptError: nothing to answer, or nothing that the source can; nothing was written.
            InvalidAnswerError, NotWaitingError, LoopingError: of an answer that is sent back; see ``Answering``.
            DurableStreamError, FetchError: the server refused or cannot be reached.
        """
        try:
            return await self._ask(session_id, prompt)
        except tuple(_REFUSALS) as refusal:
            self.counts.refused(_REFUSALS[type(refusal)])
            raise

    async def _ask(self, session_id: str, prompt: Prompt) -> Asked:
        session = self.session(session_id)
        found, prompt = await self._sent_back(session, prompt)
        if found is not None:
            return found
        refusal = refusal_of(self._source, new_message(prompt), prompt.request)
        if refusal is not None:
            raise InvalidPromptError(refusal)
        await session.ensure()
        for _ in range(ATTEMPTS_MAX):
            await self._refresh(session)
            planned = plan(session.state, prompt)
            same = _same(session, planned, prompt.run_id)
            if same is not None:
                return Asked(same, created=False)
            active = session.state.active()
            if active and self.settings.on_busy == "reject":
                # A client may have read the end of the last answer before the session was told of it.
                if await finalize(self.places, session, active[0], noting=self) is None:
                    raise BusyError(active[0])
                continue
            if active and self.settings.on_busy == "interrupt":
                ending = Ending("aborted", "interrupted", prompt.by, self._clock.now_ms())
                for one in active:
                    await self.stop(session_id, ending, one.id)
                continue
            await self._ledger.check(session.state, prompt.by)
            attempt = await self._start(session, planned, prompt)
            if attempt is not None:
                return Asked(attempt, created=True)
        raise AgentError(f"lost {ATTEMPTS_MAX} races for a turn")

    async def _sent_back(self, session: Session, prompt: Prompt) -> tuple[Asked | None, Prompt]:
        """Return what became of an answer that is sent back, if the prompt is one, or else what it asks."""
        if self._draining:
            raise DrainingError
        posted = resubmitted(prompt)
        if posted is None:
            return None, prompt
        found = await self._answering.resubmit(session, posted, prompt)
        if found is not None:
            return Asked(*found), prompt
        # An answer of which nothing is known is no edit.
        return None, replace(prompt, message_id=None) if prompt.message_id == posted["id"] else prompt

    async def answer(self, session_id: str, given: Sequence[Mapping[str, Any]], gid: str | None = None) -> Answered:
        """Take answers to what a run waits for, from any device; see ``Answering.answer``."""
        if self._draining:
            raise DrainingError
        return await self._answering.answer(self.session(session_id), gid, given)

    @property
    def takes_answers(self) -> bool:
        """Whether the source goes on when somebody has answered."""
        return bool(getattr(self._source, "takes_answers", False))

    async def settled(self, session: Session, message_id: str) -> Attempt | None:
        """Return the last attempt at a message, as its row is once what is stored of it has been told."""
        await self._refresh(session)
        known = session.state.latest_of(message_id)
        if known is None or not known.active:
            return known
        # A client may have read the end of the answer before the session was told of it.
        if await finalize(self.places, session, known, noting=self) is not None:
            await session.refresh()
        return session.state.attempts[known.id]

    async def active(self, session_id: str) -> Attempt | None:
        """Return the attempt that is being written; one that is lost is ended first."""
        session = self.session(session_id)
        await self._refresh(session)
        active = session.state.active()
        return active[0] if active else None

    async def stop(self, session_id: str, ending: Ending, gid: str | None = None) -> Stopped:
        """Stop what is being written, whoever runs it; see ``Stopping.stop``."""
        return await self._stopping.stop(session_id, ending, gid)

    async def note(self, ended: RunEnded) -> None:
        """Take note of an ending, before its row is written; see ``Outcomes``."""
        await self._outcomes.note(ended)

    def written(self, ended: RunEnded) -> None:
        """Tell of an ending whose row this process has written."""
        for telling in self._outcomes.written(ended):
            self.aside(telling, name=f"on_finish {ended.attempt.id}")

    def metrics(self) -> str:
        """Return what this process has done, in Prometheus' text format."""
        return self.counts.text(len(self._owners))

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return self._clock.now_ms()

    async def end_lost(self, session: Session, attempt: Attempt) -> None:
        """End a run that nobody runs, and tell the session; or go on with it, if that can be done exactly."""
        if self._draining or attempt.id in self._claiming:
            return
        log.info("run_lost", session=session.session_id, attempt=attempt.id, owner=attempt.owner)
        self._claiming.add(attempt.id)
        try:
            await self._take_over(session, attempt)
        finally:
            self._claimed(attempt.id)

    async def _take_over(self, session: Session, attempt: Attempt) -> None:
        await self._name_run(session, attempt.id)
        taken = await take(session, attempt, self._name)
        if taken is None:
            return
        await fence(self.places, attempt)
        left = begun((await read(self.places, taken)).chunks)
        if left is not None and self._may_go_on(taken):
            log.info("run_taken_over", session=session.session_id, attempt=taken.id, epoch=taken.epoch)
            await session.refresh()
            self._own(session, taken, request=taken.request or {}, left=left)
            return
        await reap(self.places, attempt, self._clock.now_ms())
        if await finalize(self.places, session, taken, noting=self) is not None:
            await self.project(session, taken)

    def _may_go_on(self, taken: Attempt) -> bool:
        if taken.request is None or taken.epoch > TAKEOVERS_MAX:
            return False
        # Of one that waits for its turn nothing has been run, whatever its source.
        return taken.status == "queued" or bool(getattr(self._source, "resumable", False))

    async def _refresh(self, session: Session) -> None:
        await session.refresh()
        for attempt in session.state.active():
            if self.is_lost(attempt):
                await self.end_lost(session, attempt)
                await session.refresh()
            else:
                self._reaper.named(attempt.owner, session.session_id, attempt.id)

    def is_lost(self, attempt: Attempt) -> bool:
        """Return whether nobody runs it."""
        if attempt.owner == self._name:
            # Won in doubt: this process did not learn that the turn was its own, and runs nothing.
            return attempt.id not in self._owners and attempt.id not in self._claiming
        return self._leases.is_lost(attempt.owner)

    async def _start(self, session: Session, planned: Plan, prompt: Prompt) -> Attempt | None:
        """Win the session's next turn and begin to run it; ``None`` if somebody else was first."""
        gid = uuid.uuid4().hex
        self._claiming.add(gid)
        try:
            attempt = await self._claim_turn(session, planned, prompt, gid)
            if attempt is not None:
                self._own(session, attempt, request=prompt.request)
                if attempt.turn == 0:
                    self.aside(self._announce(session.session_id, planned.title))
        finally:
            self._claimed(gid)
        return attempt

    async def _claim_turn(self, session: Session, planned: Plan, prompt: Prompt, gid: str) -> Attempt | None:  # noqa: PLR0917
        """Create the stream and win the session's next turn; ``None`` if somebody else was first."""
        state = session.state
        attempt = attempt_at(
            planned, prompt, state, session_id=session.session_id, gid=gid, owner=self._name, now_ms=self.now_ms()
        )
        begin = UiChunks().begin(Identity(attempt.message_id, gid, session.session_id))
        large = [*planned.rows, *closing_rows(state, planned.gone)]
        rows = [
            *await keep_asked(self.places, attempt.stream, large),
            attempt_row(attempt, "insert", prompt.txid),
        ]
        ttl_s = self.settings.attempt_ttl_s
        try:
            await self._name_run(session, gid)
            is_won = await win_turn(self.places, session, attempt, rows=rows, begin=begin, ttl_s=ttl_s)
        except DurableStreamError as refusal:
            if refusal.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise
            await self._forget(attempt, large)
            raise InvalidPromptError("the prompt is larger than the streams server takes at once") from refusal
        if is_won:
            return attempt
        await self._forget(attempt, large)
        return None

    async def _name_run(self, session: Session, gid: str) -> None:
        """Name a run before it is won: if this process dies once it is, others must know what it has left."""
        await self._beacon.name(self._name, session.session_id, gid)

    def _claimed(self, gid: str) -> None:
        """Take note that it is settled whether a run was won; of one that was not, the others need not remember."""
        self._claiming.discard(gid)
        if gid not in self._owners:
            self._pulse.run_ended(gid)

    async def _forget(self, attempt: Attempt, rows: Sequence[bytes]) -> None:
        """Take back what was stored for a turn that is not this process's."""
        await forget_asked(self.places, attempt.stream, rows)
        await self.places.stream(attempt.stream).delete()

    async def go_on(
        self, session: Session, waiting: Attempt, answers: Mapping[str, Answer], *, request: Mapping[str, Any]
    ) -> Attempt | None:
        """Go on with a message that has been answered; ``None`` if somebody else was first, see ``Answering``."""
        state, gid = session.state, uuid.uuid4().hex
        message = state.messages.get(waiting.message_id)
        if message is None:
            raise NotWaitingError("the message is gone")
        request = request if waiting.request is None else waiting.request
        follower = follower_of(
            waiting, state, session_id=session.session_id, gid=gid, owner=self._name, now_ms=self._clock.now_ms()
        )
        follower = replace(follower, request=handed_request(request))
        await self._ledger.check(state, waiting.started_by)
        self._claiming.add(gid)
        try:
            answered = message_row({**message, "parts": answered_parts(message["parts"], answers)})
            [small] = await keep_asked(self.places, follower.stream, [answered])
            waited = (await read(self.places, waiting)).chunks
            begin = opening(
                follower, orjson.loads(small)["value"], answers=answers, waited=waited, session_id=session.session_id
            )
            told = attempt_row(replace(waiting, status="finished", request=None))
            rows = [small, told, attempt_row(follower, "insert")]
            await self._name_run(session, gid)
            if not await win_turn(
                self.places, session, follower, rows=rows, begin=begin, ttl_s=self.settings.attempt_ttl_s
            ):
                await self._forget(follower, [answered])
                return None
            self._own(session, follower, request=request, left=begun(begin))
        finally:
            self._claimed(gid)
        return follower

    def _own(
        self, session: Session, attempt: Attempt, *, request: Mapping[str, Any], left: Begun | None = None
    ) -> None:
        owner = Owner(self.places, session, attempt, settings=self.settings, clock=self._clock, begun=left)
        self._owners[attempt.id] = owner
        self.counts.started()
        source = NothingMore(left.waiting) if left is not None and left.is_complete else self._source
        self.aside(self._run(session, owner, source=source, request=request), name=f"run {attempt.id}")

    async def _run(self, session: Session, owner: Owner, *, source: Source, request: Mapping[str, Any]) -> None:
        gid = owner.attempt.id
        try:
            async with session.following(), asyncio.TaskGroup() as group:
                await session.changed(lambda state: gid in state.attempts)
                telling = group.create_task(self._project_aside(session, owner.attempt))
                await self._run_and_record(session, owner, source=source, request=request)
                if not owner.recorded.done():
                    telling.cancel()  # another process tells the rest
        finally:
            owner.recorded.cancel()
            del self._owners[gid]
            self._pulse.run_ended(gid)

    async def _run_and_record(
        self, session: Session, owner: Owner, *, source: Source, request: Mapping[str, Any]
    ) -> None:
        gid = owner.attempt.id
        # Of a run that was found ended: somebody has fenced it, and has not closed it yet.
        left = Ending("lost", reason="lost")
        try:
            await owner.run(source, request, self._beacon)
        except Exception:
            # Not the source's: those are its run's endings. Whatever it is, the run must not stay open.
            log.exception("run_failed", session=session.session_id, attempt=gid)
            left = Ending("failed", reason="the adapter failed")
        if owner.handed_on:
            await until_answered(
                lambda: self._beacon.hand_on(self._name, session.session_id, gid), f"handing on of {gid}"
            )
            return
        final = await until_answered(lambda: self._recorded(session, owner, left), f"end of {gid}")
        if final is not None:
            owner.recorded.set_result(final)

    async def _recorded(self, session: Session, owner: Owner, left: Ending) -> Attempt | None:
        """Write the final row and return it; ``None``: another process has taken the run over."""
        final = await finalize(self.places, session, owner.attempt, noting=self)
        if final is None:
            known = (await session.refresh()).attempts[owner.attempt.id]
            if known.epoch > owner.attempt.epoch:
                return None
            await fail(self.places, owner.attempt, replace(left, at_ms=self._clock.now_ms()))
            final = await finalize(self.places, session, owner.attempt, noting=self)
        if final is None:
            raise AssertionError("a stream that was just closed is open")
        return final

    async def project(self, session: Session, attempt: Attempt) -> None:
        """Tell an attempt in the AG-UI stream, if it is told there; however often this is done, it is told once."""
        if attempt.agui:
            # What goes on follows a part that has told the prompt.
            known = attempt.prompt_id in session.state.messages and attempt.continues is None
            messages = history(session.state, attempt.prompt_id) if known else []
            await project(self.places, session.session_id, attempt, messages=messages)

    async def _project_aside(self, session: Session, attempt: Attempt) -> None:
        try:
            await until_answered(lambda: self.project(session, attempt), f"AG-UI events of {attempt.id}")
        except Exception:
            log.exception("projection_failed", session=session.session_id, attempt=attempt.id)

    async def _announce(self, session_id: str, title: str) -> None:
        """Add a new session to the list of all."""
        await announce(self.places, {"id": session_id, "title": title, "created_at": self._clock.now_ms()})

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run something that ends with the process; what it raises is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def aside(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run something that ends with the process, and that nobody waits for."""
        task = self.spawn(work, name)
        del task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", task=task.get_name(), exc_info=error)


def _same(session: Session, planned: Plan, run_id: str | None) -> Attempt | None:
    """Return the attempt that answers this very prompt: an active one, or a submitted one's finished answer.

    If the asker has named the run, that is the one, however it ended.
    """
    for attempt in reversed(session.state.attempts.values()):
        if run_id is not None:
            if attempt.run_id == run_id:
                return attempt
        elif attempt.prompt == planned.key and (
            attempt.active or (attempt.status == "finished" and not rewrites(planned.key))
        ):
            return attempt
    return None

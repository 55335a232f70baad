"""Takes answers to what runs wait for, and lets the runs go on: from any process, each answer once.

Theory. A run that waits has ended: its stream is closed, its row says ``waiting``, and no process is needed while it
does. An answer is a row under ``answer:{gid}:{call}``, 0, 0: of several the first is stored and the others learn it.
Once nothing is left to answer, the message goes on in a new attempt, which has to win the session's next turn as a
prompt's has; so either the run goes on once, or a prompt that came first has closed it.
Invariant: only an answer that is new makes a model be called: what is posted again leads to what it led to before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from durable_streams.agents.answers import NOT_ANSWERED, Answer, answer_in, checked_answer, closed_parts
from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.errors import AgentError
from durable_streams.agents.sessions.continuing import opening_bytes
from durable_streams.agents.sessions.places import JSON
from durable_streams.agents.sessions.rows import answer_row, attempt_row, message_row
from durable_streams.client import ProducerTriple, StreamExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from durable_streams.agents.events import Pending
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.prompts import Prompt
    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.agents.sessions.session import Session
    from durable_streams.agents.sessions.settings import Settings
    from durable_streams.agents.sessions.state import SessionState

RESUBMISSIONS_MAX: Final = 8
"""How often in a row an answer that has ended may be sent back without news; clients that do it by themselves stop."""
COUNTED_MAX: Final = 10_000
"""Answers whose resubmissions are counted at the same time."""
ATTEMPTS_MAX: Final = 50


class NotWaitingError(AgentError):
    """There is nothing to answer: the run does not wait, or no more."""

    public = True

    def __init__(self, why: str = "nothing waits for this answer") -> None:
        super().__init__(why)


class AnsweredError(AgentError):
    """Somebody else was first, and has said something else.

    Attributes:
        decided: what was said first.
    """

    public = True

    def __init__(self, decided: Answer) -> None:
        super().__init__("somebody has answered this before, and otherwise")
        self.decided = decided


class LoopingError(AgentError):
    """A client sends the same again and again, or a message has gone on too often."""

    public = True


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of answers.

    Attributes:
        attempt: the one that waited.
        decided: all that is answered by now.
        left: what is still waited for.
        follower: what goes on, once nothing is left.
        created: whether this answer has started it.
    """

    attempt: Attempt
    decided: Mapping[str, Answer]
    left: tuple[Pending, ...] = ()
    follower: Attempt | None = None
    created: bool = False


class Process(Protocol):
    """What answering needs of its process."""

    settings: Settings
    places: Places

    def now_ms(self) -> int:
        """Return Unix milliseconds."""

    @property
    def takes_answers(self) -> bool:
        """Whether the source goes on when somebody has answered."""

    async def settled(self, session: Session, message_id: str) -> Attempt | None:
        """Return the last attempt at a message, as its row is once what is stored of it has been told."""

    async def go_on(
        self, session: Session, waiting: Attempt, answers: Mapping[str, Answer], *, request: Mapping[str, Any]
    ) -> Attempt | None:
        """Win the session's next turn and go on; ``None`` if somebody else was first."""


class Answering:
    """The answers that come to one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sent_back: OrderedDict[str, int] = OrderedDict()

    async def answer(self, session: Session, gid: str | None, given: Iterable[Mapping[str, Any]]) -> Answered:
        """Take answers from any device.

        Args:
            session: the session.
            gid: the attempt that waits; ``None``: the last one that waits, or has waited, for one of the calls.
            given: each with ``toolCallId`` and what ``checked_answer`` reads.

        Raises:
            InvalidAnswerError: not what was asked for; nothing was written.
            NotWaitingError: it does not wait.
            AnsweredError: somebody has answered otherwise before.
            LoopingError: the message has gone on too often.
        """
        given = list(given)
        attempt = await self._waiting(session, gid, {one.get("toolCallId") for one in given})
        pending = {one.call_id: one for one in attempt.pending}
        answers = []
        for one in given:
            asked = pending.get(str(one.get("toolCallId")))
            if asked is None:
                raise NotWaitingError(f"nothing waits for an answer to {one.get('toolCallId')!r}")
            answers.append(checked_answer(asked, one))
        await self._record(session, attempt, answers)
        decided = session.state.answers.get(attempt.id, {})
        for mine in answers:
            if not mine.says_as(decided[mine.call_id]):
                raise AnsweredError(decided[mine.call_id])
        return await self._go_on_if_complete(session, attempt, {})

    async def resubmit(
        self, session: Session, posted: Mapping[str, Any], prompt: Prompt
    ) -> tuple[Attempt, bool] | None:
        """Take what a client has added to an answer that it sends back.

        Returns:
            What to read now, and whether this post has started it; ``None``: no such answer is known.

        Raises:
            InvalidAnswerError: an answer is too large.
            LoopingError: it is sent back again and again, or the message has gone on too often.
        """
        attempt = await self._process.settled(session, str(posted["id"]))
        if attempt is None:
            return None
        if attempt.active:
            return attempt, False
        if attempt.status != "waiting":
            has_seen = _step_count(posted) >= _step_count(session.state.messages.get(attempt.message_id, {}))
            if attempt.continues is not None and not has_seen:
                return attempt, False
            return await self._nothing_new(attempt, is_over=True), False
        parts = {part.get("toolCallId"): part for part in posted["parts"]}
        found = (answer_in(parts.get(one.call_id, {}), one, prompt.by) for one in attempt.pending)
        await self._record(session, attempt, [answer for answer in found if answer is not None])
        answered = await self._go_on_if_complete(session, attempt, prompt.request)
        if answered.follower is None:
            return await self._nothing_new(attempt, is_over=False), False
        return answered.follower, answered.created

    async def _waiting(self, session: Session, gid: str | None, call_ids: set[object]) -> Attempt:
        state = await session.refresh()
        if gid is None:
            asking = (one for one in state.attempts.values() if call_ids & {each.call_id for each in one.pending})
            known = max(asking, key=lambda one: one.turn, default=None)
        else:
            known = state.attempts.get(gid)
        if known is not None and known.active:
            await self._process.settled(session, known.message_id)
            known = session.state.attempts[known.id]
        if known is None or not known.pending:
            raise NotWaitingError
        return known

    async def _record(self, session: Session, attempt: Attempt, answers: Iterable[Answer]) -> None:
        """Store what is answered first; what is answered before, or waited for no more, changes nothing."""
        if not self._process.takes_answers:
            raise NotWaitingError("the source of this service cannot go on with an answer")
        for answer in answers:
            if answer.call_id not in session.state.answers.get(attempt.id, {}):
                if attempt.status != "waiting":
                    raise NotWaitingError
                call = hashlib.sha256(answer.call_id.encode()).hexdigest()[:32]
                signed = replace(answer, at_ms=self._process.now_ms())
                triple = ProducerTriple(f"answer:{attempt.id}:{call}", 0, 0)
                await session.append(triple, [answer_row(attempt.id, signed)])
        await session.refresh()

    async def _go_on_if_complete(self, session: Session, attempt: Attempt, request: Mapping[str, Any]) -> Answered:
        for _ in range(ATTEMPTS_MAX):
            decided = session.state.answers.get(attempt.id, {})
            left = tuple(one for one in attempt.pending if one.call_id not in decided)
            follower = next((one for one in session.state.attempts.values() if one.continues == attempt.id), None)
            if left or follower is not None:
                return Answered(attempt, decided, left, follower)
            if session.state.attempts[attempt.id].status != "waiting":
                raise NotWaitingError("another prompt came first")
            if attempt.continuations >= self._process.settings.continuations_max:
                raise LoopingError(f"this answer has gone on {attempt.continuations} times: ask anew")
            started = await self._process.go_on(session, attempt, decided, request=request)
            if started is not None:
                return Answered(attempt, decided, (), started, created=True)
            await session.refresh()
        raise AgentError(f"lost {ATTEMPTS_MAX} races for a turn")

    async def _nothing_new(self, attempt: Attempt, *, is_over: bool) -> Attempt:
        """Return an attempt whose stream says that nothing has come of it.

        A client that sends a complete answer back would do so again. The empty step tells it that the model has seen
        the calls of the last one.
        """
        count = self._sent_back.pop(attempt.id, 0) + 1
        self._sent_back[attempt.id] = count
        if len(self._sent_back) > COUNTED_MAX:
            self._sent_back.popitem(last=False)
        if count > RESUBMISSIONS_MAX:
            raise LoopingError("this answer was sent back again and again, with nothing new in it")
        path = f"{attempt.stream}/{'over' if is_over else 'waits'}"
        chunks = UiChunks().begin(Identity(attempt.message_id, attempt.id, ""))
        chunks += [{"type": names.START_STEP}, {"type": names.FINISH_STEP}] if is_over else []
        # Without metadata clients would not look at the step.
        said = {"finishReason": attempt.finish_reason or "stop", "messageMetadata": {"generationId": attempt.id}}
        chunks.append({"type": names.FINISH, **said})
        ttl_s = self._process.settings.attempt_ttl_s
        with suppress(StreamExistsError):
            await self._process.places.stream(path).create_stream(
                content_type=JSON, ttl_seconds=ttl_s, body=opening_bytes(chunks), closed=True
            )
        return replace(attempt, stream=path)


def closing_rows(state: SessionState, gone: frozenset[str]) -> list[bytes]:
    """Return the rows that close what waits, as another prompt has come: its calls are told as not answered.

    Args:
        state: the session's.
        gone: ids of messages that the prompt takes away.
    """
    rows = []
    for one in state.waiting():
        rows.append(attempt_row(replace(one, status="finished", reason=NOT_ANSWERED, request=None)))
        message = state.messages.get(one.message_id)
        if message is not None and one.message_id not in gone:
            parts = closed_parts(message["parts"], one.pending, state.answers.get(one.id, {}))
            rows.append(message_row({**message, "parts": parts}))
    return rows


def _step_count(message: Mapping[str, Any]) -> int:
    return sum(part.get("type") == "step-start" for part in message.get("parts", ()))

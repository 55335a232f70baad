"""One attempt at an answer, as its source sees it: what was asked, and where to say what happens.

Invariant: ``call`` runs a function only when the call is durable, and returns only when its result is; a run that
somebody else has ended runs nothing more.
"""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from durable_streams.agents.errors import ToolCancelledError
from durable_streams.agents.events import ToolCalled, ToolFailed, ToolReturned
from durable_streams.agents.plain import storable
from durable_streams.agents.telling import Teller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from durable_streams.agents.answers import Answer
    from durable_streams.agents.codecs.base import Identity
    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.base import UIMessage

T = TypeVar("T")

_current: ContextVar[Run] = ContextVar("run")


class Sink(Protocol):
    """Where events go."""

    def put(self, event: Event) -> None:
        """Take an event and return at once."""

    def has_result(self, call_id: str) -> bool:
        """Return whether a call of that id has ended: nothing more is stored under it."""

    async def flush(self) -> None:
        """Return when everything taken is durable.

        Raises:
            RunEndedError: somebody else has ended the run.
        """


@dataclass(frozen=True, slots=True)
class Summary:
    """Older turns of a conversation in a few words.

    Attributes:
        upto: id of the last message it tells of.
        text: what it says.
        digest: of the messages it tells of.
        turn_count: how many turns they are.
    """

    upto: str
    text: str
    digest: str
    turn_count: int

    @property
    def message(self) -> UIMessage:
        """The summary as a model is shown it: among its instructions."""
        text = f"Summary of the conversation so far:\n{self.text}"
        return {"id": f"summary-{self.upto}", "role": "system", "parts": [{"type": "text", "text": text}]}


class Memory(Protocol):
    """What a conversation's runs know of each other, whichever process they run in."""

    def recall(self) -> Sequence[Summary]:
        """Return the summaries that are stored."""

    async def keep(self, summary: Summary) -> None:
        """Store a summary; of several of the same turns the first is kept.

        Raises:
            DurableStreamError, FetchError: the server refused or cannot be reached.
        """


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt.

    Attributes:
        identity: what the answer is called.
        messages: the history, oldest first, the prompt last; AI SDK ``UIMessage`` objects.
        sink: where events go.
        request: the rest of the request's body, for a source's own options.
        memory: what runs of the conversation keep for each other; ``None`` where there is no session.
        answer: parts of the answer that are there already, whole steps; a source is given any only if it is
            ``resumable`` or ``takes_answers``, and goes on behind them.
        teller: says what went wrong.
        answers: of a run that goes on after it has waited: what was answered, by the id of the call or question.
        state: of such a run: what ``Waiting`` has kept of it.
    """

    identity: Identity
    messages: Sequence[UIMessage]
    sink: Sink
    request: Mapping[str, Any] = field(default_factory=dict)
    memory: Memory | None = None
    answer: Sequence[Mapping[str, Any]] = ()
    teller: Teller = field(default_factory=Teller)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    state: object = None

    def emit(self, event: Event) -> None:
        """Say what happened, from anywhere inside the run; a source may also yield it."""
        self.sink.put(event)

    async def durable(self) -> None:
        """Return when everything said so far is durable.

        Raises:
            RunEndedError: somebody else has ended the run.
        """
        await self.sink.flush()

    async def call(self, call: ToolCalled, function: Callable[[], Awaitable[T]]) -> T:
        """Run a tool's function: the call is durable before it, the result after.

        Args:
            call: announced before unless the model's own stream has done so; under another id if its own is used up.
            function: the work; a stop cancels it.

        Raises:
            RunEndedError: somebody else has ended the run; the function has not run.
            NoFormError: what the function returned cannot be recorded, or is too large; its failure is.
            ToolCancelledError: the function cancelled itself, which is its failure as well.
            Exception: the function's own; its failure is recorded, in its own words if it is a ``ToolError``.
        """
        call = self._under_free_id(call)
        self.emit(call)
        await self.durable()
        try:
            output = await _result_of(function, call.tool)
        except Exception as error:
            self.emit(ToolFailed(call.call_id, self.teller.of_tool(error, call.tool)))
            await self.durable()
            raise
        self.emit(ToolReturned(call.call_id, output))
        await self.durable()
        return output

    def _under_free_id(self, call: ToolCalled) -> ToolCalled:
        # Some models number their calls anew in each step: under an id that has its result nothing would be recorded.
        call_id, number = call.call_id, 1
        while self.sink.has_result(call_id):
            number += 1
            call_id = f"{call.call_id}-{number}"
        return call if call_id == call.call_id else replace(call, call_id=call_id)

    def enter(self) -> None:
        """Make this the run that ``current_run`` finds, in this task and those it starts."""
        _current.set(self)


def tool_in_thread(thread_id: int) -> str | None:
    """Return the name of the tool that a thread is in at this moment; ``None``: in none, or not to be told."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 the documented way to look at another thread
    while frame is not None:
        if frame.f_code is _result_of.__code__:
            return str(frame.f_locals.get("tool"))
        frame = frame.f_back
    return None


async def _result_of(function: Callable[[], Awaitable[T]], tool: str) -> T:
    try:
        output = await function()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody has stopped the run: a library that the tool uses has given up a task of its own.
        raise ToolCancelledError(tool) from error
    storable(output)  # before anybody builds on it
    return output


def current_run() -> Run:
    """Return the run that the calling code is part of, for a framework's tools to call ``Run.call`` on.

    Raises:
        LookupError: there is none.
    """
    return _current.get()

"""How much of a long conversation a source is shown: everything, the latest turns, or those and a summary.

A turn is what users said and all that was answered to it, tool calls with their results; it is shown whole or not at
all. Instructions are always shown, and so is the last turn, whatever it takes.
"""

from __future__ import annotations

import inspect
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import structlog

from durable_streams.agents.errors import AgentError, UpstreamError
from durable_streams.agents.sources.base import refusal_of
from durable_streams.agents.sources.summaries import covers, summarise, summary_of
from durable_streams.agents.sources.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run, Summary
    from durable_streams.agents.sources.base import Model, Source
    from durable_streams.agents.wires.base import UIMessage

    Hook = Callable[[Sequence[UIMessage]], "Sequence[UIMessage] | Awaitable[Sequence[UIMessage]]"]

Policy: TypeAlias = Literal["trim", "summarise"]
"""What becomes of turns that do not fit: they are left out, or told in a summary."""
POLICIES: Final[tuple[Policy, ...]] = ("trim", "summarise")

log = structlog.get_logger(__name__)


class InvalidContextError(AgentError):
    """A way to fit a history that cannot work."""


@dataclass(frozen=True, slots=True)
class Context:
    """How a history is fitted.

    Attributes:
        budget_tokens: the most that a history may take; ``None`` is no bound.
        policy: what becomes of what does not fit.
        count: tokens of one message.
        hook: changes the history before anything else is done; may be a coroutine function.

    Raises:
        InvalidContextError: a budget below 1, or no such policy.
    """

    budget_tokens: int | None = None
    policy: Policy = "trim"
    count: Callable[[UIMessage], int] = estimate
    hook: Hook | None = None

    def __post_init__(self) -> None:
        if self.budget_tokens is not None and self.budget_tokens < 1:
            raise InvalidContextError("budget_tokens is 1 or more")
        if self.policy not in POLICIES:
            raise InvalidContextError(f"a policy is one of {', '.join(POLICIES)}")

    def total(self, messages: Iterable[UIMessage]) -> int:
        """Return the tokens of messages."""
        return sum(self.count(message) for message in messages)


class Fitted:
    """A source that is shown a fitted history.

    Args:
        source: answers.
        context: how to fit.
        model: writes summaries, needed for that policy alone.

    Raises:
        InvalidContextError: summaries without a model.
    """

    def __init__(self, source: Source, context: Context, model: Model | None = None) -> None:
        if context.policy == "summarise" and context.budget_tokens is not None and model is None:
            raise InvalidContextError("summaries need a model that writes them")
        self._source, self._context, self._model = source, context, model

    @property
    def takes_answers(self) -> bool:
        """Whether the source goes on when somebody has answered; see ``Source``."""
        return bool(getattr(self._source, "takes_answers", False))

    @property
    def resumable(self) -> bool:
        """Whether the source goes on with answers of others; see ``Source``."""
        return bool(getattr(self._source, "resumable", False))

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return refusal_of(self._source, message, request)

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        shown = replace(run, messages=await self._fit(run))
        async with aclosing(self._source.open(shown)) as events:
            async for event in events:
                yield event

    async def _fit(self, run: Run) -> list[UIMessage]:
        context, messages = self._context, list(run.messages)
        if context.hook is not None:
            changed = context.hook(messages)
            messages = list(await changed if inspect.isawaitable(changed) else changed)
        if context.budget_tokens is None or context.total(messages) <= context.budget_tokens:
            return messages
        if context.policy == "summarise" and self._model is not None:
            messages = await self._summarised(run, messages, self._model)
        return trimmed(messages, context)

    async def _summarised(self, run: Run, messages: list[UIMessage], model: Model) -> list[UIMessage]:
        """Return the history with its older turns told in a summary, the one that is stored if there is one."""
        budget = self._context.budget_tokens or 0
        system, turns = split(messages)
        known = None if run.memory is None else covers(run.memory.recall(), turns)
        rest = turns if known is None else turns[known.turn_count :]
        if known is not None and self._context.total(_shown(system, known, rest)) <= budget:
            return _shown(system, known, rest)
        # Half of the budget stays free, so that not every turn makes a summary of its own.
        kept = _latest(rest, self._context, budget // 2)
        older = turns[: len(turns) - len(kept)]
        if not older or (known is not None and len(older) <= known.turn_count):
            return _shown(system, known, rest)
        try:
            text = await summarise(run, model, older, known=known, piece_tokens=budget, count=self._context.count)
        except UpstreamError as error:
            log.warning("summary_failed", run=run.identity.run_id, error=str(error))
            return _shown(system, known, rest)
        if not text:
            return _shown(system, known, rest)
        made = summary_of(older, text)
        if run.memory is not None:
            await run.memory.keep(made)
        return _shown(system, made, kept)


def split(messages: Iterable[UIMessage]) -> tuple[list[UIMessage], list[list[UIMessage]]]:
    """Return instructions, and the turns: each begins with the first message of users after an answer."""
    system: list[UIMessage] = []
    turns: list[list[UIMessage]] = []
    answered = True
    for message in messages:
        if message.get("role") == "system":
            system.append(message)
            continue
        is_user = message.get("role") == "user"
        if not turns or (is_user and answered):
            turns.append([])
        answered = not is_user
        turns[-1].append(message)
    return system, turns


def trimmed(messages: Sequence[UIMessage], context: Context) -> list[UIMessage]:
    """Return the history without its oldest turns, as far as it has to be for the budget."""
    system, turns = split(messages)
    if context.budget_tokens is None:
        return list(messages)
    kept = _latest(turns, context, context.budget_tokens - context.total(system))
    return [*system, *(message for turn in kept for message in turn)]


def _latest(turns: list[list[UIMessage]], context: Context, budget: int) -> list[list[UIMessage]]:
    """Return the latest turns that fit, at least one."""
    first = len(turns)
    while first > 0:
        budget -= context.total(turns[first - 1])
        if budget < 0 and first < len(turns):
            break
        first -= 1
    return turns[first:]


def _shown(system: list[UIMessage], summary: Summary | None, turns: list[list[UIMessage]]) -> list[UIMessage]:
    told = [] if summary is None else [summary.message]
    return [*system, *told, *(message for turn in turns for message in turn)]

"""A model with tools: call it, run what it calls, show it the results, until it answers.

Invariant: each call is durable before its function runs and its result before the model sees it; a stop cancels all
functions with the run's task.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import RunEndedError
from durable_streams.agents.events import (
    ReasoningDelta,
    ReasoningEnded,
    StepEnded,
    StepStarted,
    TextDelta,
    ToolCalled,
    ToolFailed,
)
from durable_streams.agents.plain import plain, whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.sources.base import Model
    from durable_streams.agents.tools import Tool

STEPS_MAX: Final = 16


class Agent:
    """A source that calls a model and runs its tools.

    Args:
        model: what to call.
        tools: what it may call.
        system: instructions put before the history.
        steps_max: calls of the model in one answer; the last one's tools do not run.
    """

    def __init__(
        self, model: Model, tools: Sequence[Tool] = (), *, system: str | None = None, steps_max: int = STEPS_MAX
    ) -> None:
        self._model = model
        self._tools = {tool.name: tool for tool in tools}
        self._system = system
        self._steps_max = steps_max

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        history = list(run.messages)
        if self._system is not None:
            history.insert(0, {"id": "system", "role": "system", "parts": [{"type": "text", "text": self._system}]})
        answer: dict[str, Any] = {"id": run.identity.message_id, "role": "assistant", "parts": []}
        for number in range(self._steps_max):
            yield StepStarted()
            asked = [*history, answer] if answer["parts"] else history
            step = _Step()
            events = self._model.stream(asked, tuple(self._tools.values()), prefix=f"s{number}-")
            async with aclosing(events):
                async for event in events:
                    step.observe(event)
                    yield event
            if step.calls and number + 1 < self._steps_max:
                answer["parts"] += [{"type": "step-start"}, *step.said(), *await self._run_all(run, step.calls)]
            yield StepEnded()
            if not step.calls:
                return

    async def _run_all(self, run: Run, calls: Sequence[ToolCalled]) -> list[dict[str, Any]]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run_one(run, call)) for call in calls]
        except* RunEndedError as ended:
            raise ended.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _run_one(self, run: Run, call: ToolCalled) -> dict[str, Any]:
        part: dict[str, Any] = {"type": f"tool-{call.tool}", "toolCallId": call.call_id, "input": plain(call.input)}
        tool = self._tools.get(call.tool)
        if tool is None:
            error = f"there is no tool {call.tool!r}"
            run.emit(ToolFailed(call.call_id, error))
            return {**part, "state": "output-error", "errorText": error}
        given = call.input if isinstance(call.input, dict) else {}
        try:
            output = await run.call(call, lambda: tool.function(given))
        except RunEndedError:
            raise
        except Exception as error:  # noqa: BLE001 the model is told, as it is for any result
            return {**part, "state": "output-error", "errorText": str(error) or type(error).__name__}
        return {**part, "state": "output-available", "output": plain(output)}


class _Step:
    """What one call of the model said, as the parts it is shown again."""

    def __init__(self) -> None:
        self.calls: list[ToolCalled] = []
        self.parts: list[dict[str, Any]] = []
        self._open: dict[str, dict[str, Any]] = {}

    def said(self) -> list[dict[str, Any]]:
        return [{**part, "text": whole(part["text"])} for part in self.parts]

    def observe(self, event: Event) -> None:
        if isinstance(event, TextDelta | ReasoningDelta):
            part = self._open.get(event.part)
            if part is None:
                kind = "text" if isinstance(event, TextDelta) else "reasoning"
                part = self._open[event.part] = {"type": kind, "text": ""}
                self.parts.append(part)
            part["text"] += event.text
        elif isinstance(event, ReasoningEnded) and event.signature and event.part in self._open:
            self._open[event.part]["providerMetadata"] = {"anthropic": {"signature": event.signature}}
        elif isinstance(event, ToolCalled):
            self.calls.append(event)

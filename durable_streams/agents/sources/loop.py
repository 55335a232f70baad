"""A model with tools: call it, run what it calls, show it the results, until it answers.

Invariant: each call is durable before its function runs and its result before the model sees it; a call whose input
cannot be read never runs, and the model is shown that; a stop cancels all functions with the run's task; a call that
needs approval runs once it has it, and not again.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs.pending import told_pending
from durable_streams.agents.errors import RunEndedError
from durable_streams.agents.events import (
    SAID,
    Custom,
    Pending,
    StepEnded,
    StepStarted,
    ToolCalled,
    ToolFailed,
    ToolRejected,
    Waiting,
)
from durable_streams.agents.plain import plain
from durable_streams.agents.sources.base import adjusted, refusal_of
from durable_streams.agents.sources.steps import Step, call_part, ids_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.sources.base import Model
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage

STEPS_MAX: Final = 16


class Agent:
    """A source that calls a model and runs its tools.

    Args:
        model: what to call.
        tools: what it may call.
        system: instructions put before the history.
        steps_max: calls of the model in one answer, whatever they were for; the last one's tools do not run.
    """

    def __init__(
        self, model: Model, tools: Sequence[Tool] = (), *, system: str | None = None, steps_max: int = STEPS_MAX
    ) -> None:
        self._model = model
        self._tools = {tool.name: tool for tool in tools}
        self._system = system
        self._steps_max = steps_max

    @property
    def resumable(self) -> bool:
        """Whether an answer can be gone on with, see ``Source``: all that it is made of is stored."""
        return True

    @property
    def takes_answers(self) -> bool:
        """Whether it goes on when somebody has answered; see ``Source``."""
        return True

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return refusal_of(self._model, message, request)

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        model, history = adjusted(self._model, run.request), list(run.messages)
        if self._system is not None:
            history.insert(0, {"id": "system", "role": "system", "parts": [{"type": "text", "text": self._system}]})
        answer: dict[str, Any] = {"id": run.identity.message_id, "role": "assistant"}
        answer["parts"] = await self._approved(run, [dict(part) for part in run.answer])
        ids = ids_of([*run.messages, answer])
        done = sum(part["type"] == "step-start" for part in run.answer)
        for number in range(done, self._steps_max):
            yield StepStarted()
            asked = [*history, answer] if answer["parts"] else history
            step = Step(self._tools, ids)
            events = model.stream(asked, tuple(self._tools.values()), prefix=f"s{number}-")
            async with aclosing(events):
                async for event in events:
                    yield step.take(event)
            is_last = number + 1 == self._steps_max
            waits: tuple[Pending, ...] = ()
            if is_last:
                why = f"not run: the answer has had its {self._steps_max} calls of the model"
                for call in step.to_run():
                    yield ToolFailed(call.call_id, why)
            elif step.goes_on:
                waits = await self._waits(step.to_run())
                run.emit(Custom(SAID, {"step": number, "waits": told_pending(waits)}, transient=True))
                asked_ids = {one.call_id for one in waits}
                settled = await self._settle_all(run, [call for call in step.calls if call.call_id not in asked_ids])
                answer["parts"] += [{"type": "step-start"}, *step.said(settled)]
            if waits:
                yield Waiting(waits)
            yield StepEnded()
            if is_last or waits or not step.goes_on:
                return

    async def _waits(self, calls: Sequence[ToolCalled]) -> tuple[Pending, ...]:
        """Return what has to be answered by somebody before the model is called again."""
        waits: list[Pending] = []
        for call in calls:
            tool = self._tools.get(call.tool)
            if tool is not None and tool.runs == "client":
                waits.append(Pending(call.call_id, "result", call.tool))
            elif tool is not None and await tool.needs_approval(_object(call.input)):
                waits.append(Pending(call.call_id, "approval", call.tool))
        return tuple(waits)

    async def _approved(self, run: Run, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run the calls that were approved while the run waited, and return the parts with what became of them."""
        calls = [
            ToolCalled(part["toolCallId"], part["type"].removeprefix("tool-"), part.get("input"))
            for part in parts
            if part.get("state") == "approval-responded"
        ]
        if not calls:
            return parts
        # Whoever goes on from here knows that they may have run.
        run.emit(Custom(SAID, {"step": "approved", "waits": []}, transient=True))
        settled = {part["toolCallId"]: part for part in await self._settle_all(run, calls)}
        return [{**part, **settled.get(part.get("toolCallId", ""), {})} for part in parts]

    async def _settle_all(self, run: Run, calls: Sequence[ToolCalled | ToolRejected]) -> list[dict[str, Any]]:
        """Run what can run, and return all the calls as the model is shown them."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._settle(run, call)) for call in calls]
        except* RunEndedError as ended:
            raise ended.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _settle(self, run: Run, call: ToolCalled | ToolRejected) -> dict[str, Any]:
        part = call_part(call)
        if isinstance(call, ToolRejected):
            return {**part, "state": "output-error", "errorText": call.error}
        tool = self._tools.get(call.tool)
        if tool is None:
            error = f"there is no tool {call.tool!r}"
            run.emit(ToolFailed(call.call_id, error))
            return {**part, "state": "output-error", "errorText": error}
        function, given = tool.function, _object(call.input)
        if function is None:
            raise AssertionError("a client's tool was approved")
        try:
            output = await run.call(call, lambda: function(given))
        except RunEndedError:
            raise
        except Exception as error:  # noqa: BLE001 the model is told, as it is for any result
            return {**part, "state": "output-error", "errorText": run.teller.of_tool(error, call.tool)}
        return {**part, "state": "output-available", "output": plain(output)}


def _object(given: object) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}

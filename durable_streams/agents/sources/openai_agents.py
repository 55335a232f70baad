"""The OpenAI Agents SDK. Its raw events are Responses events, whatever the model.

Remedy: the run goes on in a task of its own when iteration stops, so the result is cancelled in ``finally``. The agent
runs its own tools: use ``current_run().call`` in one whose effect must not happen unrecorded.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from durable_streams.agents.sources.hiding import hidden
from durable_streams.agents.sources.openai_agents_turns import Turns
from durable_streams.agents.sources.packages import optional, translated
from durable_streams.agents.wires.files import refusal_of
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.wires.base import UIMessage


class OpenAIAgents:
    """A source from an ``agents.Agent``.

    A structured output is a value named ``output`` at the end. A run with interruptions waits for their approval.

    Args:
        agent: the agent.
        options: further arguments of ``Runner.run_streamed``.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, agent: Any, **options: Any) -> None:  # noqa: ANN401 a package that may be absent
        runner = optional("agents", extra="openai-agents").Runner
        self._start, self._agent, self._options = runner.run_streamed, agent, options

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:  # noqa: ARG002 the protocol's signature
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return None if message is None else refusal_of(OpenAIResponsesWire(), message)

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        given = OpenAIResponsesWire().request("", run.messages, ())["input"]
        turns = Turns()
        with translated("openai", "agents"):
            result = self._start(self._agent, given, **self._options)
            try:
                async with aclosing(result.stream_events()) as said:
                    async for event in said:
                        for own in hidden(turns.feed(event), run.teller):
                            yield own
            finally:
                result.cancel()
        for own in turns.finish(result):
            yield own

"""pydantic-ai agents, by their own event stream.

Remedy: the run lives in a task of its own behind the stream, so the stream is closed in ``finally``. The agent runs its
own tools: use ``current_run().call`` in one whose effect must not happen unrecorded.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from durable_streams.agents.sources.packages import optional, translated
from durable_streams.agents.sources.pydantic_ai_parts import Parts
from durable_streams.agents.wires.parts import settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.wires.base import UIMessage


class PydanticAI:
    """A source from a ``pydantic_ai.Agent``.

    A structured output is a value named ``output`` at the end. A run that ends with deferred tool requests waits for
    them: give the agent ``output_type=[…, DeferredToolRequests]``. What nobody has answered before the next prompt has
    not run.

    Args:
        agent: the agent.
        options: further arguments of ``run_stream_events``, such as ``deps``.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, agent: Any, **options: Any) -> None:  # noqa: ANN401 a package that may be absent
        self._adapter = optional("pydantic_ai.ui.vercel_ai", extra="pydantic-ai").VercelAIAdapter
        self._ui_message = optional("pydantic_ai.ui.vercel_ai.request_types", extra="pydantic-ai").UIMessage
        self._repair = optional("pydantic_ai.messages", extra="pydantic-ai").repair_messages
        self._agent, self._options = agent, options

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        prompt, history = self._asked(run)
        parts = Parts()
        with translated("pydantic_ai", "openai", "anthropic"):
            async with _opened(self._agent.run_stream_events(prompt, message_history=history, **self._options)) as said:
                async for event in said:
                    for own in parts.feed(event):
                        yield own
        for own in parts.finish():
            yield own

    def _asked(self, run: Run) -> tuple[Any, list[Any]]:
        """Return the prompt, with its files, and what was before it.

        The prompt is not the end of the history: without one the package leaves out the agent's system prompt.
        """
        if not run.messages:
            return None, []
        asked = [part for message in self._loaded(run.messages[-1:]) for part in message.parts]
        prompts = [part.content for part in asked if part.part_kind == "user-prompt"]
        if not prompts:
            return None, self._loaded(run.messages)
        # The package takes no prompt after calls without a result.
        return prompts[-1], self._repair(self._loaded(run.messages[:-1]))

    def _loaded(self, messages: Sequence[UIMessage]) -> list[Any]:
        seen = [{**message, "parts": settled(message)} for message in messages]
        loaded: list[Any] = self._adapter.load_messages([self._ui_message(**message) for message in seen])
        return loaded


@asynccontextmanager
async def _opened(stream: Any) -> AsyncIterator[Any]:  # noqa: ANN401 an iterator in some versions, a context in others
    if hasattr(stream, "__aenter__"):
        async with stream as entered:
            yield entered
    else:
        async with aclosing(stream):
            yield stream

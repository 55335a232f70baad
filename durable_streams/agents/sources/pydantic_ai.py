"""pydantic-ai agents, by their own event stream.

Remedy: the run lives in a task of its own behind the stream, so the stream is closed in ``finally``. The agent runs its
own tools: use ``current_run().call`` in one whose effect must not happen unrecorded.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from durable_streams.agents.events import (
    Finished,
    ReasoningDelta,
    ReasoningEnded,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolReturned,
    Usage,
)
from durable_streams.agents.sources.packages import optional, translated
from durable_streams.agents.wires.parts import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run


class PydanticAI:
    """A source from a ``pydantic_ai.Agent``.

    Args:
        agent: the agent.
        options: further arguments of ``run_stream_events``, such as ``deps``.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, agent: Any, **options: Any) -> None:  # noqa: ANN401 a package that may be absent
        self._adapter = optional("pydantic_ai.ui.vercel_ai", extra="pydantic-ai").VercelAIAdapter
        self._ui_message = optional("pydantic_ai.ui.vercel_ai.request_types", extra="pydantic-ai").UIMessage
        self._agent, self._options = agent, options

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        history = self._history(run)
        prompt = text_of(run.messages[-1]) if run.messages else None
        parts = _Parts()
        with translated("pydantic_ai", "openai", "anthropic"):
            async with _opened(self._agent.run_stream_events(prompt, message_history=history, **self._options)) as said:
                async for event in said:
                    for own in parts.feed(event):
                        yield own
        for own in parts.finish():
            yield own

    def _history(self, run: Run) -> list[Any]:
        messages = [self._ui_message(**message) for message in run.messages[:-1]]
        loaded: list[Any] = self._adapter.load_messages(messages)
        return loaded


@asynccontextmanager
async def _opened(stream: Any) -> AsyncIterator[Any]:  # noqa: ANN401 an iterator in some versions, a context in others
    if hasattr(stream, "__aenter__"):
        async with stream as entered:
            yield entered
    else:
        async with aclosing(stream):
            yield stream


class _Parts:
    """The events of one run; parts are numbered anew in each call of the model."""

    def __init__(self) -> None:
        self._step = -1
        self._in_step = False
        self._kinds: dict[int, str] = {}
        self._calls: dict[int, tuple[str, str]] = {}
        self._usage: Usage | None = None

    def feed(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 a package that may be absent
        kind = event.event_kind
        if kind == "part_start":
            yield from self._start(event.index, event.part)
        elif kind == "part_delta":
            yield from self._delta(event.index, event.delta)
        elif kind == "part_end":
            yield from self._end(event.index)
        elif kind == "function_tool_call":
            yield from self._close()
            yield ToolCalled(event.part.tool_call_id, event.part.tool_name, event.part.args_as_dict())
        elif kind == "function_tool_result":
            yield from self._result(getattr(event, "part", None) or event.result)
            self._in_step = False
        elif kind == "agent_run_result":
            usage = event.result.usage
            self._usage = Usage(usage.input_tokens or 0, usage.output_tokens or 0)

    def finish(self) -> Iterator[Event]:
        yield from self._close()
        yield StepEnded()
        yield Finished("stop", self._usage)

    def _start(self, index: int, part: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        if not self._in_step:
            if self._step >= 0:
                yield StepEnded()
            self._in_step, self._step = True, self._step + 1
            yield StepStarted()
        yield from self._end(index)
        self._kinds[index] = part.part_kind
        if part.part_kind == "tool-call":
            self._calls[index] = (part.tool_call_id, part.tool_name)
            text = part.args if isinstance(part.args, str) else ""
            yield ToolInputDelta(part.tool_call_id, part.tool_name, text)
        elif part.content:
            yield from self._text(index, part.content)

    def _delta(self, index: int, delta: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        if delta.part_delta_kind != "tool_call":
            yield from self._text(index, delta.content_delta or "")
        elif isinstance(delta.args_delta, str) and index in self._calls:
            yield ToolInputDelta(*self._calls[index], delta.args_delta)

    def _text(self, index: int, text: str) -> Iterator[Event]:
        part = f"p{self._step}-{index}"
        if text:
            yield ReasoningDelta(part, text) if self._kinds[index] == "thinking" else TextDelta(part, text)

    def _end(self, index: int) -> Iterator[Event]:
        kind = self._kinds.pop(index, None)
        self._calls.pop(index, None)
        part = f"p{self._step}-{index}"
        if kind == "text":
            yield TextEnded(part)
        elif kind == "thinking":
            yield ReasoningEnded(part)

    def _close(self) -> Iterator[Event]:
        for index in list(self._kinds):
            yield from self._end(index)

    def _result(self, result: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        if result.part_kind == "retry-prompt":
            yield ToolFailed(result.tool_call_id, str(result.content))
        else:
            yield ToolReturned(result.tool_call_id, result.content)

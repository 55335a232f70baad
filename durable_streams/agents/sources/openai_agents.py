"""The OpenAI Agents SDK. Its raw events are Responses events, whatever the model.

Remedy: the run goes on in a task of its own when iteration stops, so the result is cancelled in ``finally``. The agent
runs its own tools: use ``current_run().call`` in one whose effect must not happen unrecorded.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from durable_streams.agents.events import Finished, StepEnded, StepStarted, ToolCalled, ToolReturned, Usage
from durable_streams.agents.sources.packages import optional, translated
from durable_streams.agents.wires.decoders.openai_responses import OpenAIResponsesDecoder
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run


class OpenAIAgents:
    """A source from an ``agents.Agent``.

    Args:
        agent: the agent.
        options: further arguments of ``Runner.run_streamed``.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, agent: Any, **options: Any) -> None:  # noqa: ANN401 a package that may be absent
        runner = optional("agents", extra="openai-agents").Runner
        self._start, self._agent, self._options = runner.run_streamed, agent, options

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        given = OpenAIResponsesWire().request("", run.messages, ())["input"]
        turns = _Turns()
        with translated("openai", "agents"):
            result = self._start(self._agent, given, **self._options)
            try:
                async with aclosing(result.stream_events()) as said:
                    async for event in said:
                        for own in turns.feed(event):
                            yield own
            finally:
                result.cancel()
        yield turns.finish()


class _Turns:
    """One response of the model after the other, and the tools between them."""

    def __init__(self) -> None:
        self._count = 0
        self._decoder: OpenAIResponsesDecoder | None = None
        self._open = False
        self._finished = Finished("stop")
        self._usage = Usage()

    def feed(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 a package that may be absent
        if event.type == "raw_response_event":
            yield from self._raw(event.data.model_dump(exclude_unset=True))
        elif event.type == "run_item_stream_event":
            yield from self._item(event)

    def finish(self) -> Event:
        return Finished(self._finished.reason, self._usage)

    def _raw(self, said: dict[str, Any]) -> Iterator[Event]:
        kind = said.get("type")
        if kind == "response.created" or self._decoder is None:
            if self._open:
                yield StepEnded()
            self._decoder = OpenAIResponsesDecoder(f"t{self._count}-")
            self._count, self._open = self._count + 1, True
            yield StepStarted()
        yield from self._decoder.feed(said)
        if kind in {"response.completed", "response.incomplete"}:
            for finished in self._decoder.finish():
                if isinstance(finished, Finished):
                    self._finished = finished
                    self._usage += finished.usage or Usage()

    def _item(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        item = event.item
        raw: Any = getattr(item, "raw_item", None)
        if item.type == "tool_call_item" and getattr(raw, "type", "") == "function_call":
            # The model's stream has announced it already, except for models that do not stream their calls.
            yield ToolCalled(raw.call_id, raw.name, _json(raw.arguments))
        if item.type == "tool_call_output_item":
            call_id = raw["call_id"] if isinstance(raw, dict) else getattr(raw, "call_id", "")
            yield ToolReturned(call_id, item.output)


def _json(text: str) -> object:
    try:
        parsed: object = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return text
    return parsed

"""LangGraph graphs, streamed as ``(message chunk, metadata)``.

Remedy: none needed; closing ``astream`` cancels the graph and its model's request. The graph runs its own tools: use
``current_run().call`` in one whose effect must not happen unrecorded.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from durable_streams.agents.events import (
    Finished,
    FinishReason,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolFailed,
    ToolInputDelta,
    ToolReturned,
    Usage,
)
from durable_streams.agents.wires.decoders.calls import called
from durable_streams.agents.wires.decoders.reasons import REASONS
from durable_streams.agents.wires.openai_chat import OpenAIChatWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run


def chat_input(run: Run) -> dict[str, Any]:
    """Return a graph's usual input: the history under ``messages``, as OpenAI has it."""
    return {"messages": OpenAIChatWire().request("", run.messages, ())["messages"]}


class LangGraph:
    """A source from a compiled graph.

    Args:
        graph: what ``StateGraph.compile`` returns.
        to_input: makes the graph's input for a run; ``chat_input`` by default.
        options: further arguments of ``astream``, such as ``config``.
    """

    def __init__(
        self,
        graph: Any,  # noqa: ANN401 a package that may be absent
        *,
        to_input: Callable[[Run], Any] = chat_input,
        **options: Any,  # noqa: ANN401 the package's own
    ) -> None:
        self._graph, self._to_input, self._options = graph, to_input, options

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        messages = _Messages()
        stream = self._graph.astream(self._to_input(run), stream_mode="messages", **self._options)
        async with aclosing(stream) as chunks:
            async for chunk, _metadata in chunks:
                for event in messages.feed(chunk):
                    yield event
        for event in messages.finish():
            yield event


class _Messages:
    """Chunks of one message after the other; a node's message ends where another's begins."""

    def __init__(self) -> None:
        self._message_id: str | None = None
        self._calls: dict[int, tuple[str, str, str]] = {}
        self._reason: FinishReason = "stop"
        self._usage: Usage | None = None
        self._texts: set[str] = set()

    def feed(self, chunk: Any) -> Iterator[Event]:  # noqa: ANN401 a package that may be absent
        kind = getattr(chunk, "type", "")
        if kind == "tool":
            yield from self._close()
            text = chunk.content
            failed = getattr(chunk, "status", "success") == "error"
            yield ToolFailed(chunk.tool_call_id, str(text)) if failed else ToolReturned(chunk.tool_call_id, text)
        elif kind in {"AIMessageChunk", "ai"}:
            yield from self._model(chunk)

    def finish(self) -> Iterator[Event]:
        yield from self._close()
        yield Finished(self._reason, self._usage)

    def _model(self, chunk: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        if chunk.id != self._message_id:
            yield from self._close()
            self._message_id = chunk.id
            yield StepStarted()
        text = _text(chunk.content)
        if text:
            self._texts.add(f"{chunk.id}")
            yield TextDelta(f"{chunk.id}", text)
        yield from self._fragments(chunk)
        reason = (getattr(chunk, "response_metadata", None) or {}).get("finish_reason")
        if reason:
            self._reason = REASONS.get(reason, "other")
        if usage := getattr(chunk, "usage_metadata", None):
            self._usage = Usage(usage["input_tokens"], usage["output_tokens"]) + (self._usage or Usage())

    def _fragments(self, chunk: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        for fragment in getattr(chunk, "tool_call_chunks", None) or ():
            index = fragment.get("index") or 0
            call_id, tool, text = self._calls.get(index, ("", "", ""))
            added = fragment.get("args") or ""
            call_id, tool = call_id or fragment.get("id") or "", tool or fragment.get("name") or ""
            self._calls[index] = (call_id, tool, text + added)
            if call_id:
                yield ToolInputDelta(call_id, tool, added)

    def _close(self) -> Iterator[Event]:
        if self._message_id is None:
            return
        for part in self._texts:
            yield TextEnded(part)
        for call_id, tool, text in self._calls.values():
            yield called(call_id, tool, text)
        self._texts.clear()
        self._calls.clear()
        self._message_id = None
        yield StepEnded()


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""

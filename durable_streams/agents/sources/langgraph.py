"""LangGraph graphs, streamed as message chunks and as what they interrupt themselves for.

Remedy: none needed; closing ``astream`` cancels the graph and its model's request. The graph runs its own tools: use
``current_run().call`` in one whose effect must not happen unrecorded.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from durable_streams.agents.sources.hiding import hidden
from durable_streams.agents.sources.langgraph_messages import Messages
from durable_streams.agents.wires.files import refusal_of
from durable_streams.agents.wires.openai_chat import OpenAIChatWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.wires.base import UIMessage


def chat_input(run: Run) -> dict[str, Any]:
    """Return a graph's usual input: the history under ``messages``, as OpenAI has it."""
    return {"messages": OpenAIChatWire().request("", run.messages, ())["messages"]}


def prompt_input(run: Run) -> dict[str, Any]:
    """Return the new message alone, for a graph whose checkpointer has those before it."""
    return {"messages": OpenAIChatWire().request("", run.messages[-1:], ())["messages"]}


class LangGraph:
    """A source from a compiled graph.

    A run that the graph interrupts waits for the answers: each interrupt is a value named ``interrupt``.

    Args:
        graph: what ``StateGraph.compile`` returns.
        to_input: makes the graph's input for a run, such as a ``Command``; by default ``prompt_input`` for a graph with
            a checkpointer, which would have the history twice, else ``chat_input``.
        options: further arguments of ``astream``. ``config`` may be a function of the run, such as one that names a
            thread after ``run.identity.thread_id``; with ``subgraphs=True`` models within subgraphs are heard too.
    """

    def __init__(
        self,
        graph: Any,  # noqa: ANN401 a package that may be absent
        *,
        to_input: Callable[[Run], Any] | None = None,
        **options: Any,  # noqa: ANN401 the package's own
    ) -> None:
        remembers = bool(getattr(graph, "checkpointer", None))
        self._to_input = to_input or (prompt_input if remembers else chat_input)
        self._has_own_input = to_input is not None
        self._graph, self._options = graph, options

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:  # noqa: ARG002 the protocol's signature
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return None if message is None or self._has_own_input else refusal_of(OpenAIChatWire(), message)

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer; see ``Source``."""
        messages = Messages()
        options = {name: value for name, value in self._options.items() if name != "stream_mode"}
        if callable(options.get("config")):
            options["config"] = options["config"](run)
        stream = self._graph.astream(self._to_input(run), stream_mode=["messages", "updates"], **options)
        async with aclosing(stream) as said:
            async for *_namespace, mode, what in said:
                heard = messages.heard(*what) if mode == "messages" else messages.updated(what)
                for event in hidden(heard, run.teller):
                    yield event
        for event in hidden(messages.finish(), run.teller):
            yield event

"""What the OpenAI Agents SDK's events say, in ours.

Owns: the turns of one run, its tools' calls and results. Must not know: how a run is started.
Invariant: every call that the SDK has carried out has its result, a handoff's and a hosted tool's too; one that it asks
somebody to approve stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import (
    Custom,
    Finished,
    Pending,
    Spent,
    StepEnded,
    StepStarted,
    ToolCalled,
    ToolFailed,
    ToolReturned,
    Waiting,
)
from durable_streams.agents.plain import shown
from durable_streams.agents.sources.formed import formed
from durable_streams.agents.wires.decoders.base import error_message
from durable_streams.agents.wires.decoders.calls import called
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from durable_streams.agents.wires.provider import named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.base import Decoder

_PROVIDER: Final = "openai-agents"
"""Under this is kept what the model's side said for itself alone; whose it is the SDK does not tell."""
OUTPUT: Final = "output"
"""Name of the value that a run with a structured output ends with."""
_HOSTED: Final[Mapping[str, tuple[str, ...]]] = {
    "web_search_call": (),
    "file_search_call": ("results",),
    "code_interpreter_call": ("outputs",),
    "image_generation_call": (),
    "mcp_call": ("output",),
}
"""Tools that the provider has run when it tells of them → the fields that hold their result."""
_ANSWERED: Final = frozenset({"response.completed", "response.incomplete"})
_NOT_GIVEN: Final = frozenset({"id", "call_id", "type", "status", "name", "server_label", "error", "caller"})
"""Fields of a call that are no part of its input."""


class Turns:
    """One response of the model after the other, and the tools between them."""

    def __init__(self) -> None:
        self._count = 0
        self._decoder: Decoder | None = None
        self._open = self._answered = False
        self._finished = Finished("stop")

    def feed(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 a package that may be absent
        """Yield what an event says; kinds that are unknown say nothing."""
        if event.type == "raw_response_event":
            yield from self._raw(event.data.model_dump(exclude_unset=True))
        elif event.type == "run_item_stream_event":
            yield from _item(event.item)

    def finish(self, result: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        """Yield what the end of the run says."""
        pending = []
        for item in result.interruptions:
            raw = _fields(item.raw_item)
            call_id, tool = _call_id(raw), str(item.name or raw.get("name") or "")
            yield _called(call_id, tool, raw.get("arguments"))
            pending.append(Pending(call_id, "approval", tool))
        output = result.final_output
        if output is not None and not isinstance(output, str):
            yield Custom(OUTPUT, shown(output))
        if self._open:
            yield StepEnded()
        if pending:
            yield Waiting(tuple(pending))
            yield Finished("tool-calls")
        else:  # a run may end with a tool's result, which is no call that waits for anybody
            reason = self._finished.reason
            yield Finished("stop" if reason == "tool-calls" else reason, said=self._finished.said)

    def _raw(self, said: dict[str, Any]) -> Iterator[Event]:
        kind = said.get("type")
        if kind == "response.created" or self._decoder is None or self._answered:
            if self._open:
                yield StepEnded()
            self._decoder = OpenAIResponsesWire().decoder(f"t{self._count}-")
            self._count, self._open = self._count + 1, True
            self._answered = False
            yield StepStarted()
        for event in self._decoder.feed(said):
            yield named(event, _PROVIDER)
        self._answered = self._answered or kind in _ANSWERED
        if kind in _ANSWERED:
            for finished in self._decoder.finish():
                if isinstance(finished, Finished):
                    self._finished = finished
                    if finished.usage is not None:
                        yield Spent(finished.usage)


def _item(item: Any) -> Iterator[Event]:  # noqa: ANN401 as above
    if item.type == "tool_call_item":
        yield from _tool_called(_fields(item.raw_item), str(item.tool_name or ""))
    elif item.type == "tool_call_output_item":
        yield ToolReturned(_call_id(_fields(item.raw_item)), formed(item.output))
    elif item.type == "handoff_output_item":
        raw = _fields(item.raw_item)
        yield ToolReturned(_call_id(raw), formed(raw.get("output")))


def _tool_called(raw: dict[str, Any], tool: str) -> Iterator[Event]:
    kind, call_id = str(raw.get("type")), _call_id(raw)
    if kind == "function_call":
        # The model's stream has announced it already, except for models that do not stream their calls.
        yield _called(call_id, tool, raw.get("arguments"))
        return
    results = _HOSTED.get(kind, ())
    raw.pop("result", None)  # an image, which the model's stream has given as a file
    given = {name: value for name, value in raw.items() if name not in {*_NOT_GIVEN, *results} and value is not None}
    yield _called(call_id, tool or kind.removesuffix("_call"), given.get("arguments", given))
    if kind in _HOSTED:
        yield _hosted_result(call_id, raw, results)


def _hosted_result(call_id: str, raw: Mapping[str, Any], results: tuple[str, ...]) -> Event:
    error = raw.get("error")
    if error or raw.get("status") in {"failed", "incomplete"}:
        return ToolFailed(call_id, error_message(error) if error else str(raw["status"]))
    return ToolReturned(call_id, formed(raw.get(results[0]) if results else {"status": raw.get("status")}))


def _called(call_id: str, tool: str, given: object) -> Event:
    if isinstance(given, str):
        return called(call_id, tool, given)
    return ToolCalled(call_id, tool, shown({} if given is None else given))


def _fields(raw: Any) -> dict[str, Any]:  # noqa: ANN401 as above
    return dict(raw) if isinstance(raw, dict) else raw.model_dump(exclude_unset=True)


def _call_id(raw: Mapping[str, Any]) -> str:
    return str(raw.get("call_id") or raw.get("id") or "")

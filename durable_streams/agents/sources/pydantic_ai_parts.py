"""What pydantic-ai's events say, in ours.

Owns: parts, calls and results of one run. Must not know: how a run is started.
Invariant: a call is shown as its framework took it: one whose input was not valid is rejected, one that has to be made
again has failed, an output tool's has succeeded, and one that waits for somebody stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import (
    Cited,
    Custom,
    FileGiven,
    Finished,
    FinishReason,
    Pending,
    ReasoningDelta,
    ReasoningEnded,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolRejected,
    ToolReturned,
    Usage,
    Waiting,
)
from durable_streams.agents.plain import shown
from durable_streams.agents.sources.formed import file_of, formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from durable_streams.agents.events import Event, Metadata, PendingKind

OUTPUT: Final = "output"
"""Name of the value that a run with a structured output ends with."""
_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "error": "error",
    "tool_call": "stop",  # the framework has run the tool, or it was the output's
}
_FAILURES: Final = frozenset({"failed", "retried", "denied"})
_TEXTS: Final = frozenset({"text", "thinking"})
_CALLS: Final = frozenset({"tool-call", "builtin-tool-call"})


class Parts:
    """The events of one run; parts are numbered anew in each answer of the model."""

    def __init__(self) -> None:
        self._in_step = False
        self._step_count = self._part_count = 0
        self._open: dict[int, tuple[str, str]] = {}
        self._calls: dict[int, tuple[str, str]] = {}
        self._invalid: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._reason: FinishReason = "stop"
        self._handlers: Mapping[str, Callable[[Any], Iterator[Event]]] = {
            "part_start": self._start,
            "part_delta": self._delta,
            "part_end": self._end,
            "function_tool_call": self._called,
            "output_tool_call": self._called,
            "function_tool_result": self._returned,
            "output_tool_result": self._returned,
            "custom": _custom,
            "agent_run_result": self._finished,
        }

    def feed(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 a package that may be absent
        """Yield what an event says; kinds that are unknown say nothing."""
        handler = self._handlers.get(event.event_kind)
        if handler is not None:
            yield from handler(event)

    def finish(self) -> Iterator[Event]:
        """Yield what the end of the run says."""
        yield from self._close_all()
        yield StepEnded()
        yield Finished(self._reason, self._usage)

    def _start(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        if not self._in_step or event.previous_part_kind is None:
            yield from self._next_step()
        index, part = event.index, event.part
        kind = part.part_kind
        yield from self._close(index)
        if kind in _TEXTS:
            self._part_count += 1
            self._open[index] = kind, f"p{self._part_count}"
            yield from self._text(index, part.content)
        elif kind in _CALLS:
            self._calls[index] = part.tool_call_id, part.tool_name
            yield ToolInputDelta(*self._calls[index], part.args if isinstance(part.args, str) else "")
        elif kind == "builtin-tool-return":
            yield _result(part)
        elif kind == "file":
            yield FileGiven(part.content.media_type, part.content.data_uri, _kept(part))

    def _next_step(self) -> Iterator[Event]:
        yield from self._close_all()
        if self._step_count:
            yield StepEnded()
        self._in_step, self._step_count = True, self._step_count + 1
        yield StepStarted()

    def _delta(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        index, delta = event.index, event.delta
        if index in self._calls and isinstance(getattr(delta, "args_delta", None), str):
            yield ToolInputDelta(*self._calls[index], delta.args_delta)
        elif index in self._open:
            yield from self._text(index, getattr(delta, "content_delta", None))

    def _text(self, index: int, text: str | None) -> Iterator[Event]:
        kind, part = self._open[index]
        if text:
            yield TextDelta(part, text) if kind == "text" else ReasoningDelta(part, text)

    def _end(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        part = event.part
        yield from self._close(event.index, _kept(part))
        if part.part_kind == "builtin-tool-call":
            yield _call(part)
        cited = [source for citation in getattr(part, "citations", None) or () for source in citation.sources]
        for number, source in enumerate(cited):
            if isinstance(getattr(source, "url", None), str):
                yield Cited(f"p{self._part_count}-{number}", source.url, source.title)

    def _close(self, index: int, kept: Metadata | None = None) -> Iterator[Event]:
        self._calls.pop(index, None)
        kind, part = self._open.pop(index, ("", ""))
        if kind:
            yield TextEnded(part, kept) if kind == "text" else ReasoningEnded(part, kept)

    def _close_all(self) -> Iterator[Event]:
        for index in list(self._open):
            yield from self._close(index)

    def _called(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        yield from self._close_all()
        if event.args_valid is False:
            self._invalid[event.part.tool_call_id] = event.part  # its result says why
        else:
            yield _call(event.part)

    def _returned(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        self._in_step = False
        part = getattr(event, "part", None) or event.result
        invalid = self._invalid.pop(part.tool_call_id, None)
        if invalid is None:
            yield _result(part)
        else:
            given = invalid.args if isinstance(invalid.args, str) else invalid.args_as_json_str()
            yield ToolRejected(part.tool_call_id, invalid.tool_name, given, _feedback(part))

    def _finished(self, event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        result = event.result
        usage, output = result.usage, result.output
        self._usage = Usage(usage.input_tokens or 0, usage.output_tokens or 0)
        self._reason = _REASONS.get(result.response.finish_reason or "stop", "other")
        pending = tuple(_pending(output))
        if pending:
            self._reason = "tool-calls"
            yield Waiting(pending)
        elif output is not None and not isinstance(output, str) and file_of(output) is None:
            yield Custom(OUTPUT, shown(output))


def _call(part: Any) -> ToolCalled:  # noqa: ANN401 as above
    return ToolCalled(part.tool_call_id, part.tool_name, part.args_as_dict(), _kept(part))


def _kept(part: Any) -> Metadata | None:  # noqa: ANN401 as above
    """Return what the provider wants back, under the name by which the package takes it from a history."""
    fields = {name: getattr(part, name, None) for name in ("id", "signature", "provider_name", "provider_details")}
    kept = {name: value for name, value in fields.items() if value is not None}
    return {"pydantic_ai": kept} if kept else None


def _result(part: Any) -> ToolReturned | ToolFailed:  # noqa: ANN401 as above
    outcome = "retried" if part.part_kind == "retry-prompt" else part.outcome
    if outcome in _FAILURES:
        return ToolFailed(part.tool_call_id, _feedback(part))
    return ToolReturned(part.tool_call_id, formed(part.content))


def _feedback(part: Any) -> str:  # noqa: ANN401 as above
    if part.part_kind == "retry-prompt":
        # A text is a tool's own ``ModelRetry``, meant to be read. A list is what the validators said, which may quote
        # anything.
        return str(part.model_response()) if isinstance(part.content, str) else "the input was refused"
    return str(part.model_response_str(wrap_if_error=False))


def _pending(output: Any) -> Iterator[Pending]:  # noqa: ANN401 as above
    if type(output).__name__ != "DeferredToolRequests":
        return
    kinds: Mapping[str, PendingKind] = {"approval": "approval", "question": "answer"}
    for part in (*output.approvals, *output.calls):
        kind = kinds.get(output.kind(part.tool_call_id), "result")
        yield Pending(part.tool_call_id, kind, part.tool_name)


def _custom(event: Any) -> Iterator[Event]:  # noqa: ANN401 as above
    if event.ui:
        yield Custom(event.name, shown(event.to_payload()))

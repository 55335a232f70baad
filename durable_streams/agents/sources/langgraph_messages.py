"""What LangGraph's message chunks and updates say, in events of ours.

Nodes run side by side, so chunks of several messages come in any order: everything is kept per message. Messages that
are open at the same time are one step. Some models give whole messages, and a tool's result may come before the chunks
of its call: then it waits for them.
Invariant: every call of a message that was given whole, or has ended, is told once, before its result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import (
    Custom,
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
    ToolReturned,
    Usage,
    Waiting,
)
from durable_streams.agents.plain import shown
from durable_streams.agents.sources.formed import formed
from durable_streams.agents.wires.decoders.calls import called
from durable_streams.agents.wires.decoders.reasons import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event, PendingKind

INTERRUPT: Final = "interrupt"
"""Name of the value that tells what an interrupt asks."""
_INTERRUPTS: Final = "__interrupt__"
_REASON_FIELDS: Final = ("finish_reason", "stop_reason", "done_reason")


@dataclass(slots=True)
class _Call:
    call_id: str
    tool: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """The step in which something is said, and the graph or subgraph whose step it is."""

    graph: str
    step: object


@dataclass(slots=True)
class _Message:
    """A message that is being said, and where."""

    place: _Place
    spoken: set[str] = field(default_factory=set)
    calls: dict[object, _Call] = field(default_factory=dict)


class Messages:
    """The messages of one run."""

    def __init__(self) -> None:
        self._open: dict[str, _Message] = {}
        self._ended: set[str] = set()
        self._in_step = False
        self._unanswered: dict[str, str] = {}
        self._early: dict[str, ToolReturned | ToolFailed] = {}
        self._asked: dict[str, object] = {}
        self._reason: FinishReason = "stop"
        self._usage: Usage | None = None

    def heard(self, message: Any, metadata: Mapping[str, Any]) -> Iterator[Event]:  # noqa: ANN401 a package that may be absent
        """Yield what a chunk, a whole message or a tool's result says."""
        kind = getattr(message, "type", "")
        if kind == "tool":
            yield from self._result(message)
        elif kind == "ai":
            yield from self._whole(message, _place(metadata))
        elif kind == "AIMessageChunk":
            yield from self._chunk(message, _place(metadata))

    def updated(self, update: object) -> Iterator[Event]:
        """Yield what an update of the graph's state asks of a person; each question once."""
        for asked in update.get(_INTERRUPTS, ()) if isinstance(update, dict) else ():
            key = str(getattr(asked, "id", len(self._asked)))
            if key not in self._asked:
                self._asked[key] = asked
                yield Custom(INTERRUPT, shown(getattr(asked, "value", None)), key)

    def finish(self) -> Iterator[Event]:
        """Yield what the end of the run says."""
        for key in list(self._open):
            yield from self._end(key)
        if self._in_step:
            yield StepEnded()
        waiting = [Pending(key, "answer") for key in self._asked]
        kind: PendingKind = (
            "approval" if waiting else "result"
        )  # an interrupt holds up the calls; a graph may leave them to others
        waiting += [Pending(call_id, kind, tool) for call_id, tool in self._unanswered.items()]
        if waiting:
            yield Waiting(tuple(waiting))
            self._reason = "tool-calls"
        elif self._reason == "tool-calls":
            self._reason = "stop"  # they have all been answered
        yield Finished(self._reason, self._usage)

    def _note(self, message: Any) -> None:  # noqa: ANN401 as above
        said = getattr(message, "response_metadata", None) or {}
        for name in _REASON_FIELDS:
            if isinstance(said.get(name), str):
                self._reason = REASONS.get(said[name], "other")
        if usage := getattr(message, "usage_metadata", None):
            self._usage = Usage(usage["input_tokens"], usage["output_tokens"]) + (self._usage or Usage())

    def _chunk(self, chunk: Any, place: _Place) -> Iterator[Event]:  # noqa: ANN401 as above
        self._note(chunk)
        key = str(chunk.id)
        said, fragments = list(_said(chunk)), getattr(chunk, "tool_call_chunks", None) or ()
        if said or fragments:  # the first chunk of some models has an id of its own and nothing to say
            yield from self._say(key, place, said)
        for fragment in fragments:
            yield from _fragment(self._open[key], fragment)
        if getattr(chunk, "chunk_position", None) == "last":
            yield from self._end(key)

    def _whole(self, message: Any, place: _Place) -> Iterator[Event]:  # noqa: ANN401 as above
        key = str(message.id)
        if key in self._ended or key in self._open:
            return  # it has been streamed
        self._note(message)
        yield from self._say(key, place, list(_said(message)))
        for number, call in enumerate(message.tool_calls):
            yield from self._tell(ToolCalled(call["id"] or f"{key}-{number}", call["name"], shown(call["args"])))
        for call in message.invalid_tool_calls:
            self._open[key].calls[call["id"]] = _Call(call["id"] or "", call["name"] or "", call["args"] or "")
        yield from self._end(key)

    def _say(self, key: str, place: _Place, said: list[tuple[str, str]]) -> Iterator[Event]:
        if key not in self._open:
            yield from self._begin(key, place)
        for kind, text in said:
            self._open[key].spoken.add(kind)
            yield TextDelta(key, text) if kind == "text" else ReasoningDelta(f"{key}-reasoning", text)

    def _begin(self, key: str, place: _Place) -> Iterator[Event]:
        # A graph's step begins when all of the one before is over, whether or not its models have said so.
        for other, one in list(self._open.items()):
            if one.place.graph == place.graph and one.place.step != place.step:
                yield from self._end(other)
        if self._in_step and not self._open:
            yield StepEnded()
            self._in_step = False
        if not self._in_step:
            yield StepStarted()
            self._in_step = True
        self._open[key] = _Message(place)

    def _end(self, key: str) -> Iterator[Event]:
        message = self._open.pop(key, None)
        if message is None:
            return
        self._ended.add(key)
        if "reasoning" in message.spoken:
            yield ReasoningEnded(f"{key}-reasoning")
        if "text" in message.spoken:
            yield TextEnded(key)
        for number, call in enumerate(message.calls.values()):
            yield from self._tell(called(call.call_id or f"{key}-{number}", call.tool, call.text))

    def _tell(self, call: Event) -> Iterator[Event]:
        """Yield a call, and its result if that came before it."""
        yield call
        if isinstance(call, ToolCalled):
            early = self._early.pop(call.call_id, None)
            if early is not None:
                yield early
            else:
                self._unanswered[call.call_id] = call.tool

    def _result(self, message: Any) -> Iterator[Event]:  # noqa: ANN401 as above
        call_id, failed = message.tool_call_id, getattr(message, "status", "success") == "error"
        content = formed(message.content)
        event = ToolFailed(call_id, str(content)) if failed else ToolReturned(call_id, content)
        if self._unanswered.pop(call_id, None) is None:
            self._early[call_id] = event
        else:
            yield event


def _fragment(message: _Message, fragment: Mapping[str, Any]) -> Iterator[Event]:
    index, call_id, added = fragment.get("index"), fragment.get("id"), fragment.get("args") or ""
    key: object = call_id if index is None and call_id else index
    known = message.calls.get(key)
    if known is not None and call_id and known.call_id not in {"", call_id}:
        # Some servers give every call the same index: this is the next one.
        message.calls[known.call_id], known = message.calls.pop(key), None
    call = known or message.calls.setdefault(key, _Call("", ""))
    was_known = bool(call.call_id and call.tool)
    call.call_id, call.tool = call.call_id or call_id or "", call.tool or fragment.get("name") or ""
    call.text += added
    if call.call_id and call.tool:
        yield ToolInputDelta(call.call_id, call.tool, added if was_known else call.text)


def _said(message: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 a package that may be absent
    """Yield the kind and the text of what a message says."""
    thought = (getattr(message, "additional_kwargs", None) or {}).get("reasoning_content")
    if isinstance(thought, str) and thought:
        yield "reasoning", thought
    content = message.content
    for block in [content] if isinstance(content, str) else content:
        if isinstance(block, str):
            kind, text = "text", block
        else:
            kind, text = _block(block)
        if text:
            yield kind, text


def _block(block: Mapping[str, Any]) -> tuple[str, str]:
    if block.get("type") in {"text", "text_delta"}:
        return "text", str(block.get("text") or "")
    if block.get("type") in {"thinking", "reasoning"}:
        summary = block.get("summary") or ()
        texts = [str(one.get("text", "")) for one in summary if isinstance(one, dict)]
        return "reasoning", str(block.get("thinking") or block.get("reasoning") or "".join(texts))
    return "", ""


def _place(metadata: Mapping[str, Any]) -> _Place:
    graph = str(metadata.get("langgraph_checkpoint_ns", "")).rpartition("|")[0]
    return _Place(graph, metadata.get("langgraph_step"))

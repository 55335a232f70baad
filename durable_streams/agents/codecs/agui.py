"""AG-UI events, as TanStack AI and CopilotKit read them.

A run is between ``RUN_STARTED`` and ``RUN_FINISHED`` or ``RUN_ERROR``. A stop is ``RUN_FINISHED`` with outcome
``cancelled``: clients end cleanly, whereas an error would be shown in every tab. A run that waits for somebody's
approval or answer has the outcome ``interrupt``; one that waits for tools of the client is a success that names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from durable_streams.agents.codecs import agui_names as names
from durable_streams.agents.codecs.base import joined_deltas
from durable_streams.agents.events import (
    INTERRUPTED,
    UNKNOWN,
    Cited,
    Custom,
    Ending,
    FileGiven,
    Finished,
    Kept,
    Noted,
    ReasoningDelta,
    ReasoningEnded,
    Spent,
    StepEnded,
    StepStarted,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolRejected,
    ToolReturned,
    Waiting,
)
from durable_streams.agents.plain import encoded, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.agents.codecs.base import Chunk, Identity
    from durable_streams.agents.events import Event


class AguiEvents:
    """One run as AG-UI events. Each text part is a message of its own; the first has the answer's id.

    A call belongs to the message before it in its step, or to one without text, so that what a client makes of it has
    calls, results and texts in the order in which they came.
    """

    def __init__(self) -> None:
        self._message_id = self._run_id = self._thread_id = ""
        self._texts: dict[str, str] = {}
        self._reasonings: dict[str, str] = {}
        self._calls: dict[str, str] = {}
        self._returned: set[str] = set()
        self._message_count = 0
        self._parent: str | None = None
        self._step_count = 0
        self._in_step = False
        self._handlers: Mapping[type[Event], Callable[[Any], list[Chunk]]] = {
            TextDelta: self._text,
            TextEnded: lambda event: self._text_end(event.part),
            ReasoningDelta: self._reasoning,
            ReasoningEnded: lambda event: self._reasoning_end(event.part),
            ToolInputDelta: lambda event: self._tool_input(event.call_id, event.tool, event.text),
            ToolCalled: lambda event: self._tool_called(event.call_id, event.tool, event.input),
            ToolRejected: self._tool_rejected,
            ToolReturned: self._tool_returned,
            ToolFailed: lambda event: self._result(event.call_id, event.error),
            StepStarted: lambda _event: self._step_start(),
            StepEnded: lambda _event: self._step_end(),
            Cited: _cited,
            FileGiven: lambda event: [_custom("file", {"mediaType": event.media_type, "url": event.url})],
            Kept: lambda _event: [],  # nobody's but the provider's
            Custom: lambda event: [_custom(event.name, event.value)],
            Noted: lambda event: [_custom("metadata", dict(event.values))],
            Waiting: lambda _event: [],  # the ending says it
            Spent: lambda _event: [],
            Finished: lambda _event: [],  # the ending says it
        }

    @property
    def content_type(self) -> str:
        """JSON mode."""
        return "application/json"

    def begin(self, identity: Identity) -> list[Chunk]:
        """Return ``RUN_STARTED``."""
        self._message_id, self._run_id, self._thread_id = identity.message_id, identity.run_id, identity.thread_id
        return [self._of_run(names.RUN_STARTED)]

    def end(self, ending: Ending) -> list[Chunk]:
        """Return the ends of what is open, and ``RUN_FINISHED`` or ``RUN_ERROR``."""
        chunks = [chunk for part in list(self._texts) for chunk in self._text_end(part)]
        chunks += [chunk for part in list(self._reasonings) for chunk in self._reasoning_end(part)]
        error = UNKNOWN if ending.how in {"lost", "failed"} else INTERRUPTED
        waiting = {one.call_id for one in ending.waiting}
        for call_id, state in list(self._calls.items()):
            if state == "input":
                chunks.append({"type": names.TOOL_CALL_END, "toolCallId": call_id})
            chunks += [] if call_id in waiting else self._result(call_id, error)
        chunks += self._step_end()
        if ending.how == "finished":
            told = {"outcome": _outcome(ending), "result": {"finishReason": ending.finish_reason}}
            return [*chunks, {**self._of_run(names.RUN_FINISHED), **told}]
        if ending.how == "aborted":
            said = {"ending": ending.how, "by": ending.by, "reason": ending.reason}
            return [*chunks, {**self._of_run(names.RUN_FINISHED), "outcome": {"type": "cancelled"}, "result": said}]
        return [*chunks, {**self._of_run(names.RUN_ERROR), "message": ending.reason or ending.how, "code": ending.how}]

    def merge(self, first: Chunk, second: Chunk) -> Chunk | None:
        """Join neighbouring deltas of one message or call."""
        return joined_deltas(first, second, kinds=names.DELTAS, same=("messageId", "toolCallId"))

    def encode(self, chunk: Chunk) -> bytes:
        """Return compact JSON."""
        return encoded(chunk)

    def feed(self, event: Event) -> list[Chunk]:
        """Return the event's AG-UI events."""
        return self._handlers[type(event)](event)

    def _of_run(self, kind: str) -> Chunk:
        return {"type": kind, "threadId": self._thread_id, "runId": self._run_id}

    def _text(self, event: TextDelta) -> list[Chunk]:
        part, text = event.part, event.text
        chunks: list[Chunk] = []
        if not text:
            return chunks
        if part not in self._texts:
            self._texts[part] = self._parent = self._next_message()
            chunks.append({"type": names.TEXT_MESSAGE_START, "messageId": self._texts[part], "role": "assistant"})
        return [*chunks, {"type": names.TEXT_MESSAGE_CONTENT, "messageId": self._texts[part], "delta": text}]

    def _text_end(self, part: str) -> list[Chunk]:
        message_id = self._texts.pop(part, None)
        return [] if message_id is None else [{"type": names.TEXT_MESSAGE_END, "messageId": message_id}]

    def _next_message(self) -> str:
        suffix = f"-{self._message_count}" if self._message_count else ""
        self._message_count += 1
        return f"{self._message_id}{suffix}"

    def _reasoning(self, event: ReasoningDelta) -> list[Chunk]:
        part, text = event.part, event.text
        chunks: list[Chunk] = []
        if not text:
            return chunks
        if part not in self._reasonings:
            message_id = self._reasonings[part] = f"{self._message_id}-{part}"
            chunks.append({"type": names.REASONING_START, "messageId": message_id})
            chunks.append({"type": names.REASONING_MESSAGE_START, "messageId": message_id, "role": "reasoning"})
        return [*chunks, {"type": names.REASONING_MESSAGE_CONTENT, "messageId": self._reasonings[part], "delta": text}]

    def _reasoning_end(self, part: str) -> list[Chunk]:
        message_id = self._reasonings.pop(part, None)
        if message_id is None:
            return []
        return [
            {"type": names.REASONING_MESSAGE_END, "messageId": message_id},
            {"type": names.REASONING_END, "messageId": message_id},
        ]

    def _tool_input(self, call_id: str, tool: str, text: str) -> list[Chunk]:
        if self._calls.get(call_id) == "called" or call_id in self._returned:
            return []
        chunks: list[Chunk] = []
        if call_id not in self._calls:
            self._calls[call_id] = "input"
            if self._parent is None:
                self._parent = self._next_message()
            chunks.append(
                {
                    "type": names.TOOL_CALL_START,
                    "toolCallId": call_id,
                    "toolCallName": tool,
                    "parentMessageId": self._parent,
                }
            )
        if text:
            chunks.append({"type": names.TOOL_CALL_ARGS, "toolCallId": call_id, "delta": text})
        return chunks

    def _tool_called(self, call_id: str, tool: str, given: object) -> list[Chunk]:
        if self._calls.get(call_id) == "called" or call_id in self._returned:
            return []
        text = "" if call_id in self._calls else orjson.dumps(shown(given)).decode()
        chunks = self._tool_input(call_id, tool, text)
        self._calls[call_id] = "called"
        return [*chunks, {"type": names.TOOL_CALL_END, "toolCallId": call_id}]

    def _tool_rejected(self, event: ToolRejected) -> list[Chunk]:
        called = self._tool_called(event.call_id, event.tool, event.text)
        return [*called, *self._result(event.call_id, event.error)]

    def _tool_returned(self, event: ToolReturned) -> list[Chunk]:
        output = event.output
        text = output if isinstance(output, str) else orjson.dumps(shown(output)).decode()
        return self._result(event.call_id, text)

    def _result(self, call_id: str, content: str) -> list[Chunk]:
        if self._calls.pop(call_id, None) is None:
            return []
        self._returned.add(call_id)
        self._parent = None
        message_id = f"{self._message_id}-{call_id}"
        return [{"type": names.TOOL_CALL_RESULT, "messageId": message_id, "toolCallId": call_id, "content": content}]

    def _step_start(self) -> list[Chunk]:
        if self._in_step:
            return []
        self._in_step, self._parent = True, None
        self._step_count += 1
        return [{"type": names.STEP_STARTED, "stepName": f"step-{self._step_count}"}]

    def _step_end(self) -> list[Chunk]:
        if not self._in_step:
            return []
        self._in_step = False
        return [{"type": names.STEP_FINISHED, "stepName": f"step-{self._step_count}"}]


def _outcome(ending: Ending) -> Chunk:
    asked = [one for one in ending.waiting if one.kind != "result"]
    if asked:
        calls = [{"toolCallId": one.call_id} if one.tool else {} for one in asked]
        reasons = [{"id": one.call_id, "reason": one.kind} for one in asked]
        return {"type": "interrupt", "interrupts": [{**why, **call} for why, call in zip(reasons, calls, strict=True)]}
    called = [one.call_id for one in ending.waiting]
    return {"type": "success", **({"pendingToolCallIds": called} if called else {})}


def _cited(event: Cited) -> list[Chunk]:
    return [_custom("source", {"sourceId": event.source_id, "url": event.url, "title": event.title})]


def _custom(name: str, value: object) -> Chunk:
    return {"type": names.CUSTOM, "name": name, "value": value}

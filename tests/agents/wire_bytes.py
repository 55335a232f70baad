"""What a model says, as each of the three wire formats puts it on the wire: one SSE event per item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Text:
    """One delta of the answer's text."""

    text: str


@dataclass(frozen=True)
class Thought:
    """One delta of reasoning."""

    text: str


@dataclass(frozen=True)
class ToolUse:
    """A whole call, its input in fragments of JSON text."""

    call_id: str
    tool: str
    fragments: tuple[str, ...]


Said = Text | Thought | ToolUse


def sse(payload: dict[str, Any], *, named: bool) -> bytes:
    event = f"event: {payload['type']}\n".encode() if named else b""
    return event + b"data: " + orjson.dumps(payload) + b"\n\n"


def openai_chat(said: Sequence[Said]) -> list[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse(
            {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]},
            named=False,
        )

    events = [chunk({"role": "assistant", "content": ""})]
    calls = 0
    for item in said:
        if isinstance(item, Text):
            events.append(chunk({"content": item.text}))
        elif isinstance(item, Thought):
            events.append(chunk({"reasoning_content": item.text}))
        else:
            first = {
                "index": calls,
                "id": item.call_id,
                "type": "function",
                "function": {"name": item.tool, "arguments": ""},
            }
            events.append(chunk({"tool_calls": [first]}))
            events += [
                chunk({"tool_calls": [{"index": calls, "function": {"arguments": text}}]}) for text in item.fragments
            ]
            calls += 1
    events.append(chunk({}, "tool_calls" if calls else "stop"))
    usage = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    last = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    return [*events, sse(last, named=False), b"data: [DONE]\n\n"]


def openai_responses(said: Sequence[Said]) -> list[bytes]:
    events: list[bytes] = []
    output: list[dict[str, Any]] = []

    def add(kind: str, **fields: object) -> None:
        events.append(sse({"type": kind, "sequence_number": len(events), **fields}, named=True))

    response: dict[str, Any] = {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "status": "in_progress",
        "model": "m",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    add("response.created", response={**response, "output": []})
    text: list[str] = []
    for item in said:
        if isinstance(item, Text):
            if not text:
                message = {"id": "msg1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
                add("response.output_item.added", output_index=0, item=message)
                part = {"type": "output_text", "text": "", "annotations": []}
                add("response.content_part.added", item_id="msg1", output_index=0, content_index=0, part=part)
            text.append(item.text)
            add(
                "response.output_text.delta",
                item_id="msg1",
                output_index=0,
                content_index=0,
                delta=item.text,
                logprobs=[],
            )
        elif isinstance(item, Thought):
            place = {"item_id": "rs1", "output_index": 0, "summary_index": 0}
            add("response.reasoning_summary_text.delta", **place, delta=item.text)
            add("response.output_item.done", output_index=0, item={"id": "rs1", "type": "reasoning", "summary": []})
        else:
            call = {
                "id": f"fc_{item.call_id}",
                "type": "function_call",
                "call_id": item.call_id,
                "name": item.tool,
                "arguments": "",
                "status": "in_progress",
            }
            add("response.output_item.added", output_index=1, item=call)
            for fragment in item.fragments:
                add(
                    "response.function_call_arguments.delta",
                    item_id=f"fc_{item.call_id}",
                    output_index=1,
                    delta=fragment,
                )
            whole = {**call, "arguments": "".join(item.fragments), "status": "completed"}
            output.append(whole)
            add("response.output_item.done", output_index=1, item=whole)
    if text:
        place = {"item_id": "msg1", "output_index": 0, "content_index": 0}
        add("response.output_text.done", **place, text="".join(text), logprobs=[])
        content = {"type": "output_text", "text": "".join(text), "annotations": []}
        output.append(
            {"id": "msg1", "type": "message", "role": "assistant", "status": "completed", "content": [content]}
        )
    usage = {
        "input_tokens": 3,
        "output_tokens": 7,
        "total_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    add("response.completed", response={**response, "status": "completed", "output": list(output), "usage": usage})
    return events


def anthropic(said: Sequence[Said]) -> list[bytes]:
    events: list[bytes] = []

    def add(kind: str, **fields: object) -> None:
        events.append(sse({"type": kind, **fields}, named=True))

    message: dict[str, Any] = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    add("message_start", message=message)
    add("ping")
    index, opened = -1, ""
    called = False
    for item in said:
        kind = {Text: "text", Thought: "thinking"}.get(type(item), "tool_use")
        if kind != opened or kind == "tool_use":
            if opened:
                add("content_block_stop", index=index)
            index, opened = index + 1, kind
            block: dict[str, Any] = {
                "text": {"type": "text", "text": ""},
                "thinking": {"type": "thinking", "thinking": "", "signature": ""},
            }.get(kind, {})
            if isinstance(item, ToolUse):
                block = {"type": "tool_use", "id": item.call_id, "name": item.tool, "input": {}}
            add("content_block_start", index=index, content_block=block)
        if isinstance(item, Text):
            add("content_block_delta", index=index, delta={"type": "text_delta", "text": item.text})
        elif isinstance(item, Thought):
            add("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": item.text})
            add("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "s"})
        else:
            called = True
            for fragment in item.fragments:
                add("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": fragment})
    if opened:
        add("content_block_stop", index=index)
    reason = "tool_use" if called else "end_turn"
    add("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 7})
    add("message_stop")
    return events


WIRES = {"openai_chat": openai_chat, "openai_responses": openai_responses, "anthropic": anthropic}

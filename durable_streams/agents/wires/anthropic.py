"""Anthropic Messages. Parts are content blocks, keyed by their index; thinking keeps its signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.events import (
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    ToolInputDelta,
    Usage,
)
from durable_streams.agents.wires.base import called, error_message
from durable_streams.agents.wires.parts import Call, Text, Thought, steps, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import Decoder, UIMessage

API_VERSION: Final = "2023-06-01"
REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}


class AnthropicWire:
    """``POST /v1/messages``.

    Args:
        max_tokens: bound of an answer, which this API wants to be told.
    """

    path = "/v1/messages"

    def __init__(self, max_tokens: int = 4096) -> None:
        self._max_tokens = max_tokens

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return key and version."""
        version = {"anthropic-version": API_VERSION}
        return version if api_key is None else {**version, "x-api-key": api_key}

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the body; see ``Wire``."""
        system = "\n\n".join(text_of(message) for message in messages if message["role"] == "system")
        spoken = [message for message in messages if message["role"] != "system"]
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": self._max_tokens,
            "messages": _alternating([sent for message in spoken for sent in _messages(message)]),
            "stream": True,
        }
        if system:
            body["system"] = system
        if tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools
            ]
        return body

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder of one response."""
        return AnthropicDecoder(prefix)


def _messages(message: UIMessage) -> Iterator[dict[str, Any]]:
    if message["role"] == "user":
        yield {"role": "user", "content": [{"type": "text", "text": text_of(message) or " "}]}
        return
    for parts in steps(message):
        yield {"role": "assistant", "content": [block for part in parts for block in _blocks(part)]}
        results = [
            {"type": "tool_result", "tool_use_id": part.call_id, "content": part.result, "is_error": part.failed}
            for part in parts
            if isinstance(part, Call)
        ]
        if results:
            yield {"role": "user", "content": results}


def _blocks(part: Text | Thought | Call) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text):
        yield {"type": "text", "text": part.text}
    elif isinstance(part, Call):
        yield {"type": "tool_use", "id": part.call_id, "name": part.tool, "input": part.input}
    elif part.signature is not None:  # without it the API refuses the block
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _alternating(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbours of one role: several people may have spoken in a row."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        if not message["content"]:
            continue
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {**joined[-1], "content": [*joined[-1]["content"], *message["content"]]}
        else:
            joined.append(message)
    return joined


@dataclass(slots=True)
class _Block:
    kind: str
    call_id: str = ""
    tool: str = ""
    text: str = ""
    signature: str | None = None


class AnthropicDecoder:
    """Events of one message; see the module."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._blocks: dict[int, _Block] = {}
        self._reason: FinishReason | None = None
        self._input_count = self._output_count = 0
        self._stopped = False
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], list[Event]]] = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "error": self._error,
        }

    def feed(self, event: Mapping[str, Any]) -> list[Event]:
        """Return what an event says; see ``Decoder``."""
        handler = self._handlers.get(str(event.get("type")))
        return [] if handler is None else handler(event)

    def finish(self) -> list[Event]:
        """Return what the end says; see ``Decoder``."""
        if not self._stopped:
            raise UpstreamCutError
        return [Finished(self._reason or "other", Usage(self._input_count, self._output_count))]

    def _message_start(self, event: Mapping[str, Any]) -> list[Event]:
        usage = event["message"].get("usage") or {}
        self._input_count = usage.get("input_tokens") or 0
        return []

    def _block_start(self, event: Mapping[str, Any]) -> list[Event]:
        content = event["content_block"]
        block = self._blocks[event["index"]] = _Block(content["type"])
        if block.kind != "tool_use":
            return []
        block.call_id, block.tool = content["id"], content["name"]
        return [ToolInputDelta(block.call_id, block.tool, "")]

    def _block_delta(self, event: Mapping[str, Any]) -> list[Event]:
        delta, block, part = event["delta"], self._blocks[event["index"]], self._part(event)
        kind = delta["type"]
        if kind == "text_delta":
            return [TextDelta(part, delta["text"])]
        if kind == "thinking_delta":
            return [ReasoningDelta(part, delta["thinking"])]
        if kind == "signature_delta":
            block.signature = (block.signature or "") + delta["signature"]
        if kind == "input_json_delta" and block.kind == "tool_use":
            block.text += delta["partial_json"]
            return [ToolInputDelta(block.call_id, block.tool, delta["partial_json"])]
        return []

    def _block_stop(self, event: Mapping[str, Any]) -> list[Event]:
        block = self._blocks.pop(event["index"])
        if block.kind == "tool_use":
            return [called(block.call_id, block.tool, block.text)]
        if block.kind == "thinking":
            return [ReasoningEnded(self._part(event), block.signature)]
        return [TextEnded(self._part(event))]

    def _message_delta(self, event: Mapping[str, Any]) -> list[Event]:
        reason = event["delta"].get("stop_reason")
        if reason is not None:
            self._reason = REASONS.get(reason, "other")
        self._output_count = (event.get("usage") or {}).get("output_tokens") or self._output_count
        return []

    def _message_stop(self, _event: Mapping[str, Any]) -> list[Event]:
        self._stopped = True
        return []

    def _error(self, event: Mapping[str, Any]) -> list[Event]:
        raise UpstreamError(error_message(event.get("error")))

    def _part(self, event: Mapping[str, Any]) -> str:
        return f"{self._prefix}block-{event['index']}"

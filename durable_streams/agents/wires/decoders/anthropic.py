"""Events of Anthropic Messages. Parts are content blocks, keyed by their index; thinking keeps its signature."""

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
from durable_streams.agents.wires.decoders.base import called, error_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.agents.events import Event

REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}


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

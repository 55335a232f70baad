"""Anthropic Messages: what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.wires.decoders.anthropic import AnthropicDecoder
from durable_streams.agents.wires.parts import Call, Text, Thought, steps, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.agents.wires.decoders.base import Decoder

API_VERSION: Final = "2023-06-01"


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

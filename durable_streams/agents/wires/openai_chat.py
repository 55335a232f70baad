"""OpenAI Chat Completions, and the many servers that speak it: what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.wires.decoders.openai_chat import OpenAIChatDecoder
from durable_streams.agents.wires.parts import Call, Text, steps, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.agents.wires.decoders.base import Decoder


class OpenAIChatWire:
    """``POST /chat/completions``."""

    path = "/chat/completions"

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the bearer token."""
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the body; see ``Wire``."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [sent for message in messages for sent in _messages(message)],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in tools
            ]
        return body

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder of one response."""
        return OpenAIChatDecoder(prefix)


def _messages(message: UIMessage) -> Iterator[dict[str, Any]]:
    if message["role"] != "assistant":
        yield {"role": message["role"], "content": text_of(message)}
        return
    for parts in steps(message):
        calls = [part for part in parts if isinstance(part, Call)]
        sent: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(part.text for part in parts if isinstance(part, Text)),
        }
        if calls:
            sent["tool_calls"] = [
                {"id": call.call_id, "type": "function", "function": {"name": call.tool, "arguments": call.arguments}}
                for call in calls
            ]
        yield sent
        for call in calls:
            yield {"role": "tool", "tool_call_id": call.call_id, "content": call.result}

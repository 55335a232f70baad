"""OpenAI Responses: what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.wires.decoders.openai_responses import OpenAIResponsesDecoder
from durable_streams.agents.wires.parts import Call, Text, steps, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.agents.wires.decoders.base import Decoder


class OpenAIResponsesWire:
    """``POST /responses``, with the whole history in every request (``store`` off)."""

    path = "/responses"

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the bearer token."""
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the body; see ``Wire``."""
        body: dict[str, Any] = {
            "model": model,
            "input": [item for message in messages for item in _items(message)],
            "stream": True,
            "store": False,
        }
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,
                }
                for tool in tools
            ]
        return body

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder of one response."""
        return OpenAIResponsesDecoder(prefix)


def _items(message: UIMessage) -> Iterator[dict[str, Any]]:
    if message["role"] != "assistant":
        yield {"role": message["role"], "content": text_of(message)}
        return
    for parts in steps(message):
        said = "".join(part.text for part in parts if isinstance(part, Text))
        if said:
            yield {"role": "assistant", "content": said}
        for call in parts:
            if isinstance(call, Call):
                named = {"type": "function_call", "call_id": call.call_id, "name": call.tool}
                yield {**named, "arguments": call.arguments}
                yield {"type": "function_call_output", "call_id": call.call_id, "output": call.result}

"""OpenAI Responses: what is sent, with the whole history in every request (``store`` off).

As nothing is stored, reasoning comes encrypted, and goes back as the item it was, before what it led to. Items of
tools that the provider runs itself go back likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.attachments import File
from durable_streams.agents.wires.decoders.openai_responses import OpenAIResponsesDecoder
from durable_streams.agents.wires.files import inlined, user_content
from durable_streams.agents.wires.history import Answered, Ids, Taste, conversation
from durable_streams.agents.wires.keepers.openai_responses import ResponsesKeeper
from durable_streams.agents.wires.options import InvalidOptionsError
from durable_streams.agents.wires.parts import Call, Kept, Text, Thought

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.agents.wires.decoders.base import Decoder
    from durable_streams.agents.wires.options import Options
    from durable_streams.agents.wires.parts import Part

ID_MAX_CHARS: Final = 64
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif", "image/*"})

SAID: Final = frozenset({"message", "function_call", "reasoning"})
"""Items whose content is in parts of its own."""
OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {"include": ("include", "encrypted")}


class OpenAIResponsesWire:
    """``POST /responses``."""

    name = "openai-responses"
    path = "/responses"
    takes = "PNG, JPEG, WebP and GIF images, PDF and text files"
    optional = OPTIONAL

    def forgo(self, body: dict[str, Any], name: str) -> bool:
        """Leave the field out; see ``Wire``."""
        return body.pop(name, None) is not None

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the bearer token."""
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the body; see ``Wire``."""
        said = conversation(messages, Ids(ID_MAX_CHARS), Taste(_speaks, _keeps))
        sent: list[dict[str, Any]] = [{"role": "system", "content": said.system}] if said.system else []
        for turn in said.turns:
            if isinstance(turn, Answered):
                sent += _items(turn)
            else:
                sent.append({"role": "user", "content": list(user_content(turn.parts, self.attached, "input_text"))})
        body: dict[str, Any] = {
            "model": model,
            "input": sent,
            "stream": True,
            "store": False,
            "include": ["reasoning.encrypted_content"],
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

    def options(self, options: Options) -> dict[str, Any]:
        """Return the fields; see ``Wire``. This format has no stop texts."""
        if options.stop:
            raise InvalidOptionsError("the Responses API has no stop texts")
        effort = None if options.reasoning_effort is None else {"effort": options.reasoning_effort}
        fields = {
            "temperature": options.temperature,
            "max_output_tokens": options.max_tokens,
            "reasoning": effort,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def attached(self, file: File) -> dict[str, Any] | None:
        """Return an image, PDF or text; see ``Wire``."""
        if file.media_type in PICTURES:
            return {"type": "input_image", "image_url": file.url}
        if file.media_type == "application/pdf" and file.inline is None:
            return {"type": "input_file", "file_url": file.url}
        if file.media_type == "application/pdf":
            return {"type": "input_file", "filename": file.filename or "file.pdf", "file_data": file.url}
        return inlined(file, "input_text")

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder of one response."""
        return ResponsesKeeper(OpenAIResponsesDecoder(prefix), prefix)


def _speaks(part: Part) -> bool:
    return isinstance(part, Text) or (not isinstance(part, Thought) and _item(part) is not None)


def _keeps(part: Part) -> bool:
    return not isinstance(part, Kept | Thought) or _item(part) is not None


def _items(turn: Answered) -> Iterator[dict[str, Any]]:
    """Yield the items in the order they came, neighbouring texts as one; results after all calls."""
    texts: list[str] = []
    for part in turn.parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        item = _item(part)
        if item is not None:
            yield from _message(texts)
            texts = []
            yield item
    yield from _message(texts)
    for call in turn.calls:
        yield {"type": "function_call_output", "call_id": call.call_id, "output": call.result}


def _message(texts: list[str]) -> Iterator[dict[str, Any]]:
    if texts:
        yield {"role": "assistant", "content": "".join(texts)}


def _item(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Call):
        return {"type": "function_call", "call_id": part.call_id, "name": part.tool, "arguments": part.arguments}
    item = part.own.get("item") if part.own else None
    if not isinstance(item, dict):
        return None
    if isinstance(part, Thought):
        return item if item.get("encrypted_content") else None
    if isinstance(part, File):
        return {**item, "result": part.inline} if part.inline else None
    kind = item.get("type")
    return item if isinstance(part, Kept) and isinstance(kind, str) and kind not in SAID else None

"""OpenAI Chat Completions, and the many servers that speak it: what is sent.

What relatives want back: the reasoning of a turn that calls tools, under the name it came by (DeepSeek, vLLM, Kimi);
``reasoning_details`` (OpenRouter); ``extra_content`` of calls and texts, Gemini's thought signatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.wires.decoders.openai_chat import OpenAIChatDecoder
from durable_streams.agents.wires.files import inlined, user_content
from durable_streams.agents.wires.history import Answered, Asked, Ids, Taste, conversation
from durable_streams.agents.wires.keepers.openai_chat import ChatKeeper
from durable_streams.agents.wires.parts import Call, Kept, Text, Thought

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable_streams.agents.attachments import File
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.agents.wires.decoders.base import Decoder
    from durable_streams.agents.wires.options import Options

ID_MAX_CHARS: Final = 40
SOUNDS: Final[Mapping[str, str]] = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
UNSIGNED: Final = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""What Gemini takes in place of its own signature, for calls of other models."""
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif", "image/*"})

OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "stream_options": ("stream_options", "include_usage"),
    "max_tokens": ("max_completion_tokens",),
}


class OpenAIChatWire:
    """``POST /chat/completions``.

    Args:
        length_field: the field that bounds an answer; OpenAI itself wants ``max_completion_tokens``, its relatives
            know the older name.
        exact_ids: ids of calls have nine letters or digits, as Mistral wants them.
        signed_calls: calls that another model has made are marked so, as Gemini wants its own calls signed.
    """

    name = "openai-chat"
    path = "/chat/completions"
    takes = "PNG, JPEG, WebP and GIF images, PDF and text files, WAV and MP3 audio"
    optional = OPTIONAL

    def __init__(
        self, *, length_field: str = "max_tokens", exact_ids: bool = False, signed_calls: bool = False
    ) -> None:
        self._length_field, self._exact_ids, self._signed_calls = length_field, exact_ids, signed_calls

    def forgo(self, body: dict[str, Any], name: str) -> bool:
        """Leave the field out, or bound the answer by its newer name; see ``Wire``."""
        value = body.pop(name, None)
        if name == "max_tokens" and value is not None:
            body["max_completion_tokens"] = value
        return value is not None

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the bearer token."""
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the body; see ``Wire``."""
        ids = Ids(9, exact=True) if self._exact_ids else Ids(ID_MAX_CHARS)
        said = conversation(messages, ids, Taste())
        sent: list[dict[str, Any]] = [{"role": "system", "content": said.system}] if said.system else []
        answer: list[Answered] = []
        for turn in said.turns:
            if isinstance(turn, Answered):
                answer.append(turn)
                continue
            sent += [*_answers(answer), self._asked(turn)]
            answer = []
        sent += _answers(answer)
        if self._signed_calls:
            _sign(sent)
        body: dict[str, Any] = {
            "model": model,
            "messages": sent,
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

    def options(self, options: Options) -> dict[str, Any]:
        """Return the fields; see ``Wire``."""
        fields = {
            "temperature": options.temperature,
            self._length_field: options.max_tokens,
            "reasoning_effort": options.reasoning_effort,
            "stop": list(options.stop) or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def attached(self, file: File) -> dict[str, Any] | None:
        """Return an image, sound, PDF or text; see ``Wire``. Servers of this format fetch images alone."""
        if file.media_type in PICTURES:
            return {"type": "image_url", "image_url": {"url": file.url}}
        if file.inline is None:
            return None
        if file.media_type in SOUNDS:
            return {"type": "input_audio", "input_audio": {"data": file.inline, "format": SOUNDS[file.media_type]}}
        if file.media_type == "application/pdf":
            return {"type": "file", "file": {"filename": file.filename or "file.pdf", "file_data": file.url}}
        return inlined(file, "text")

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder of one response."""
        return ChatKeeper(OpenAIChatDecoder(prefix), prefix)

    def _asked(self, turn: Asked) -> dict[str, Any]:
        content = list(user_content(turn.parts, self.attached, "text"))
        if all(part["type"] == "text" for part in content):  # which every server of this format reads
            return {"role": "user", "content": "\n\n".join(part["text"] for part in content)}
        return {"role": "user", "content": content}


def _answers(steps: Sequence[Answered]) -> Iterator[dict[str, Any]]:
    """Yield one turn of the model: all its calls, with their results."""
    field = next((name for step in steps for name in _reasoning_fields(step)), None)
    calls_any = any(step.calls for step in steps)
    for step in steps:
        sent: dict[str, Any] = {"role": "assistant", "content": step.text or None}
        details = [one for part in step.parts if isinstance(part, Kept) for one in _details(part)]
        if details:
            sent["reasoning_details"] = details
        elif field is not None and calls_any:
            # DeepSeek refuses a turn with tools that lacks it anywhere, and others ignore it.
            sent[field] = "".join(part.text for part in step.parts if isinstance(part, Thought) and part.own)
        sent |= _extra(next((part for part in step.parts if isinstance(part, Text) and part.own), None))
        if step.calls:
            sent["tool_calls"] = [_called(call) for call in step.calls]
        yield sent
        for call in step.calls:
            yield {"role": "tool", "tool_call_id": call.call_id, "content": call.result}


def _sign(sent: list[dict[str, Any]]) -> None:
    """Mark the first call of every answer in which none is signed; of calls beside each other Gemini signs one."""
    for message in sent:
        calls = message.get("tool_calls")
        if calls and not any("extra_content" in call for call in calls):
            calls[0]["extra_content"] = UNSIGNED


def _called(call: Call) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function, **_extra(call)}


def _extra(part: Text | Call | None) -> dict[str, Any]:
    extra = part.own.get("extra_content") if part is not None and part.own else None
    return {} if extra is None else {"extra_content": extra}


def _reasoning_fields(step: Answered) -> Iterator[str]:
    for part in step.parts:
        if isinstance(part, Thought) and part.own and isinstance(part.own.get("field"), str):
            yield str(part.own["field"])


def _details(part: Kept) -> list[Any]:
    details = part.own.get("reasoning_details")
    return details if isinstance(details, list) else []

"""The history as people hand it in, as the messages that sources read.

A message is an AI SDK ``UIMessage``; or ``{"role", "content"}`` as OpenAI and Anthropic have it, with text or a list of
parts; or an object of theirs. Tools' calls and results are joined to the parts of one answer.
Invariant: what cannot be told is refused, by its place: nothing of a history is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from durable_streams.agents.attachments import InvalidAttachmentError, attached
from durable_streams.agents.errors import UnusableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_streams.agents.wires.base import UIMessage

_ROLES: Final[Mapping[str, str]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}
_RESULTS: Final = frozenset({"tool_result", "function_call_output"})


def asked(messages: object) -> list[UIMessage]:
    """Return the messages, each with an id, a role and parts; a text is a message of the user.

    Raises:
        UnusableError: one of them cannot be read; the sentence says which.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping) or not isinstance(messages, Sequence):
        if not isinstance(messages, Mapping):
            raise UnusableError(f"messages= is a list of messages, not a value of type {type(messages).__name__}")
        messages = [messages]
    reading = _Reading()
    for number, message in enumerate(messages):
        try:
            reading.take(_fields(message), number)
        except (LookupError, TypeError, AttributeError, orjson.JSONDecodeError) as fault:
            raise UnusableError(f"messages[{number}] cannot be read: {type(fault).__name__}: {fault}") from fault
        except (UnusableError, InvalidAttachmentError) as fault:
            raise UnusableError(f"messages[{number}] cannot be used: {fault}") from None
    return reading.messages


class _Reading:
    def __init__(self) -> None:
        self.messages: list[UIMessage] = []
        self._calls: dict[str, dict[str, Any]] = {}

    def take(self, message: Mapping[str, Any], number: int) -> None:
        role = message.get("role") or message.get("type")
        named = {"id": message.get("id") or f"message-{number}", "role": _ROLES.get(str(role))}
        if role in {"tool", "function"}:
            self._result(message["tool_call_id"], message.get("content"))
        elif named["role"] is None:
            raise UnusableError(f"its role is {role!r}: it can be user, assistant, system or tool")
        elif isinstance(message.get("parts"), list):
            self.messages.append({**message, **named, "parts": [_own_part(part) for part in message["parts"]]})
        else:
            given = _listed(message.get("content"))
            parts = [part for one in given for part in self._parts(one)]
            parts += [self._call(call) for call in message.get("tool_calls") or ()]
            if parts or not given:  # else it had nothing but the results of calls
                self.messages.append({**named, "parts": parts})

    def _parts(self, given: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 a vendor's part
        if isinstance(given, str):
            yield {"type": "text", "text": given}
            return
        part = _fields(given)
        kind = str(part.get("type"))
        if kind in _RESULTS:
            self._result(part.get("tool_use_id") or part["call_id"], part.get("content", part.get("output")))
        elif kind == "tool_use":
            yield self._called(part["id"], part["name"], part["input"])
        elif kind in _PARTS:
            yield attached(_PARTS[kind](part))
        else:
            raise UnusableError(f"a part of type {kind!r} is not known")

    def _call(self, given: Any) -> dict[str, Any]:  # noqa: ANN401 as above
        call = _fields(given)
        function = _fields(call.get("function") or {"name": call.get("name"), "arguments": call.get("args")})
        arguments = function["arguments"]
        return self._called(
            call["id"], function["name"], orjson.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        )

    def _called(self, call_id: str, tool: str, given: object) -> dict[str, Any]:
        part = {"type": f"tool-{tool}", "toolCallId": call_id, "state": "input-available", "input": given}
        self._calls[call_id] = part
        return part

    def _result(self, call_id: str, output: object) -> None:
        if call_id not in self._calls:
            raise UnusableError(f"it is the result of a call {call_id!r} that no message before it makes")
        self._calls[call_id].update(state="output-available", output=_text_of(output))


def _fields(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 as above
    if isinstance(given, Mapping):
        return given
    dump = getattr(given, "model_dump", None)
    if not callable(dump):
        raise UnusableError(f"it is a value of type {type(given).__name__}, not an object with a role and a content")
    fields: Mapping[str, Any] = dump()
    return fields


def _own_part(part: Any) -> dict[str, Any]:  # noqa: ANN401 as above
    if isinstance(part, dict) and isinstance(part.get("type"), str):
        return attached(part)
    return {"type": "text", "text": part["text"]}  # as Gemini has it


def _listed(content: object) -> list[Any]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content] if content else []
    if isinstance(content, Mapping) or not isinstance(content, Sequence):
        raise UnusableError(
            f"its content is a value of type {type(content).__name__}: it can be text or a list of parts"
        )
    return list(content)


def _text_of(output: object) -> object:
    """Return a result that is all text as text."""
    parts = output if isinstance(output, list) else []
    if parts and all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return output


def _file(media_type: str, url: str) -> dict[str, Any]:
    return {"type": "file", "mediaType": media_type, "url": url}


def _media_type_of(url: str, otherwise: str) -> str:
    return url[5:].partition(";")[0].partition(",")[0] or otherwise if url.startswith("data:") else otherwise


def _image_url(part: Mapping[str, Any]) -> dict[str, Any]:
    image = part["image_url"]
    url = image if isinstance(image, str) else image["url"]
    return _file(_media_type_of(url, "image/*"), url)


def _source(part: Mapping[str, Any]) -> dict[str, Any]:
    source = part["source"]
    if source["type"] == "base64":
        return _file(source["media_type"], f"data:{source['media_type']};base64,{source['data']}")
    if source["type"] == "text":
        return {"type": "text", "text": source["data"]}
    if source["type"] != "url":
        raise UnusableError(f"a source of type {source['type']!r} is not known")
    return _file("application/pdf" if part["type"] == "document" else "image/*", source["url"])


def _audio(part: Mapping[str, Any]) -> dict[str, Any]:
    audio = part["input_audio"]
    media_type = "audio/mpeg" if audio["format"] == "mp3" else f"audio/{audio['format']}"
    return _file(media_type, f"data:{media_type};base64,{audio['data']}")


def _uploaded(part: Mapping[str, Any]) -> dict[str, Any]:
    file = part.get("file") or part
    url = file.get("file_data") or file.get("file_url")
    if not url:
        raise UnusableError("a file that is named by its id alone is not known here: send its bytes")
    named = {"filename": file["filename"]} if file.get("filename") else {}
    return {**_file(_media_type_of(url, "application/pdf"), url), **named}


def _text(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": str(part["text"])}


_PARTS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": lambda part: {"type": "text", "text": str(part["refusal"])},
    "thinking": lambda part: {
        "type": "reasoning",
        "text": part["thinking"],
        "providerMetadata": {"anthropic": {"signature": part.get("signature")}},
    },
    "image_url": _image_url,
    "input_image": _image_url,
    "image": _source,
    "document": _source,
    "input_audio": _audio,
    "file": _uploaded,
    "input_file": _uploaded,
}
"""A vendor's part → ours."""

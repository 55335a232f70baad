"""From the messages that an AG-UI client sends to those that a session keeps: AI SDK ``UIMessage`` objects.

Pure. Reasoning and activities are left out, as no model is shown another's; a tool's result goes into its call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ROLES: Final[Mapping[str, str]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_LEFT_OUT: Final = frozenset({"reasoning", "activity"})
_FILES: Final = frozenset({"image", "audio", "video", "document"})


class UnreadableMessageError(ValueError):
    """A message that is none, or that has no form here."""


def ui_messages(given: Iterable[object]) -> list[dict[str, Any]]:
    """Return the messages.

    Raises:
        UnreadableMessageError: one of them is no message, or has content that cannot be kept.
    """
    messages: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}
    for one in given:
        if not isinstance(one, dict):
            raise UnreadableMessageError("a message is an object")
        role = one.get("role")
        if role == "tool":
            _returned(calls, one)
        elif role not in _LEFT_OUT:
            messages.append(_message(one, calls))
    return messages


def _message(one: dict[str, Any], calls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    message_id, role = one.get("id"), _ROLES.get(str(one.get("role")))
    if not isinstance(message_id, str) or not message_id or role is None:
        raise UnreadableMessageError("a message has an id and a role")
    parts = _parts(one.get("content"))
    for call in one.get("toolCalls") or ():
        part = _call(call)
        calls[part["toolCallId"]] = part
        parts.append(part)
    return {"id": message_id, "role": role, "parts": parts}


def _parts(content: object) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise UnreadableMessageError("content is a text or a list")
    return [_part(part) for part in content]


def _part(part: object) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise UnreadableMessageError("a part of a message's content is an object")
    kind, source = part.get("type"), part.get("source")
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind in _FILES and isinstance(source, dict) and source.get("type") in {"data", "url"}:
        return _file(source.get("mimeType"), **{source["type"]: source.get("value")})
    if kind == "binary":
        return _file(part.get("mimeType"), data=part.get("data"), url=part.get("url"), filename=part.get("filename"))
    raise UnreadableMessageError(f"content of type {kind!r}, or where it comes from, cannot be taken")


def _file(media_type: object, *, data: object = None, url: object = None, filename: object = None) -> dict[str, Any]:
    if not isinstance(media_type, str):
        media_type = "application/octet-stream"
    if isinstance(data, str):
        url = f"data:{media_type};base64,{data}"
    if not isinstance(url, str):
        raise UnreadableMessageError("a file has its data or a URL")
    named = {"filename": filename} if isinstance(filename, str) else {}
    return {"type": "file", "mediaType": media_type, "url": url, **named}


def _call(call: object) -> dict[str, Any]:
    try:
        name, call_id, text = call["function"]["name"], call["id"], call["function"]["arguments"]  # type: ignore[index]
    except (TypeError, LookupError) as fault:
        raise UnreadableMessageError("a tool's call has an id, a name and arguments") from fault
    part = {"type": f"tool-{name}", "toolCallId": str(call_id)}
    try:
        given = orjson.loads(text) if text else {}
    except (orjson.JSONDecodeError, TypeError):
        return {**part, "state": "output-error", "input": text, "errorText": "the input is not JSON"}
    return {**part, "state": "input-available", "input": given}


def _returned(calls: dict[str, dict[str, Any]], one: dict[str, Any]) -> None:
    part = calls.get(str(one.get("toolCallId")))
    if part is None:
        return
    if one.get("error"):
        part.update(state="output-error", errorText=str(one["error"]))
    else:
        part.update(state="output-available", output=one.get("content"))

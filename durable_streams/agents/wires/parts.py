"""Reading the parts of a ``UIMessage``, for all formats that a history is translated to.

Whatever is stored can be read: a part that is none of ours, or lacks what it needs, is skipped.
Invariant: every call has a result, because providers reject a history with a dangling one; a call whose result was
never recorded says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from durable_streams.agents.attachments import File, file_of
from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.events import DENIED, UNKNOWN
from durable_streams.agents.plain import shown, whole
from durable_streams.agents.wires.provider import OWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.wires.base import UIMessage

    Own: TypeAlias = "Mapping[str, Any] | None"

EMPTY: Final = "(empty)"
"""Said for a result without text: some providers refuse a blank one."""
NOT_RUN: Final = "not run: it waited for somebody, who has said something else instead"
"""Said of a call that needed somebody's approval or result, which did not come before the next prompt."""
UNREADABLE: Final = "unreadable_input"
"""The one field of an input that could not be read, as it is shown to the model that sent it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text part, and what its provider wants back with it."""

    text: str
    own: Own = None


@dataclass(frozen=True, slots=True)
class Thought:
    """A reasoning part, and what its provider wants back with it."""

    text: str
    own: Own = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What shows nothing, and is its provider's alone."""

    own: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its result, and what its provider wants back with it."""

    call_id: str
    tool: str
    input: object
    output: object
    failed: bool
    own: Own = None

    @property
    def arguments(self) -> str:
        """The input as JSON text."""
        return orjson.dumps(shown(self.input)).decode()

    @property
    def result(self) -> str:
        """The output as text that is not blank."""
        text = self.output if isinstance(self.output, str) else orjson.dumps(shown(self.output)).decode()
        return whole(text) if text.strip() else EMPTY


Part: TypeAlias = Text | Thought | Kept | Call | File


def steps(message: UIMessage) -> Iterator[list[Part]]:
    """Yield the parts of each call of the model; a message of a user is one."""
    parts: list[Part] = []
    for part in settled(message):
        if part.get("type") == "step-start":
            if parts:
                yield parts
            parts = []
        elif (read := _read(part)) is not None:
            parts.append(read)
    if parts:
        yield parts


def text_of(message: UIMessage) -> str:
    """Return all text of a message."""
    return "".join(text for part in settled(message) if part.get("type") == "text" and (text := _text(part)))


def settled(message: UIMessage) -> list[dict[str, Any]]:
    """Return the parts of a message, each call that nobody has answered as one that has not run."""
    parts = message.get("parts")
    waited_for = _waiting_ids(message)
    return [_settled(part, waited_for) for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _waiting_ids(message: UIMessage) -> set[str]:
    metadata = message.get("metadata")
    waiting = metadata.get("waiting") if isinstance(metadata, dict) else None
    return {str(one.get("id")) for one in waiting if isinstance(one, dict)} if isinstance(waiting, list) else set()


def _settled(part: dict[str, Any], waited_for: set[str]) -> dict[str, Any]:
    """Return a call that nobody has approved or run as what it is: one that certainly had no effect."""
    is_asked = part.get("state") == "input-available" and part.get("toolCallId") in waited_for
    if not is_asked and part.get("state") != "approval-requested":
        return part
    return {**part, "state": "output-error", "errorText": NOT_RUN}


def _text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return whole(text) if isinstance(text, str) else ""


def _own(part: dict[str, Any]) -> Own:
    own = part.get(OWN)
    return own if isinstance(own, dict) else None


def _read(part: dict[str, Any]) -> Part | None:
    kind, own = str(part.get("type", "")), _own(part)
    if kind == "text":
        return Text(_text(part), own) if part.get("text") else None
    if kind == "reasoning":
        return Thought(_text(part), own)
    if kind == names.KEPT:
        return None if own is None else Kept(own)
    if kind == names.FILE:
        return file_of(part)
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        tool = str(part.get("toolName") or kind.removeprefix("tool-"))
        return _call(part, tool)
    return None


def _call(part: dict[str, Any], tool: str) -> Call | None:
    state, call_id = part.get("state"), part.get("toolCallId")
    if state == "input-streaming" or not isinstance(call_id, str):
        return None  # never complete, so the model never called it
    given = part.get("input", part.get("rawInput"))
    if not isinstance(given, dict):
        # Providers take nothing but an object; what the model sent that was none is shown to it in one.
        given = {} if given is None else {UNREADABLE: given}
    own = _own(part)
    if state == "output-available":
        return Call(call_id, tool, given, part.get("output"), failed=False, own=own)
    return Call(call_id, tool, given, _failure(part), failed=True, own=own)


def _failure(part: dict[str, Any]) -> str:
    if part.get("state") != "output-denied":
        return str(part.get("errorText") or UNKNOWN)
    approval = part.get("approval")
    reason = approval.get("reason") if isinstance(approval, dict) else None
    return f"{DENIED}: {reason}" if reason else DENIED

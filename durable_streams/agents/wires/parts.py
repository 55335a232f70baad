"""Reading the parts of a ``UIMessage``, for all formats that a history is translated to.

Invariant: every call has a result, because providers reject a history with a dangling one; a call whose result was
never recorded says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from durable_streams.agents.events import UNKNOWN
from durable_streams.agents.plain import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.agents.wires.base import UIMessage


UNREADABLE: Final = "unreadable_input"
"""The one field of an input that could not be read, as it is shown to the model that sent it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text part."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A reasoning part and its signature, if it has one."""

    text: str
    signature: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its result."""

    call_id: str
    tool: str
    input: object
    output: object
    failed: bool

    @property
    def arguments(self) -> str:
        """The input as JSON text."""
        return orjson.dumps(shown(self.input)).decode()

    @property
    def result(self) -> str:
        """The output as text."""
        return self.output if isinstance(self.output, str) else orjson.dumps(shown(self.output)).decode()


def steps(message: UIMessage) -> Iterator[list[Text | Thought | Call]]:
    """Yield the parts of each call of the model; a message of a user is one."""
    parts: list[Text | Thought | Call] = []
    for part in message.get("parts", ()):
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
    return "".join(part.get("text", "") for part in message.get("parts", ()) if part.get("type") == "text")


def _read(part: dict[str, Any]) -> Text | Thought | Call | None:
    kind = str(part.get("type", ""))
    if kind == "text":
        return Text(part["text"]) if part.get("text") else None
    if kind == "reasoning":
        signature = part.get("providerMetadata", {}).get("anthropic", {}).get("signature")
        return Thought(part.get("text", ""), signature)
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        tool = str(part.get("toolName") or kind.removeprefix("tool-"))
        return _call(part, tool)
    return None


def _call(part: dict[str, Any], tool: str) -> Call | None:
    state = part.get("state")
    if state == "input-streaming":
        return None  # never complete, so the model never called it
    given = part.get("input", part.get("rawInput"))
    if not isinstance(given, dict):
        # Providers take nothing but an object; what the model sent that was none is shown to it in one.
        given = {} if given is None else {UNREADABLE: given}
    if state == "output-available":
        return Call(part["toolCallId"], tool, given, part.get("output"), failed=False)
    return Call(part["toolCallId"], tool, given, part.get("errorText") or UNKNOWN, failed=True)

"""How many tokens a message is likely to take, without asking anybody.

One for every four bytes of UTF-8, four around a message, and a flat number for a file that is not text. English comes
out about right, dense languages and code up to a third too low; give a counter of your own where that matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.attachments import file_of
from durable_streams.agents.plain import encoded

if TYPE_CHECKING:
    from durable_streams.agents.wires.base import UIMessage

BYTES_PER_TOKEN: Final = 4
MESSAGE_TOKENS: Final = 4
FILE_TOKENS: Final = 1_000
"""An image or a document, which providers count by its pixels or pages."""
_CALL_FIELDS: Final = ("input", "output", "errorText")


def estimate(message: UIMessage) -> int:
    """Return the tokens of a message, 4 or more."""
    parts = message.get("parts")
    listed = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return MESSAGE_TOKENS + sum(_of_part(part) for part in listed)


def _of_part(part: dict[str, Any]) -> int:
    file = file_of(part)
    if file is not None:
        return FILE_TOKENS if file.text is None else _of_text(file.text)
    if isinstance(part.get("text"), str):
        return _of_text(part["text"])
    if "toolCallId" in part:
        return _of_bytes(len(encoded({name: part[name] for name in _CALL_FIELDS if name in part})))
    return 0


def _of_text(text: str) -> int:
    return _of_bytes(len(text.encode("utf-8", "replace")))


def _of_bytes(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)

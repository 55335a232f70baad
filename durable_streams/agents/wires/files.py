"""Users' files as a wire sends them, or the reason why it cannot.

Must not know: how a format spells a file. Invariant: no file is left out in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.attachments import FILE, File, file_of
from durable_streams.agents.codecs import chunk_names as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from durable_streams.agents.wires.base import UIMessage, Wire
    from durable_streams.agents.wires.parts import Text

_SHOWN: Final = frozenset({"text", "step-start"})


def refusal_of(wire: Wire, message: UIMessage) -> str | None:
    """Return why a user's message cannot be sent, for whoever posts it; ``None`` if it can.

    An application's own ``data-`` parts are not for the model, and refuse nothing.
    """
    parts = [part for part in message.get("parts") or () if isinstance(part, dict)]
    for part in parts:
        kind, file = str(part.get("type", "")), file_of(part)
        if file is not None and wire.attached(file) is None:
            return f"{file.name} ({file.media_type}) cannot be sent to this model, which takes {wire.takes}"
        if file is None and kind not in _SHOWN and not kind.startswith(names.DATA_PREFIX):
            return f"a part of type {kind!r} cannot be sent to this model"
    said = any(part.get("type") == FILE or str(part.get("text") or "").strip() for part in parts)
    return None if said else "the message says nothing: it has neither text nor a file"


def user_content(
    parts: Sequence[Text | File], attached: Callable[[File], dict[str, Any] | None], text_type: str
) -> Iterator[dict[str, Any]]:
    """Yield what users said as a format's content parts; a file that it cannot send is told of in words."""
    for part in parts:
        if isinstance(part, File):
            sent = None if part.gone else attached(part)
            yield sent or {"type": text_type, "text": f"[a file that cannot be shown: {part.name}]"}
        else:
            yield {"type": text_type, "text": part.text}


def inlined(file: File, text_type: str) -> dict[str, Any] | None:
    """Return a text file as text under its name; ``None`` for any other, and for one that is elsewhere."""
    text = file.text
    return None if text is None else {"type": text_type, "text": f"File {file.name}:\n\n{text or '(empty)'}"}

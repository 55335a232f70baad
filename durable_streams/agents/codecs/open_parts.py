"""What of a message is still open, told from its chunks alone.

So whoever ends a run can close its parts: the writer as it goes along, or another process from the stored chunks.
Must not know: events, streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from durable_streams.agents.codecs.base import Chunk

_OPENS: Final = {"text-start": "text", "reasoning-start": "reasoning"}
_CLOSES: Final = frozenset({"text-end", "reasoning-end"})
_CALLS: Final = frozenset({"tool-input-start", "tool-input-available"})
_RETURNS: Final = frozenset({"tool-input-error", "tool-output-available", "tool-output-error", "tool-output-denied"})
_TERMINAL: Final = frozenset({"finish", "abort", "error"})


class OpenParts:
    """Open parts, calls without a result, and whether a step is open and the message has ended."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.calls: dict[str, str] = {}
        self.returned: set[str] = set()
        self.in_step = False
        self.ended = False

    def observe(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        kind = str(chunk["type"])
        if kind in _OPENS:
            self.parts[str(chunk["id"])] = _OPENS[kind]
        elif kind in _CLOSES:
            self.parts.pop(str(chunk["id"]), None)
        elif kind in _CALLS:
            self._observe_call(kind, str(chunk["toolCallId"]))
        elif kind in _RETURNS:
            # A preliminary output is followed by the final one.
            if not chunk.get("preliminary"):
                self.calls.pop(str(chunk["toolCallId"]), None)
                self.returned.add(str(chunk["toolCallId"]))
        elif kind in {"start-step", "finish-step"}:
            self.in_step = kind == "start-step"
        elif kind in _TERMINAL:
            self.ended = True

    def _observe_call(self, kind: str, call_id: str) -> None:
        if call_id not in self.returned:
            self.calls[call_id] = "input" if kind == "tool-input-start" else "called"

    def closing(self, call_error: str) -> list[Chunk]:
        """Return the chunks that close everything but the message itself; call errors say ``call_error``."""
        chunks: list[Chunk] = [{"type": f"{kind}-end", "id": part} for part, kind in self.parts.items()]
        chunks += [
            {"type": "tool-output-error", "toolCallId": call_id, "errorText": call_error} for call_id in self.calls
        ]
        if self.in_step:
            chunks.append({"type": "finish-step"})
        return chunks

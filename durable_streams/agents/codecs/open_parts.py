"""What of a message is still open, told from its chunks alone.

So whoever ends a run can close its parts: the writer as it goes along, or another process from the stored chunks.
Must not know: events, streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.continued import continued

if TYPE_CHECKING:
    from collections.abc import Collection

    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.codecs.continued import Continued

_CLOSES: Final = frozenset(names.PART_ENDS.values())
_SETTLED: Final = frozenset({"output-available", "output-error", "output-denied"})
"""States of calls in a message that nobody waits for any more."""
_CALLS: Final = frozenset({names.TOOL_INPUT_START, names.TOOL_INPUT_AVAILABLE})
_RETURNS: Final = frozenset(
    {names.TOOL_INPUT_ERROR, names.TOOL_OUTPUT_AVAILABLE, names.TOOL_OUTPUT_ERROR, names.TOOL_OUTPUT_DENIED}
)


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
        kind = str(chunk.get("type"))
        if kind in names.PART_KINDS:
            self.parts[str(chunk.get("id"))] = names.PART_KINDS[kind]
        elif kind in _CLOSES:
            self.parts.pop(str(chunk.get("id")), None)
        elif kind in _CALLS:
            self._observe_call(kind, str(chunk.get("toolCallId")))
        elif kind in _RETURNS:
            # A preliminary output is followed by the final one.
            if not chunk.get("preliminary"):
                self.calls.pop(str(chunk.get("toolCallId")), None)
                self.returned.add(str(chunk.get("toolCallId")))
        elif kind == names.CONTINUES:
            self._observe_earlier(continued([chunk]))
        elif kind in {names.START_STEP, names.FINISH_STEP}:
            self.in_step = kind == names.START_STEP
        elif kind in names.TERMINAL:
            self.ended = True

    def _observe_call(self, kind: str, call_id: str) -> None:
        if call_id not in self.returned:
            self.calls[call_id] = "input" if kind == names.TOOL_INPUT_START else "called"

    def _observe_earlier(self, earlier: Continued | None) -> None:
        for part in () if earlier is None else earlier.calls:
            if part.get("state") in _SETTLED:
                self.returned.add(part["toolCallId"])
            else:
                self.calls[part["toolCallId"]] = "called"

    def closing(self, call_error: str, waiting: Collection[str] = ()) -> list[Chunk]:
        """Return the chunks that close everything but the message itself; call errors say ``call_error``.

        Calls that are waiting for somebody stay open.
        """
        chunks: list[Chunk] = [{"type": names.PART_ENDS[kind], "id": part} for part, kind in self.parts.items()]
        chunks += [
            {"type": names.TOOL_OUTPUT_ERROR, "toolCallId": call_id, "errorText": call_error}
            for call_id in self.calls
            if call_id not in waiting
        ]
        if self.in_step:
            chunks.append({"type": names.FINISH_STEP})
        return chunks

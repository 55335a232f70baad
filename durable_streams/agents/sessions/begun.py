"""What an earlier owner has stored of an answer, and whether another can go on with it where it stopped.

Going on is exact at the boundaries of steps alone. A model that is asked again says something else, so what it had
begun to say when its owner died cannot be continued, and readers have seen it. But a step that is complete is what the
next call of the model is asked with, by whichever process; and once a model has said all of a step, its tools are what
is left of it: those with a result are not run again, and those without are told as unknown.
Pure. Must not know: processes, streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import UiChunks
from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.events import SAID, UNKNOWN, StepEnded, ToolFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.events import Event

Chunk = dict[str, Any]

_SAID: Final = f"{names.DATA_PREFIX}{SAID}"
_NOTHING: Final = frozenset({names.START, names.START_STEP, names.MESSAGE_METADATA, f"{names.DATA_PREFIX}owner"})
"""Chunks that say nothing of what a model has said."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that can be gone on with.

    Attributes:
        chunks: what is stored.
        closing: what ends its last step: the calls without a result, told as unknown.
        parts: the finished steps, as the model is shown them.
        is_complete: the model had said all; only the ending is missing.
    """

    chunks: Sequence[Chunk]
    closing: Sequence[Event]
    parts: Sequence[Chunk]
    is_complete: bool

    @property
    def has_output(self) -> bool:
        """Whether anything has been said at all."""
        return bool(self.parts)


def begun(chunks: Sequence[Chunk]) -> Begun | None:
    """Return how to go on with an answer; ``None`` if it has ended, or stopped where nobody can."""
    kinds = [chunk["type"] for chunk in chunks]
    if not chunks or kinds[0] != names.START or names.TERMINAL & set(kinds):
        return None
    finished = len(kinds) - kinds[::-1].index(names.FINISH_STEP) if names.FINISH_STEP in kinds else 0
    rest = kinds[finished:]
    is_said = _SAID in rest
    if not is_said and set(rest) - _NOTHING:
        return None
    codec = UiChunks.resumed(chunks)
    closing: list[Event] = [ToolFailed(call_id, UNKNOWN) for call_id in codec.open_calls()]
    if is_said:
        closing.append(StepEnded())
    closed = [chunk for event in closing for chunk in codec.feed(event)]
    parts = message_of([*chunks, *closed])["parts"]
    while parts and parts[-1]["type"] == "step-start":
        parts.pop()
    # A step is followed by another only if it has said so: its model has called tools, or paused.
    is_complete = finished > 0 and not is_said and _SAID not in _last_step(kinds[:finished])
    return Begun(chunks, closing, parts, is_complete)


def _last_step(kinds: Sequence[str]) -> Sequence[str]:
    return kinds[len(kinds) - kinds[::-1].index(names.START_STEP) :] if names.START_STEP in kinds else kinds

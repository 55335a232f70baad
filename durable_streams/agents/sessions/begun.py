"""What an earlier owner has stored of an answer, and whether another can go on with it where it stopped.

Going on is exact at the boundaries of steps alone. A model that is asked again says something else, so what it had
begun to say when its owner died cannot be continued, and readers have seen it. But a step that is complete is what the
next call of the model is asked with, by whichever process; and once a model has said all of a step, its tools are what
is left of it: those with a result are not run again, and those without are told as unknown. Calls that somebody else is
to run or to approve stay open. So do, in a stream that goes on after that, those that were approved and were not begun.
Pure. Must not know: processes, streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import UiChunks
from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.continued import continued
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.codecs.pending import pending_told
from durable_streams.agents.events import SAID, UNKNOWN, StepEnded, ToolFailed, Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from durable_streams.agents.codecs.continued import Continued
    from durable_streams.agents.events import Event, Pending
    from durable_streams.agents.runs.run import Run

Chunk = dict[str, Any]

_SAID: Final = f"{names.DATA_PREFIX}{SAID}"
_NOTHING: Final = frozenset({names.START, names.START_STEP, names.MESSAGE_METADATA, f"{names.DATA_PREFIX}owner"})
"""Chunks that say nothing of what a model has said."""
_ANSWERS: Final = frozenset(
    {
        names.CONTINUES,
        names.TOOL_INPUT_AVAILABLE,
        names.TOOL_OUTPUT_AVAILABLE,
        names.TOOL_OUTPUT_ERROR,
        names.TOOL_OUTPUT_DENIED,
    }
)
"""Chunks that a stream which goes on begins with: what was answered."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that can be gone on with.

    Attributes:
        chunks: what is stored.
        closing: what ends its last step: the calls without a result, told as unknown.
        parts: the finished steps, as the model is shown them.
        is_complete: the source had said all; only the ending is missing.
        waiting: what it waits for, if that is its ending.
        earlier: what the stream goes on from; ``None``: it is the first of its message.
    """

    chunks: Sequence[Chunk]
    closing: Sequence[Event]
    parts: Sequence[Chunk]
    is_complete: bool
    waiting: tuple[Pending, ...] = ()
    earlier: Continued | None = None

    @property
    def has_output(self) -> bool:
        """Whether anything has been said at all."""
        return bool(self.parts)


class NothingMore:
    """The source of an answer of which only the ending is missing.

    Args:
        waiting: what the answer waits for.
    """

    def __init__(self, waiting: tuple[Pending, ...] = ()) -> None:
        self._waiting = waiting

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:  # noqa: ARG002 the protocol's signature
        """Say nothing but what is waited for; see ``Source``."""
        if self._waiting:
            yield Waiting(self._waiting)


def begun(chunks: Sequence[Chunk]) -> Begun | None:
    """Return how to go on with an answer; ``None`` if it has ended, or stopped where nobody can."""
    kinds = [chunk["type"] for chunk in chunks]
    if not chunks or kinds[0] != names.START or names.TERMINAL & set(kinds):
        return None
    finished = len(kinds) - kinds[::-1].index(names.FINISH_STEP) if names.FINISH_STEP in kinds else 0
    earlier = continued(chunks)
    rest = _last_part(kinds, finished, _answered(kinds) if earlier is not None else 0)
    is_said = _SAID in rest
    is_untouched = earlier is not None and not finished and _SAID not in kinds
    if not is_said and set(rest) - _NOTHING:
        return None
    codec = UiChunks.resumed(chunks)
    unsettled = [] if is_untouched else codec.open_calls()
    waiting = tuple(one for one in _last_waits(chunks) if one.call_id in unsettled)
    asked = {one.call_id for one in waiting}
    closing: list[Event] = [ToolFailed(call_id, UNKNOWN) for call_id in unsettled if call_id not in asked]
    if is_said:
        closing.append(StepEnded())
    closed = [chunk for event in closing for chunk in codec.feed(event)]
    parts = message_of([*chunks, *closed])["parts"]
    while parts and parts[-1]["type"] == "step-start":
        parts.pop()
    # A step is followed by another only if it has said so: its model has called tools, or paused.
    is_complete = finished > 0 and not is_said and _SAID not in _last_step(kinds[:finished])
    return Begun(chunks, closing, parts, is_complete or bool(waiting), waiting, earlier)


def _answered(kinds: Sequence[str]) -> int:
    """Return how many chunks a stream begins with that tell what was answered."""
    return next((n for n, kind in enumerate(kinds[1:], 1) if kind not in _ANSWERS), len(kinds))


def _last_part(kinds: Sequence[str], finished: int, answered: int) -> Sequence[str]:
    """Return what comes behind the last finished step, or behind the calls that were run because they were approved."""
    rest = kinds[max(finished, answered) :]
    if names.START_STEP in rest and _SAID in rest[: rest.index(names.START_STEP)]:
        return rest[rest.index(names.START_STEP) :]
    return rest


def _last_waits(chunks: Sequence[Chunk]) -> tuple[Pending, ...]:
    for chunk in reversed(chunks):
        if chunk["type"] == _SAID:
            said = chunk.get("data")
            return pending_told(said.get("waits")) if isinstance(said, dict) else ()
    return ()


def _last_step(kinds: Sequence[str]) -> Sequence[str]:
    return kinds[len(kinds) - kinds[::-1].index(names.START_STEP) :] if names.START_STEP in kinds else kinds

"""An answer that goes on in a stream of its own, after somebody has answered what it waited for.

Its second chunk is ``data-continues``, which is transient: clients that have the first part of the message add to it,
and whoever reads the stream alone finds the first part there, with the answers in place.
Pure. Must not know: events, streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable_streams.agents.codecs import chunk_names as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Part = dict[str, Any]
Chunk = dict[str, Any]

_OUTPUTS = {"output-available": names.TOOL_OUTPUT_AVAILABLE, "output-error": names.TOOL_OUTPUT_ERROR}


@dataclass(frozen=True, slots=True)
class Continued:
    """What a stream goes on from.

    Attributes:
        attempt_id: of the attempt that waited.
        parts: all of the message so far, answers in place.
        answers: the answers, by the id of the call; see ``agents.answers``.
        order: the message's place in its session.
        state: what the source has kept to go on with; any JSON.
    """

    attempt_id: str
    parts: Sequence[Part]
    answers: Mapping[str, Mapping[str, Any]]
    order: int | None = None
    state: object = None

    @property
    def calls(self) -> list[Part]:
        """The parts that are calls of tools."""
        return [part for part in self.parts if isinstance(part.get("toolCallId"), str)]

    def chunk(self) -> Chunk:
        """Return the chunk that says it."""
        said: Chunk = {"generationId": self.attempt_id, "parts": list(self.parts), "answers": dict(self.answers)}
        said |= {"order": self.order, "state": self.state}
        return {"type": names.CONTINUES, "data": said, "transient": True}


def continued(chunks: Iterable[Mapping[str, Any]]) -> Continued | None:
    """Return what a stream goes on from; ``None``: it is the first of its message."""
    for chunk in chunks:
        said = chunk.get("data")
        if chunk.get("type") == names.CONTINUES and isinstance(said, dict) and isinstance(said.get("parts"), list):
            parts = [part for part in said["parts"] if isinstance(part, dict) and isinstance(part.get("type"), str)]
            answers, order = said.get("answers"), said.get("order")
            return Continued(
                str(said.get("generationId")),
                parts,
                answers if isinstance(answers, dict) else {},
                order if isinstance(order, int) else None,
                said.get("state"),
            )
    return None


def replayed(parts: Iterable[Part]) -> Iterator[Chunk]:
    """Return chunks that say the parts of a message again, for a reader that has nothing of it."""
    is_in_step = False
    for number, part in enumerate(parts):
        kind = str(part.get("type"))
        if kind == "step-start":
            if is_in_step:
                yield {"type": names.FINISH_STEP}
            is_in_step = True
            yield {"type": names.START_STEP}
        elif kind in names.PART_ENDS:
            yield from _text_again(part, kind, f"again-{number}")
        elif isinstance(part.get("toolCallId"), str):
            yield from _call_again(part, kind.removeprefix("tool-"))
        elif kind.startswith(names.DATA_PREFIX) or kind in {names.FILE, names.SOURCE_URL}:
            yield {name: value for name, value in part.items() if name != "kept"}
    if is_in_step:
        yield {"type": names.FINISH_STEP}


def _text_again(part: Part, kind: str, part_id: str) -> Iterator[Chunk]:
    own = {names.METADATA: part[names.METADATA]} if names.METADATA in part else {}
    yield {"type": f"{kind}-start", "id": part_id}
    yield {"type": f"{kind}-delta", "id": part_id, names.DELTA: str(part.get("text", ""))}
    yield {"type": f"{kind}-end", "id": part_id, **own}


def _call_again(part: Part, tool: str) -> Iterator[Chunk]:
    named = {"toolCallId": part["toolCallId"]}
    yield {"type": names.TOOL_INPUT_AVAILABLE, **named, "toolName": tool, "input": part.get("input")}
    state, approval = part.get("state"), part.get("approval")
    if isinstance(approval, dict):
        yield {"type": names.TOOL_APPROVAL_REQUEST, **named, "approvalId": str(approval.get("id"))}
    if state in _OUTPUTS:
        said: Chunk = {name: part.get(name) for name in ("output", "errorText") if name in part}
        yield {"type": _OUTPUTS[state], **named, **said}
    elif state == "output-denied":
        yield {"type": names.TOOL_OUTPUT_DENIED, **named}

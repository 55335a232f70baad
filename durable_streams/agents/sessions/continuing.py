"""What the attempt is made of that goes on with a message after somebody has answered. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.continued import Continued
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.places import attempt_path
from durable_streams.agents.sessions.rows import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from durable_streams.agents.answers import Answer
    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.sessions.state import SessionState


def follower_of(
    waiting: Attempt, state: SessionState, *, session_id: str, gid: str, owner: str, now_ms: int
) -> Attempt:
    """Return the attempt that goes on with one that waits: at the session's next turn, in the same message."""
    return Attempt(
        id=gid,
        turn=state.turn_count,
        stream=attempt_path(session_id, gid),
        message_id=waiting.message_id,
        prompt=waiting.prompt,
        prompt_id=waiting.prompt_id,
        status="queued" if state.active() else "running",
        owner=owner,
        epoch=0,
        started_at=now_ms,
        started_by=waiting.started_by,
        agui=waiting.agui,
        continues=waiting.id,
        continuations=waiting.continuations + 1,
    )


def opening(
    follower: Attempt,
    message: Mapping[str, Any],
    *,
    answers: Mapping[str, Answer],
    waited: Sequence[Mapping[str, Any]],
    session_id: str,
) -> list[Chunk]:
    """Return what the stream of an attempt that goes on begins with.

    Args:
        follower: the attempt.
        message: so far, answers in place.
        answers: they.
        waited: the chunks of the attempt that waited, as far as they are still stored.
        session_id: the session.
    """
    state = next((one.get("data") for one in reversed(waited) if one.get("type") == names.PAUSED), None)
    said = {call_id: answer.told() for call_id, answer in answers.items()}
    earlier = Continued(str(follower.continues), message["parts"], said, message.get("order"), state)
    [start] = UiChunks().begin(Identity(follower.message_id, follower.id, session_id))
    # Clients merge metadata: what the first part waited for would stay in it.
    start["messageMetadata"] = {"generationId": follower.id, "waiting": []}
    return [start, earlier.chunk(), *_told(earlier, answers)]


def _told(earlier: Continued, answers: Mapping[str, Answer]) -> Iterator[Chunk]:
    """Tell the calls that were answered, and the answers.

    Clients that resume forget what they have of the message, and fail on a result of a call that they do not know.
    """
    for part in earlier.calls:
        answer = answers.get(part["toolCallId"])
        if answer is not None:
            tool, called = part["type"].removeprefix("tool-"), {"input": part.get("input")}
            yield {"type": names.TOOL_INPUT_AVAILABLE, "toolCallId": answer.call_id, "toolName": tool, **called}
            if (told := answer.chunk()) is not None:
                yield told


def opening_bytes(chunks: Iterable[Mapping[str, Any]]) -> bytes:
    """Return chunks as the first content of a stream."""
    return b"[" + b",".join(encoded(chunk) for chunk in chunks) + b"]"

"""Whose a session's next turn is: won by one append that only one writer can have accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.agents.sessions.continuing import opening_bytes
from durable_streams.agents.sessions.places import JSON, attempt_path
from durable_streams.agents.sessions.rows import Attempt
from durable_streams.agents.sessions.taking import handed_request
from durable_streams.client import ProducerTriple, SequenceGapError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.prompts import Plan, Prompt
    from durable_streams.agents.sessions.session import Session
    from durable_streams.agents.sessions.state import SessionState


def attempt_at(  # noqa: PLR0913 what an attempt is made of
    planned: Plan, prompt: Prompt, state: SessionState, *, session_id: str, gid: str, owner: str, now_ms: int
) -> Attempt:
    """Return an attempt at a prompt's answer, at the session's next turn."""
    return Attempt(
        id=gid,
        turn=state.turn_count,
        stream=attempt_path(session_id, gid),
        message_id=f"msg-{gid}",
        prompt=planned.key,
        prompt_id=planned.prompt_id,
        status="queued" if state.active() else "running",
        owner=owner,
        epoch=0,
        started_at=now_ms,
        started_by=prompt.by,
        retry_of=next((one.id for one in reversed(state.attempts.values()) if one.prompt == planned.key), None),
        agui=prompt.agui,
        run_id=prompt.run_id,
        request=handed_request(prompt.request),
    )


async def win_turn(
    places: Places,
    session: Session,
    attempt: Attempt,
    *,
    rows: Sequence[bytes],
    begin: Sequence[Chunk],
    ttl_s: int,
) -> bool:
    """Create an attempt's stream and append the rows as the session's next turn.

    Returns:
        Whether the turn is its; if somebody else was first, its stream is of no use.

    Raises:
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    stream = places.stream(attempt.stream)
    # Its first chunks come with it: whoever ends it then need not know whether it had begun.
    await stream.create_stream(content_type=JSON, ttl_seconds=ttl_s, body=opening_bytes(begin))
    try:
        result = await session.append(ProducerTriple("turn", 0, attempt.turn), rows)
    except SequenceGapError:
        is_won = False
    else:
        if result.duplicate:
            await session.refresh()
        is_won = not result.duplicate or attempt.id in session.state.attempts
    return is_won

"""Whose a run is: won by a row of the session that only one process can have appended.

Owner k of a run writes the run's row under ``row:{gid}``, k, and its first one there has won it. So of all who find a
run without an owner one goes on with it, or ends it, and an owner that comes back is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.endings import row_triple
from durable_streams.agents.sessions.rows import attempt_row
from durable_streams.client import StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.agents.sessions.session import Session

REQUEST_MAX_BYTES: Final = 16 * 1024
"""Of a request's further fields in a run's row; a run with more is not handed on."""


async def take(session: Session, attempt: Attempt, name: str) -> Attempt | None:
    """Make a run this process's own, and return it; ``None`` if another one was first, or it has ended.

    Raises:
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    taken = replace(attempt, owner=name, epoch=attempt.epoch + 1)
    try:
        result = await session.append(row_triple(taken.id, taken.epoch, 0), [attempt_row(taken)])
    except StaleEpochError:
        return None
    if not result.duplicate:
        return taken
    known = (await session.refresh()).attempts[taken.id]
    return taken if (known.owner, known.epoch) == (name, taken.epoch) else None


def handed_request(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a run's row has of a request, for whoever goes on with it."""
    return dict(request) if len(encoded(request)) <= REQUEST_MAX_BYTES else None

"""What becomes of endings beside the session's own rows: counts, tokens on account, and whoever wants to be told.

An ending is noted durably before the session's final row is written, and each note is accepted once, so none is lost by
a crash between the two and none counts twice. Callbacks come after it, from the process that has written the row.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import structlog

from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.places import JSON
from durable_streams.agents.usage import told_usage
from durable_streams.client import ProducerTriple, StreamNotFoundError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from durable_streams.agents.sessions.counts import Counts
    from durable_streams.agents.sessions.ended import OnFinish, RunEnded
    from durable_streams.agents.sessions.ledger import Ledger
    from durable_streams.agents.sessions.places import Places

ENDINGS_PATH: Final = "agents/endings"
"""Where endings wait to be delivered by webhook, if one is configured."""
ENDINGS_TTL_S: Final = 7 * 24 * 3600

log = structlog.get_logger(__name__)


class Outcomes:
    """Notes endings.

    Args:
        places: where the streams are.
        counts: counts them.
        ledger: has their tokens on account.
        on_finish: called with each, in a task or a thread of its own; what it raises is logged.
        delivers: whether they are to be delivered by webhook.
    """

    def __init__(
        self, places: Places, *, counts: Counts, ledger: Ledger, on_finish: Sequence[OnFinish] = (), delivers: bool
    ) -> None:
        self._places, self._counts, self._ledger = places, counts, ledger
        self._on_finish, self._delivers = on_finish, delivers

    async def note(self, ended: RunEnded) -> None:
        """Note an ending durably, wherever it is wanted; again changes nothing.

        Raises:
            DurableStreamError, FetchError: the server refused or cannot be reached.
        """
        await self._ledger.note(ended)
        if self._delivers:
            await self._append(ended)

    def written(self, ended: RunEnded) -> list[Coroutine[Any, Any, None]]:
        """Count an ending whose row this process has written, and return who is to be told, as work to be done."""
        self._counts.ended(ended.attempt.status, ended.usage)
        return [_tell(callback, ended) for callback in self._on_finish]

    async def _append(self, ended: RunEnded) -> None:
        stream = self._places.stream(ENDINGS_PATH)
        triple = ProducerTriple(f"ending:{ended.attempt.id}", 0, 0)
        body = [encoded(told(ended))]
        try:
            await stream.append_as(triple, body)
        except StreamNotFoundError:
            await create_endings(self._places)
            await stream.append_as(triple, body)


async def create_endings(places: Places) -> None:
    """Create the stream in which endings wait."""
    await places.stream(ENDINGS_PATH).create_stream(content_type=JSON, ttl_seconds=ENDINGS_TTL_S)


def told(ended: RunEnded) -> dict[str, Any]:
    """Return what a webhook says of an ending; the answer itself is in the session."""
    return {
        "type": "run.ended",
        "session": ended.session_id,
        "generation": asdict(ended.attempt),
        "usage": told_usage(ended.usage),
    }


async def _tell(callback: OnFinish, ended: RunEnded) -> None:
    try:
        if inspect.iscoroutinefunction(callback):
            await callback(ended)
            return
        result = await asyncio.to_thread(callback, ended)
        if inspect.isawaitable(result):
            await result
    except Exception:
        log.exception("on_finish_failed", session=ended.session_id, attempt=ended.attempt.id)

"""What runs of one session keep for each other, as rows of the session.

Invariant: of two processes that summarise the same turns the first one's summary is kept, and both come to use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.agents.sessions.rows import summary_row
from durable_streams.client import ProducerTriple

if TYPE_CHECKING:
    from durable_streams.agents.runs.run import Summary
    from durable_streams.agents.sessions.session import Session


class SessionMemory:
    """A session's memory; see ``Memory``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def recall(self) -> list[Summary]:
        """Return the stored summaries; see ``Memory``."""
        return list(self._session.state.summaries.values())

    async def keep(self, summary: Summary) -> None:
        """Store a summary; see ``Memory``."""
        await self._session.append(ProducerTriple(f"summary:{summary.digest}", 0, 0), [summary_row(summary)])

"""An ended run, as it is told to counts, accounts, callbacks and webhooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from durable_streams.agents.events import Usage
    from durable_streams.agents.sessions.rows import Attempt


@dataclass(frozen=True, slots=True)
class RunEnded:
    """An ended run.

    Attributes:
        session_id: its session.
        attempt: its final row.
        message: the answer, as far as it was written.
        usage: tokens that it took, as far as known.
    """

    session_id: str
    attempt: Attempt
    message: dict[str, Any]
    usage: Usage


OnFinish: TypeAlias = Callable[[RunEnded], Awaitable[None] | None]
"""What is called, or awaited, with each run that has ended here."""

"""Tokens on account: how many a session, a person and everybody may take, over all processes.

Each answer's tokens are noted in a stream of the day it began on, under a triple of its own. Whoever takes a prompt
reads what is new there. An answer counts once it has ended, so those that are being written may go beyond a limit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import AgentError
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.places import JSON
from durable_streams.agents.usage import usage_told
from durable_streams.client import ProducerTriple, StreamNotFoundError

if TYPE_CHECKING:
    from durable_streams.agents.events import Usage
    from durable_streams.agents.sessions.ended import RunEnded
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.state import SessionState
    from durable_streams.runtime.clock import Clock

TTL_S: Final = 3 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Limits:
    """How many tokens, of prompts and answers together, may be taken; ``None``: any number.

    Attributes:
        session_tokens: by one session, for good.
        user_day_tokens: by one person, as prompts name them in ``by``, in a day (UTC).
        day_tokens: by everybody in a day.
    """

    session_tokens: int | None = None
    user_day_tokens: int | None = None
    day_tokens: int | None = None

    @property
    def daily(self) -> bool:
        """Whether days have to be kept account of."""
        return self.user_day_tokens is not None or self.day_tokens is not None


class SessionLimitError(AgentError):
    """A session has taken all the tokens it may; time does not help."""

    public = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"this session has taken the {limit} tokens that it may; begin a new one")


class DayLimitError(AgentError):
    """A person, or everybody, has taken all the tokens of the day.

    Attributes:
        retry_after_s: until the next day begins.
    """

    public = True

    def __init__(self, whose: str, limit: int, *, retry_after_s: int) -> None:
        super().__init__(f"{whose} {limit} tokens of today have been taken; more come at midnight UTC")
        self.retry_after_s = retry_after_s


class Ledger:
    """One process's view of the accounts."""

    def __init__(self, places: Places, clock: Clock, limits: Limits) -> None:
        self._places, self._clock, self._limits = places, clock, limits
        self._day: str | None = None
        self._offset: str | None = None
        self._taken: Counter[str] = Counter()

    async def check(self, state: SessionState, by: str | None) -> None:
        """Return if another prompt may be taken.

        Args:
            state: of its session.
            by: whose it is.

        Raises:
            SessionLimitError, DayLimitError: it may not.
            DurableStreamError, FetchError: the server refused or cannot be reached.
        """
        limits = self._limits
        if limits.session_tokens is not None:
            taken = sum(_tokens(usage_told(one.usage)) for one in state.attempts.values())
            if taken >= limits.session_tokens:
                raise SessionLimitError(limits.session_tokens)
        if not limits.daily:
            return
        await self._read()
        if limits.user_day_tokens is not None and self._taken[by or ""] >= limits.user_day_tokens:
            raise DayLimitError("your", limits.user_day_tokens, retry_after_s=self._left_s())
        if limits.day_tokens is not None and self._taken.total() >= limits.day_tokens:
            raise DayLimitError("all", limits.day_tokens, retry_after_s=self._left_s())

    async def note(self, ended: RunEnded) -> None:
        """Put an answer's tokens on its day's account, once.

        Raises:
            DurableStreamError, FetchError: the server refused or cannot be reached.
        """
        tokens = _tokens(ended.usage)
        if not self._limits.daily or not tokens:
            return
        attempt = ended.attempt
        entry = {"generation": attempt.id, "by": attempt.started_by or "", "tokens": tokens}
        triple = ProducerTriple(f"usage:{attempt.id}", 0, 0)
        stream = self._places.stream(_path(_day_of(attempt.started_at)))
        try:
            await stream.append_as(triple, [encoded(entry)])
        except StreamNotFoundError:
            await stream.create_stream(content_type=JSON, ttl_seconds=TTL_S)
            await stream.append_as(triple, [encoded(entry)])

    async def _read(self) -> None:
        day = _day_of(self._clock.now_ms())
        if day != self._day:
            self._day, self._offset, self._taken = day, None, Counter()
        try:
            async with self._places.stream(_path(day)).stream(offset=self._offset, live=False) as response:
                entries = await response.read_json()
                offset = response.offset
        except StreamNotFoundError:
            return
        # Two that read at the same time bring the same entries: the first counts them.
        if day == self._day and (self._offset is None or offset > self._offset):
            self._offset = offset
            for entry in entries:
                self._count(entry)

    def _count(self, entry: Any) -> None:  # noqa: ANN401 anybody may have written it
        if isinstance(entry, dict) and isinstance(entry.get("tokens"), int) and isinstance(entry.get("by"), str):
            self._taken[entry["by"]] += entry["tokens"]

    def _left_s(self) -> int:
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return max(1, round((tomorrow - now).total_seconds()))


def _tokens(usage: Usage | None) -> int:
    return 0 if usage is None else usage.input_count + usage.output_count


def _day_of(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def _path(day: str) -> str:
    return f"agents/usage/{day}"

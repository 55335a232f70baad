"""What an adapter process is told, and the bounds it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from durable_streams.agents.errors import AgentError
from durable_streams.agents.runs.writer import Pace
from durable_streams.agents.sessions.ledger import Limits

if TYPE_CHECKING:
    from durable_streams.agents.sessions.webhook import Target

Busy: TypeAlias = Literal["reject", "interrupt", "enqueue"]
"""What becomes of a new prompt while an answer is being written."""


class InvalidSettingsError(AgentError):
    """Settings that contradict each other."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one adapter process.

    Attributes:
        streams_url: root of the streams server.
        public_streams_url: the same root as clients reach it; ``None``: the same.
        on_busy: what becomes of a new prompt while an answer is being written.
        lease_ms: a process silent for so long is taken for dead; each announces its own.
        renew_ms: time between two signs of life.
        grace_ms: how long an owner has for its own tidy ending of a stopped run.
        drain_ms: how long running answers may go on when the process is to end.
        presence_ms: how long somebody counts as present after the last sign.
        attempt_ttl_s: unread attempts are forgotten after this; their messages stay in the session.
        continuations_max: how often one message may go on after it has waited for somebody's answer.
        pace: how deltas are gathered.
        limits: how many tokens may be taken.
        webhook: where endings are delivered to.
        show_errors: readers are told exceptions' own texts; for development.

    Raises:
        InvalidSettingsError: they contradict each other.
    """

    streams_url: str = "http://127.0.0.1:4437/v1/stream"
    public_streams_url: str | None = None
    on_busy: Busy = "reject"
    lease_ms: int = 15_000
    renew_ms: int = 5_000
    grace_ms: int = 250
    drain_ms: int = 20_000
    presence_ms: int = 60_000
    attempt_ttl_s: int = 7 * 24 * 3600
    continuations_max: int = 32
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    webhook: Target | None = None
    show_errors: bool = False

    def __post_init__(self) -> None:
        if self.renew_ms * 2 > self.lease_ms:
            raise InvalidSettingsError("renew_ms is at most half of lease_ms, or one late renewal loses a run")

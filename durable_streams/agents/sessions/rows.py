"""State-Protocol rows of a session: what they hold and how they are written.

Rows are always whole: some readers merge an update into the row, others replace it.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from durable_streams.agents.codecs.pending import pending_told
from durable_streams.agents.plain import encoded
from durable_streams.agents.runs.run import Summary

if TYPE_CHECKING:
    from durable_streams.agents.answers import Answer
    from durable_streams.agents.events import Pending

Status: TypeAlias = Literal["queued", "running", "waiting", "finished", "aborted", "failed", "lost"]

ACTIVE: Final = frozenset({"queued", "running"})
MESSAGE: Final = "message"
ATTEMPT: Final = "generation"
PRESENCE: Final = "presence"
CONTROL: Final = "control"
SUMMARY: Final = "summary"
SESSION: Final = "session"
"""What the session is called, once somebody has named it."""
VERSION: Final = "version"
"""An answer that another one has taken the place of."""
ANSWER: Final = "answer"
"""What somebody has answered to a run that waits."""
OWN_TYPES: Final = frozenset({MESSAGE, ATTEMPT, PRESENCE, CONTROL, SUMMARY, SESSION, VERSION, ANSWER})
"""Types that only the adapter writes."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at an answer, as its row says.

    Attributes:
        id: its id.
        turn: its number in the session, from 0; lower ones come first.
        stream: path of its chunks below the root.
        message_id: of the assistant's message it writes.
        prompt: what makes two posts the same prompt.
        prompt_id: id of the user's message it answers.
        status: ``queued``, ``running``, ``waiting`` for somebody's answer, or how it ended.
        owner: the adapter process that runs it.
        epoch: the owner's producer epoch: how often another process has taken over.
        started_at: Unix milliseconds.
        started_by: who asked.
        retry_of: the earlier attempt at the same prompt.
        agui: whether it is also told in the session's AG-UI stream.
        run_id: the asker's own name for it.
        ended_at: Unix milliseconds, once it has ended.
        stopped_by: who stopped it.
        reason: why it was stopped or failed.
        final_offset: tail of its closed stream.
        finish_reason: why the model ended by itself, if it did: all but ``stop`` is less than a whole answer.
        usage: tokens it has taken, once it has ended and as far as known: ``agents.usage`` has the names.
        request: what its source was asked for besides, while it has not ended; ``None``: too large to be handed on.
        waiting: what it waits for, or has waited for: ``codecs.pending`` has the form.
        continues: the attempt that waited, and that this one goes on with, in the same message.
        continuations: how many attempts this one goes on from.
    """

    id: str
    turn: int
    stream: str
    message_id: str
    prompt: str
    prompt_id: str
    status: Status
    owner: str
    epoch: int
    started_at: int
    started_by: str | None = None
    retry_of: str | None = None
    agui: bool = False
    run_id: str | None = None
    ended_at: int | None = None
    stopped_by: str | None = None
    reason: str | None = None
    final_offset: str | None = None
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    request: dict[str, Any] | None = None
    waiting: list[dict[str, Any]] | None = None
    continues: str | None = None
    continuations: int = 0

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ACTIVE

    @property
    def pending(self) -> tuple[Pending, ...]:
        """What it waits for, or has waited for."""
        return pending_told(self.waiting)


_SUMMARY_KINDS: Final[dict[str, type]] = {"upto": str, "text": str, "digest": str, "turn_count": int}
_NAMES: Final = frozenset(field.name for field in fields(Attempt))
_KINDS: Final[dict[str, type]] = {
    field.name: int if field.type == "int" else str for field in fields(Attempt) if field.default is MISSING
}
"""Fields that every attempt's row has."""


def attempt_of(value: dict[str, Any]) -> Attempt | None:
    """Return an attempt from its row's value; unknown fields are skipped. ``None``: it is no attempt's row."""
    known = {name: value[name] for name in value if name in _NAMES}
    if not all(isinstance(known.get(name), kind) for name, kind in _KINDS.items()):
        return None
    if not isinstance(known.get("request"), dict):
        known["request"] = None
    if not isinstance(known.get("continuations"), int):
        known["continuations"] = 0
    return Attempt(**known)


def is_message(value: dict[str, Any]) -> bool:
    """Return whether a row's value is a message, as whoever reads a session relies on."""
    parts = value.get("parts")
    return (
        isinstance(value.get("id"), str)
        and isinstance(value.get("role"), str)
        and isinstance(parts, list)
        and all(isinstance(part, dict) for part in parts)
    )


def summary_of(value: dict[str, Any]) -> Summary | None:
    """Return a summary from its row's value; ``None``: it is no summary's row."""
    known = {name: value.get(name) for name in _SUMMARY_KINDS}
    if not all(isinstance(known[name], kind) for name, kind in _SUMMARY_KINDS.items()):
        return None
    return Summary(**cast("Any", known))


def summary_row(summary: Summary) -> bytes:
    """Return the row of a summary."""
    return row(SUMMARY, summary.digest, asdict(summary))


def answer_row(gid: str, answer: Answer) -> bytes:
    """Return the row of an answer to what an attempt waits for."""
    return row(ANSWER, f"{gid}:{answer.call_id}", {**answer.told(), "generation": gid})


def place_of(message: dict[str, Any]) -> int:
    """Return a message's place in its session, as every reader sorts by it; one without is before all others."""
    order = message.get("order")
    return order if isinstance(order, int) else -1


def is_version(value: dict[str, Any]) -> bool:
    """Return whether a row's value is an answer that another one has taken the place of."""
    message = value.get("message")
    return isinstance(value.get("prompt_id"), str) and isinstance(message, dict) and is_message(message)


def attempt_row(attempt: Attempt, operation: str = "update", txid: str | None = None) -> bytes:
    """Return the row of an attempt."""
    return row(ATTEMPT, attempt.id, asdict(attempt), operation=operation, txid=txid)


def message_row(message: dict[str, Any], txid: str | None = None) -> bytes:
    """Return the row of a message; inserting one that exists replaces it."""
    return row(MESSAGE, message["id"], message, operation="insert", txid=txid)


def row(
    kind: str, key: str, value: dict[str, Any] | None, *, operation: str = "insert", txid: str | None = None
) -> bytes:
    """Return a change event as JSON; ``value`` is ``None`` for a deletion."""
    headers = {"operation": operation} if txid is None else {"operation": operation, "txid": txid}
    event: dict[str, Any] = {"type": kind, "key": key, "headers": headers}
    if value is not None:
        event["value"] = value
    return encoded(event)


def deletion(kind: str, key: str) -> bytes:
    """Return the event that deletes a row."""
    return row(kind, key, None, operation="delete")

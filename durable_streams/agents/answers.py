"""Answers to what a paused run waits for: given by anybody, in any form a client has, and put where they belong.

Pure. Must not know: sessions, streams. Invariant: what is taken answers what was asked: a result for a call that
somebody else runs, a yes or no for one that needs approval, a value for a question.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.errors import AgentError
from durable_streams.agents.plain import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.agents.events import Pending

Part = dict[str, Any]

ANSWER_MAX_BYTES: Final = 2**20
"""Of an answer, as JSON."""
TEXT_MAX_CHARS: Final = 1_000
"""Of a reason or a name; what is beyond is cut off."""
NOT_ANSWERED: Final = "not answered: the conversation went on without it"
"""The error of a call that somebody was to answer when another prompt came."""
_SETTLED: Final = frozenset({"output-available", "output-error", "output-denied"})


class InvalidAnswerError(AgentError):
    """An answer that is none to what was asked."""

    public = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        call_id: to which call or question.
        output: the result or the value.
        error: why there is no result.
        approved: whether the call may run; ``None``: that was not the question.
        reason: why or why not, for people and the model.
        by: who said so.
        at_ms: Unix milliseconds; 0 is not recorded.
    """

    call_id: str
    output: object = None
    error: str | None = None
    approved: bool | None = None
    reason: str | None = None
    by: str | None = None
    at_ms: int = 0

    def says_as(self, other: Answer) -> bool:
        """Return whether another says the same, whoever said it when."""
        return (self.output, self.error, self.approved) == (other.output, other.error, other.approved)

    def told(self) -> dict[str, Any]:
        """Return it as JSON; fields that say nothing are left out, but for an output."""
        return {name: value for name, value in asdict(self).items() if value is not None or name == "output"}

    def on(self, part: Part) -> Part:
        """Return a call's part with the answer in place."""
        if self.approved is None:
            if self.error is not None:
                return {**part, "state": "output-error", "errorText": self.error}
            return {**part, "state": "output-available", "output": self.output}
        said = {"approved": self.approved} | ({} if self.reason is None else {"reason": self.reason})
        state = "approval-responded" if self.approved else "output-denied"
        return {**part, "state": state, "approval": {"id": self.call_id, **said}}

    def chunk(self) -> dict[str, Any] | None:
        """Return what tells it to readers of the call; nothing of an approval: the result will."""
        named = {"toolCallId": self.call_id}
        if self.approved is None and self.error is not None:
            return {"type": names.TOOL_OUTPUT_ERROR, **named, "errorText": self.error}
        if self.approved is None:
            return {"type": names.TOOL_OUTPUT_AVAILABLE, **named, "output": self.output}
        return None if self.approved else {"type": names.TOOL_OUTPUT_DENIED, **named}


_NAMES: Final = frozenset(field.name for field in fields(Answer))
_TEXTS: Final = ("error", "reason", "by")


def answer_told(said: Mapping[str, Any]) -> Answer | None:
    """Return an answer from its JSON; ``None``: it is none."""
    known = {name: said[name] for name in said if name in _NAMES}
    if not isinstance(known.get("call_id"), str) or not isinstance(known.get("approved"), bool | None):
        return None
    if not all(isinstance(known.get(name), str | None) for name in _TEXTS):
        return None
    return Answer(**known)


def answers_told(said: Mapping[str, Mapping[str, Any]]) -> dict[str, Answer]:
    """Return answers from their JSON, by the id of the call; what is none is skipped."""
    answers = (answer_told(one) for one in said.values())
    return {answer.call_id: answer for answer in answers if answer is not None}


def checked_answer(pending: Pending, given: Mapping[str, Any]) -> Answer:
    """Return the answer in a body: ``output`` or ``errorText``, or ``approved``; and ``reason`` and ``by``.

    Raises:
        InvalidAnswerError: it has not what was asked for, or is too large.
    """
    approved, error = given.get("approved"), given.get("errorText")
    reason, by = (_text(given.get(name)) for name in ("reason", "by"))
    if pending.kind == "approval":
        if not isinstance(approved, bool):
            raise InvalidAnswerError(f"{pending.call_id} waits for an approval: approved is true or false")
        return Answer(pending.call_id, approved=approved, reason=reason, by=by)
    if (error is None) == ("output" not in given) or not isinstance(error, str | None):
        raise InvalidAnswerError(f"{pending.call_id} waits for a value: give output, or errorText")
    answer = Answer(pending.call_id, output=given.get("output"), error=error, reason=reason, by=by)
    if len(encoded(answer.told())) > ANSWER_MAX_BYTES:
        raise InvalidAnswerError(f"an answer has {ANSWER_MAX_BYTES} bytes at most")
    return answer


def answer_in(part: Part, pending: Pending, by: str | None) -> Answer | None:
    """Return the answer that a client has put into its message; ``None`` if it has not, or not to what was asked.

    Raises:
        InvalidAnswerError: it is too large.
    """
    state, approval = part.get("state"), part.get("approval")
    if pending.kind == "approval":
        if state not in {"approval-responded", "output-denied"} or not isinstance(approval, dict):
            return None
        approved = state == "approval-responded" and approval.get("approved")
        said = {"approved": approved, "reason": approval.get("reason"), "by": by}
        return checked_answer(pending, said) if isinstance(approved, bool) else None
    if state == "output-available":
        return checked_answer(pending, {"output": part.get("output"), "by": by})
    if state == "output-error":
        return checked_answer(pending, {"errorText": str(part.get("errorText", "")), "by": by})
    return None


def answered_parts(parts: list[Part], answers: Mapping[str, Answer]) -> list[Part]:
    """Return the parts with the answers in place."""
    return [
        answers[part["toolCallId"]].on(part)
        if part.get("toolCallId") in answers and part.get("state") not in _SETTLED
        else part
        for part in parts
    ]


def closed_parts(parts: list[Part], pending: tuple[Pending, ...], answers: Mapping[str, Answer]) -> list[Part]:
    """Return the parts with what was answered in place, and the rest told as not answered; nothing of it will run."""
    asked = {one.call_id for one in pending}
    closed = answered_parts(parts, answers)
    return [
        {**part, "state": "output-error", "errorText": NOT_ANSWERED}
        if part.get("toolCallId") in asked and part.get("state") not in _SETTLED
        else part
        for part in closed
    ]


def _text(given: object) -> str | None:
    return given[:TEXT_MAX_CHARS] if isinstance(given, str) and given else None

"""What a session's rows amount to. Pure; every process that reads the same log comes to the same state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.answers import answer_told
from durable_streams.agents.sessions.rows import (
    ANSWER,
    ATTEMPT,
    CONTROL,
    MESSAGE,
    PRESENCE,
    SESSION,
    SUMMARY,
    VERSION,
    Attempt,
    attempt_of,
    is_message,
    is_version,
    place_of,
    summary_of,
)
from durable_streams.agents.usage import summed

if TYPE_CHECKING:
    from durable_streams.agents.answers import Answer
    from durable_streams.agents.runs.run import Summary


class SessionState:
    """Messages in the order of the conversation, their other versions, attempts, presence, stops and summaries."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.attempts: dict[str, Attempt] = {}
        self.presence: dict[str, dict[str, Any]] = {}
        self.controls: dict[str, dict[str, Any]] = {}
        self.summaries: dict[str, Summary] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.about: dict[str, Any] = {}
        self.answers: dict[str, dict[str, Answer]] = {}
        self.turn_count = 0

    def apply(self, event: dict[str, Any]) -> None:
        """Take the next event of the log; what is not a row of ours changes nothing."""
        kind, key = event.get("type"), event.get("key")
        if not isinstance(key, str):
            return
        value, headers = event.get("value"), event.get("headers")
        if isinstance(headers, dict) and headers.get("operation") == "delete":
            self._kept(str(kind)).pop(key, None)
        elif isinstance(value, dict):
            self._put(kind, key, value)

    def _kept(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the rows of a type that can be deleted."""
        return {MESSAGE: self.messages, PRESENCE: self.presence, VERSION: self.versions}.get(kind, {})

    def _put(self, kind: object, key: str, value: dict[str, Any]) -> None:
        if kind == MESSAGE and is_message(value):
            self._place(key, value)
        elif kind == ATTEMPT and (attempt := attempt_of(value)) is not None:
            self.attempts[key] = attempt
            self.turn_count = max(self.turn_count, attempt.turn + 1)
        elif kind == PRESENCE and isinstance(value.get("expires_at", 0), int):
            self.presence[key] = value
        elif kind == CONTROL and isinstance(value.get("stop"), dict):
            self.controls[key] = value
        elif kind == SUMMARY and (summary := summary_of(value)) is not None:
            self.summaries.setdefault(key, summary)
        elif kind == SESSION:
            self.about = value
        elif kind == VERSION and is_version(value):
            self.versions[key] = value
        elif kind == ANSWER and (answer := answer_told(value)) is not None:
            self.answers.setdefault(str(value.get("generation")), {}).setdefault(answer.call_id, answer)

    def _place(self, key: str, message: dict[str, Any]) -> None:
        """Put a message where it belongs: an answer's row comes after those of prompts that waited for it."""
        self.messages.pop(key, None)
        is_last = not self.messages or place_of(self.messages[next(reversed(self.messages))]) <= place_of(message)
        self.messages[key] = message
        if not is_last:
            self.messages = dict(sorted(self.messages.items(), key=lambda one: place_of(one[1])))

    def active(self) -> list[Attempt]:
        """Return the attempts that have not ended, in turn order; the first is the one that runs."""
        return sorted((one for one in self.attempts.values() if one.active), key=lambda one: one.turn)

    def waiting(self) -> list[Attempt]:
        """Return the attempts that wait for somebody's answer, in turn order."""
        waiting = (one for one in self.attempts.values() if one.status == "waiting")
        return sorted(waiting, key=lambda one: one.turn)

    def latest_of(self, message_id: str) -> Attempt | None:
        """Return the last attempt that writes a message."""
        of_it = (one for one in self.attempts.values() if one.message_id == message_id)
        return max(of_it, key=lambda one: one.turn, default=None)

    def usage(self) -> dict[str, Any]:
        """Return the tokens of all runs that have ended, and those of each person who asked for them."""
        runs = [(one.started_by, one.usage) for one in self.attempts.values() if one.usage is not None]
        people = sorted({by for by, _ in runs if by is not None})
        of_each = {name: summed(usage for by, usage in runs if by == name) for name in people}
        return {"usage": summed(usage for _, usage in runs), "by": of_each}

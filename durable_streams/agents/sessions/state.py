"""What a session's rows amount to. Pure; every process that reads the same log comes to the same state."""

from __future__ import annotations

from typing import Any

from durable_streams.agents.sessions.rows import (
    CONTROL,
    GENERATION,
    MESSAGE,
    PRESENCE,
    Generation,
    generation_of,
    is_message,
)


class SessionState:
    """Messages in order, generations by turn, presence, and stops asked for."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.generations: dict[str, Generation] = {}
        self.presence: dict[str, dict[str, Any]] = {}
        self.controls: dict[str, dict[str, Any]] = {}
        self.turn_count = 0

    def apply(self, event: dict[str, Any]) -> None:
        """Take the next event of the log; what is not a row of ours changes nothing."""
        kind, key = event.get("type"), event.get("key")
        if not isinstance(key, str):
            return
        value, headers = event.get("value"), event.get("headers")
        if isinstance(headers, dict) and headers.get("operation") == "delete":
            {MESSAGE: self.messages, PRESENCE: self.presence}.get(str(kind), {}).pop(key, None)
        elif isinstance(value, dict):
            self._put(kind, key, value)

    def _put(self, kind: object, key: str, value: dict[str, Any]) -> None:
        if kind == MESSAGE and is_message(value):
            self.messages[key] = value
        elif kind == GENERATION and (generation := generation_of(value)) is not None:
            self.generations[key] = generation
            self.turn_count = max(self.turn_count, generation.turn + 1)
        elif kind == PRESENCE and isinstance(value.get("expires_at", 0), int):
            self.presence[key] = value
        elif kind == CONTROL and isinstance(value.get("stop"), dict):
            self.controls[key] = value

    def active(self) -> list[Generation]:
        """Return the generations that have not ended, in turn order; the first is the one that runs."""
        return sorted((one for one in self.generations.values() if one.active), key=lambda one: one.turn)

    def lapsed(self, now_ms: int, skew_ms: int) -> list[Generation]:
        """Return the active ones whose owner has not renewed in time."""
        return [one for one in self.active() if one.lease_until + skew_ms < now_ms]

"""What users and tools add to a session beside prompts: their own rows, and that they are there.

A row that is not valid would break every later reader for good, as they all start from the beginning; so nothing gets
in unchecked, and the adapter's own types are its own.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from durable_streams.agents.errors import AgentError
from durable_streams.agents.sessions.rows import OWN_TYPES, PRESENCE, deletion, row
from durable_streams.client import DurableStreamError, ProducerTriple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.sessions.session import Session

OPERATIONS: Final = frozenset({"insert", "update", "upsert", "delete"})
PRESENT_MAX: Final = 1000
"""Presence rows of one session; more are turned away."""


class InvalidEventError(AgentError):
    """Not a State-Protocol change event, or one that only the adapter writes."""

    public = True


async def add_events(session: Session, events: Sequence[object], key: str | None) -> None:
    """Append change events as one.

    Args:
        session: where to.
        events: objects with ``type``, ``key``, ``headers.operation`` and, unless deleted, ``value``.
        key: makes a repeated call add them once; ``None`` adds them each time.

    Raises:
        InvalidEventError: one of them is not valid; none was added.
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    if not events:
        raise InvalidEventError("no events")
    bodies = [orjson.dumps(_checked(event)) for event in events]
    await session.ensure()
    # One append is one message, so several travel as a producer's.
    await _append(session, f"event:{session.fresh_id() if key is None else key}", bodies)


async def be_present(session: Session, key: str, value: dict[str, Any], *, now_ms: int, lasts_ms: int) -> None:
    """Write that somebody is there, and remove whoever has not said so in time.

    Args:
        session: where.
        key: of the person's tab.
        value: name, ``typing``, whatever clients agree on; ``leave`` true removes the row.
        now_ms: Unix milliseconds.
        lasts_ms: for how long it counts.

    Raises:
        InvalidEventError: too many are present.
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    await session.ensure()
    state = await session.refresh()
    gone = [other for other, one in state.presence.items() if one.get("expires_at", 0) < now_ms and other != key]
    if value.pop("leave", False):
        rows = [deletion(PRESENCE, other) for other in {*gone, key} if other in state.presence]
    else:
        if key not in state.presence and len(state.presence) - len(gone) >= PRESENT_MAX:
            raise InvalidEventError(f"more than {PRESENT_MAX} are present")
        present = {**value, "id": key, "at": now_ms, "expires_at": now_ms + lasts_ms}
        rows = [*(deletion(PRESENCE, other) for other in gone), row(PRESENCE, key, present)]
    if rows:
        await _append(session, f"presence:{session.fresh_id()}", rows)


async def _append(session: Session, producer_id: str, rows: Sequence[bytes]) -> None:
    try:
        await session.append(ProducerTriple(producer_id, 0, 0), rows)
    except DurableStreamError as refusal:
        if refusal.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise
        raise InvalidEventError("this is larger than the streams server takes at once") from refusal


def _checked(event: object) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise InvalidEventError("an event is an object")
    kind, key, headers = event.get("type"), event.get("key"), event.get("headers")
    if not isinstance(kind, str) or not kind or not isinstance(key, str) or not key:
        raise InvalidEventError("an event has a type and a key, both non-empty strings")
    if kind in OWN_TYPES:
        raise InvalidEventError(f"events of type {kind!r} are the adapter's own")
    if not isinstance(headers, dict) or headers.get("operation") not in OPERATIONS:
        raise InvalidEventError(f"headers.operation is one of {', '.join(sorted(OPERATIONS))}")
    if headers["operation"] != "delete" and not isinstance(event.get("value"), dict):
        raise InvalidEventError("value is an object, unless the operation is delete")
    return event

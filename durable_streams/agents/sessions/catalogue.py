"""The list of all sessions, a stream of its own: what it says, and how a session's name is changed or taken off it.

Its rows are whole, as a session's. A session is announced when its first prompt is posted, perhaps late, so an
announcement never takes the place of a row that was written since.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.sessions.places import JSON
from durable_streams.agents.sessions.rows import SESSION, deletion, row
from durable_streams.client import ProducerTriple, StreamNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable_streams.agents.sessions.places import Places

SESSIONS_PATH: Final = "agents/sessions"


async def announce(places: Places, value: dict[str, Any]) -> None:
    """Add a session to the list, once."""
    await _append(places, ProducerTriple(f"session:{value['id']}", 0, 0), row(SESSION, value["id"], value))


async def change(places: Places, value: dict[str, Any]) -> None:
    """Put a session's new row in the place of what the list says of it."""
    await _append(places, _fresh(), row(SESSION, value["id"], value, operation="update"))


async def remove(places: Places, session_id: str) -> None:
    """Take a session off the list."""
    await _append(places, _fresh(), deletion(SESSION, session_id))


async def latest(places: Places, count: int) -> list[dict[str, Any]]:
    """Return the sessions that the last rows of the list are about, newest first."""
    try:
        async with places.stream(SESSIONS_PATH).stream(tail=count, live=False) as response:
            rows = await response.read_json()
    except StreamNotFoundError:
        return []
    return sorted(folded(rows).values(), key=lambda one: one.get("created_at", 0), reverse=True)


def folded(rows: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return what rows of the list amount to. What is no row of ours changes nothing."""
    known: dict[str, dict[str, Any]] = {}
    final: set[str] = set()
    for one in rows:
        key, value, operation = _read(one)
        if key is None or (operation == "insert" and key in final):
            continue
        if operation != "insert":
            final.add(key)
        if operation == "delete":
            known.pop(key, None)
        elif value is not None:
            known[key] = value
    return known


def _read(one: Any) -> tuple[str | None, dict[str, Any] | None, str]:  # noqa: ANN401 anybody may have written it
    if not isinstance(one, dict) or one.get("type") != SESSION or not isinstance(one.get("key"), str):
        return None, None, ""
    headers, value = one.get("headers"), one.get("value")
    operation = headers.get("operation", "") if isinstance(headers, dict) else ""
    return one["key"], value if isinstance(value, dict) else None, str(operation)


async def _append(places: Places, triple: ProducerTriple, event: bytes) -> None:
    stream = places.stream(SESSIONS_PATH)
    try:
        await stream.append_as(triple, [event])
    except StreamNotFoundError:
        await stream.create_stream(content_type=JSON)
        await stream.append_as(triple, [event])


def _fresh() -> ProducerTriple:
    return ProducerTriple(f"change:{uuid.uuid4().hex}", 0, 0)

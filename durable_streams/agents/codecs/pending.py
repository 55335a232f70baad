"""What a paused run waits for, as metadata, chunks and rows have it: ``{"id", "kind", "tool"}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from durable_streams.agents.events import Pending, PendingKind

if TYPE_CHECKING:
    from collections.abc import Iterable


def told_pending(pending: Iterable[Pending]) -> list[dict[str, Any]]:
    """Return what is waited for as JSON."""
    return [{"id": one.call_id, "kind": one.kind, "tool": one.tool} for one in pending]


def pending_told(said: object) -> tuple[Pending, ...]:
    """Return what is waited for from its JSON; what is none is skipped."""
    return tuple(
        Pending(one["id"], one["kind"], str(one.get("tool", "")))
        for one in (said if isinstance(said, list) else ())
        if isinstance(one, dict) and isinstance(one.get("id"), str) and one.get("kind") in get_args(PendingKind)
    )

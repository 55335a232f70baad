"""Drafts in the few words that the rules' tests need."""

from __future__ import annotations

from durable_streams.protocol.draft import Draft
from durable_streams.protocol.head import Record

NOW_MS = 1_800_000_000_000


def draft(path: str = "s", record: Record | None = None, **fields: int) -> Draft:
    """Return the draft of an empty text stream, incarnation 1, made at ``NOW_MS``, changed by ``fields``."""
    made = Draft(path, fields.pop("sid", 1), record or Record("text/plain"), now_ms=NOW_MS)
    for name, value in fields.items():
        setattr(made, name, value)
    return made

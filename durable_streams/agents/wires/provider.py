"""What a provider wants back reaches that provider and no other.

Owns: the provider's name, and who sees what was kept under it. Wires see a part's ``own`` alone: what the very provider
that is asked has said with that part. Must not know: what is in it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.events import FileGiven, Kept, ReasoningEnded, TextEnded, ToolCalled, ToolRejected
from durable_streams.agents.fit import DELTAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.base import UIMessage

OWN: Final = "own"
_FIELDS: Final = (names.METADATA, names.CALL_METADATA)
_NAMED: Final = (TextEnded, ReasoningEnded, ToolCalled, ToolRejected, FileGiven, Kept)


def provider_name(wire: str, base_url: str, model: str) -> str:
    """Return the name of whoever answers: ``wire@host``, and the vendor where the model's name has one.

    A host that passes requests on to many vendors names its models ``vendor/model``; what one of them has signed is
    nothing to the others.
    """
    host = urlsplit(base_url).netloc.rpartition("@")[2] or base_url
    vendor, slash, _ = model.partition("/")
    return f"{wire}@{host}/{vendor}" if slash else f"{wire}@{host}"


def named(event: Event, provider: str) -> Event:
    """Return the event with its metadata under the provider's name."""
    if type(event) in DELTAS or not isinstance(event, _NAMED) or event.metadata is None:
        return event
    return replace(event, metadata={provider: event.metadata})


def with_own(messages: Iterable[UIMessage], provider: str) -> list[UIMessage]:
    """Return the history as one provider may see it: what it has said of its own is in ``own``, of others nothing."""
    return [{**message, "parts": _seen(message.get("parts"), provider)} for message in messages]


def _seen(parts: object, provider: str) -> Sequence[dict[str, Any]]:
    if not isinstance(parts, list):
        return []
    return [_part(part, provider) for part in parts if isinstance(part, dict)]


def _part(part: dict[str, Any], provider: str) -> dict[str, Any]:
    kept = part.get("data") if part.get("type") == names.KEPT else part.get(_FIELDS[0], part.get(_FIELDS[1]))
    own = kept.get(provider) if isinstance(kept, dict) else None
    seen = {name: value for name, value in part.items() if name not in {*_FIELDS, OWN}}
    return {**seen, OWN: own} if isinstance(own, dict) else seen

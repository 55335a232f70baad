"""Events as they may be stored, whoever made them.

Must not know: codecs, streams. Invariant: what comes out breaks nobody who writes it or reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final, get_args

from durable_streams.agents.errors import AgentError
from durable_streams.agents.events import (
    Custom,
    Event,
    Kept,
    Noted,
    Pending,
    ReasoningDelta,
    TextDelta,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolRejected,
    ToolReturned,
    Waiting,
)
from durable_streams.agents.plain import NoFormError, storable, whole

DELTAS: Final = (TextDelta, ReasoningDelta, ToolInputDelta)
ERROR_MAX_CHARS: Final = 256 * 1024
"""Of an error, or an input that could not be read: what is beyond is cut off."""
TEXT_MAX_CHARS: Final = 12 * 2**20
"""Of any other text that comes whole, such as a file's ``data:`` address. A delta is stored in pieces instead."""
_TEXTS: Final[Mapping[type, tuple[tuple[str, bool], ...]]] = {
    kind: tuple((field.name, "None" in str(field.type)) for field in fields(kind) if str(field.type).startswith("str"))
    for kind in get_args(Event)
}
"""Event → its fields that are texts, and whether each may be ``None``."""
_VALUES: Final[Mapping[type, str]] = {
    ToolCalled: "input",
    ToolReturned: "output",
    Custom: "value",
    Noted: "values",
    Waiting: "state",
}
"""Event → its field that holds any value."""
_METADATA: Final = frozenset(
    kind for kind in get_args(Event) if any(field.name == "metadata" for field in fields(kind))
)
"""Events with what their provider wants back."""


class UnstorableError(AgentError):
    """A source said what is no event, or what cannot be stored."""

    public = True


def fit(event: Any) -> Event:  # noqa: ANN401 a source may say anything
    """Return the event with texts that are valid Unicode and a value that JSON has.

    A delta's own text is left as it is, as it may begin or end in the middle of a character. A tool's result that has
    no form becomes the call's failure, as the tool has run.

    Raises:
        UnstorableError: it is no event, a text of it is none, or a value has no form.
    """
    kind = type(event)
    if kind not in _TEXTS:
        raise UnstorableError(f"a source said what is no event: a value of type {kind.__name__}")
    for name, optional in _TEXTS[kind]:
        text = getattr(event, name)
        if not isinstance(text, str) and not (optional and text is None):
            raise UnstorableError(f"{kind.__name__}.{name} is a text, not a value of type {type(text).__name__}")
    if kind is Waiting and not all(_is_pending(one) for one in event.pending):
        raise UnstorableError("Waiting.pending is a tuple of Pending, each with the id of a call")
    if kind is Noted:
        _check_object(event, "values", event.values)
    if kind in _METADATA and (event.metadata is not None or kind is Kept):
        _check_object(event, "metadata", event.metadata)
    return _mended(event)


def _check_object(event: Event, name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        kind = type(event).__name__
        raise UnstorableError(f"{kind}.{name} is an object, not a value of type {type(value).__name__}")


def _held(event: Event) -> list[str]:
    """Return the fields that hold any value."""
    value = _VALUES.get(type(event))
    held = [] if value is None else [value]
    return [*held, "metadata"] if getattr(event, "metadata", None) is not None else held


def _cut(text: str, name: str, kind: type) -> str:
    """Return a text that is not too long: half a sentence still says something, half an address does not."""
    if name == "error" or kind is ToolRejected:
        return text[:ERROR_MAX_CHARS]
    if len(text) > TEXT_MAX_CHARS:
        raise UnstorableError(f"{kind.__name__}.{name} has {len(text)} characters, and {TEXT_MAX_CHARS} are the most")
    return text


def _is_pending(one: object) -> bool:
    return isinstance(one, Pending) and isinstance(one.call_id, str) and isinstance(one.tool, str)


def _mended(event: Event) -> Event:
    kind = type(event)
    mended: dict[str, Any] = {}
    for name, _ in _TEXTS[kind]:
        text = getattr(event, name)
        if text is None or (name == "text" and kind in DELTAS):
            continue
        kept = _cut(whole(text), name, kind)
        if kept is not text:
            mended[name] = kept
    for holds in _held(event):
        try:
            mended[holds] = storable(getattr(event, holds))
        except NoFormError as error:
            if isinstance(event, ToolReturned):
                return ToolFailed(event.call_id, f"the result cannot be stored: {error}")
            raise UnstorableError(f"{kind.__name__}.{holds} cannot be stored: {error}") from error
    return replace(event, **mended) if mended else event

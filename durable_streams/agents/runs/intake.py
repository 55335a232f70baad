"""What a source says, checked and made fit to be stored before anything is done with it.

So whoever says what cannot be stored hears of it at once, and nothing that is stored breaks who reads it.
Must not know: codecs, streams. Invariant: what comes out has texts that are valid Unicode and values that JSON has.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from durable_streams.agents import events
from durable_streams.agents.errors import AgentError
from durable_streams.agents.events import (
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolFailed,
    ToolInputDelta,
    ToolRejected,
    ToolReturned,
)
from durable_streams.agents.plain import NoFormError, plain, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event

Delta: TypeAlias = TextDelta | ReasoningDelta | ToolInputDelta
_DELTAS: Final = (TextDelta, ReasoningDelta, ToolInputDelta)

_TEXTS: Final[Mapping[type, tuple[tuple[str, bool], ...]]] = {
    kind: tuple((field.name, "None" in str(field.type)) for field in fields(kind) if str(field.type).startswith("str"))
    for kind in get_args(events.Event)
}
"""Event → its fields that are texts, and whether each may be ``None``."""
_VALUES: Final[Mapping[type, str]] = {
    ToolCalled: "input",
    ToolReturned: "output",
    events.Custom: "value",
    events.Noted: "values",
}
"""Event → its field that holds any value."""
_HIGH: Final = ("\ud800", "\udbff")
"""The first halves of surrogate pairs."""


class UnstorableError(AgentError):
    """A source said what is no event, or what cannot be stored."""


class Intake:
    """Checks the events of one run, in their order."""

    def __init__(self) -> None:
        self._halves: dict[tuple[type, str], Delta] = {}

    def take(self, event: Event) -> Iterator[Event]:
        """Return what to store for an event; nothing of an event that is refused.

        A character that a supplier has split over two deltas is held back until its other half comes. A tool's result
        that has no form becomes the call's failure, as the tool has run.

        Raises:
            UnstorableError: it is no event, a text of it is none, or a value has no form.
        """
        checked = _checked(event)
        if self._halves:
            yield from self._other_halves(checked)
        elif isinstance(checked, _DELTAS):
            yield self._whole(checked)
        else:
            yield checked

    def finish(self) -> Iterator[Event]:
        """Return what was held back for halves that never came."""
        halves, self._halves = list(self._halves.values()), {}
        yield from (replace(half, text=whole(half.text)) for half in halves)

    def _other_halves(self, event: Event) -> Iterator[Event]:
        if isinstance(event, _DELTAS):
            half = self._halves.pop(_part(event), None)
            yield self._whole(event if half is None else replace(event, text=half.text + event.text))
            return
        half = self._halves.pop(_ended(event), None)
        if half is not None:  # before the part's end
            yield replace(half, text=whole(half.text))
        yield event

    def _whole(self, delta: Delta) -> Delta:
        text = delta.text
        if text and _HIGH[0] <= text[-1] <= _HIGH[1]:
            self._halves[_part(delta)] = replace(delta, text=text[-1])
            text = text[:-1]
        fit = whole(text)
        return delta if fit is delta.text else replace(delta, text=fit)


def _part(delta: Delta) -> tuple[type, str]:
    return type(delta), delta.call_id if isinstance(delta, ToolInputDelta) else delta.part


def _ended(event: Event) -> tuple[type, str]:
    """Return the part that an event ends."""
    match event:
        case TextEnded(part):
            return TextDelta, part
        case ReasoningEnded(part):
            return ReasoningDelta, part
        case ToolCalled(call_id) | ToolRejected(call_id):
            return ToolInputDelta, call_id
        case _:
            return type(event), ""


def _checked(event: Any) -> Event:  # noqa: ANN401 a source may say anything
    kind = type(event)
    if kind not in _TEXTS:
        raise UnstorableError(f"a source said what is no event: a value of type {kind.__name__}")
    for name, optional in _TEXTS[kind]:
        text = getattr(event, name)
        if not isinstance(text, str) and not (optional and text is None):
            raise UnstorableError(f"{kind.__name__}.{name} is a text, not a value of type {type(text).__name__}")
    return _fit(event)


def _fit(event: Event) -> Event:
    kind = type(event)
    mended: dict[str, Any] = {}
    for name, _ in _TEXTS[kind]:
        text = getattr(event, name)
        # A delta may end, or begin, in the middle of a character.
        if text is not None and not (name == "text" and kind in _DELTAS) and whole(text) is not text:
            mended[name] = whole(text)
    holds = _VALUES.get(kind)
    if holds is not None:
        try:
            mended[holds] = plain(getattr(event, holds))
        except NoFormError as error:
            if isinstance(event, ToolReturned):
                return ToolFailed(event.call_id, f"the result cannot be stored: {error}")
            raise UnstorableError(f"{kind.__name__}.{holds} cannot be stored: {error}") from error
    return replace(event, **mended) if mended else event

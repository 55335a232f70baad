"""What a source says, checked and made fit to be stored before anything is done with it.

So whoever says what cannot be stored hears of it at once, and nothing that is stored breaks who reads it.
Must not know: codecs, streams. Invariant: what comes out has texts that are valid Unicode and values that JSON has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

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
from durable_streams.agents.fit import DELTAS, fit
from durable_streams.agents.plain import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.agents.events import Event

Delta: TypeAlias = TextDelta | ReasoningDelta | ToolInputDelta

DELTA_MAX_CHARS: Final = 256 * 1024
"""A longer delta is stored as several."""
_HIGH: Final = ("\ud800", "\udbff")
"""The first halves of surrogate pairs."""


class Intake:
    """Checks the events of one run, in their order."""

    def __init__(self) -> None:
        self._halves: dict[tuple[type, str], Delta] = {}
        self._ended: set[str] = set()

    def take(self, event: Event) -> Iterator[Event]:
        """Return what to store for an event; nothing of an event that is refused.

        A character that a supplier has split over two deltas is held back until its other half comes. A tool's result
        that has no form becomes the call's failure, as the tool has run.

        Raises:
            UnstorableError: it is no event, a text of it is none, or a value has no form.
        """
        if not self._halves and _is_short_ascii(event):
            yield event
            return
        for whole_one in self._checked(event):
            yield from _pieces(whole_one)

    def _checked(self, event: Event) -> Iterator[Event]:
        checked = fit(event)
        if isinstance(checked, ToolReturned | ToolFailed | ToolRejected):
            self._ended.add(checked.call_id)
        if self._halves:
            yield from self._other_halves(checked)
        elif isinstance(checked, DELTAS):
            yield self._whole(checked)
        else:
            yield checked

    def has_result(self, call_id: str) -> bool:
        """Return whether a call of that id has ended, by a result, a failure or a rejection."""
        return call_id in self._ended

    def finish(self) -> Iterator[Event]:
        """Return what was held back for halves that never came."""
        halves, self._halves = list(self._halves.values()), {}
        yield from (replace(half, text=whole(half.text)) for half in halves)

    def _other_halves(self, event: Event) -> Iterator[Event]:
        if isinstance(event, DELTAS):
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


def _is_short_ascii(event: Event) -> bool:
    """Return whether it is a delta that is fit as it is: nearly all are, and there are thousands a second."""
    return (
        isinstance(event, TextDelta | ReasoningDelta)
        and isinstance(event.text, str)
        and isinstance(event.part, str)
        and len(event.text) <= DELTA_MAX_CHARS
        and event.text.isascii()
        and event.part.isascii()
    )


def _pieces(event: Event) -> Iterator[Event]:
    if not isinstance(event, DELTAS) or len(event.text) <= DELTA_MAX_CHARS:
        yield event
        return
    for begin in range(0, len(event.text), DELTA_MAX_CHARS):
        yield replace(event, text=event.text[begin : begin + DELTA_MAX_CHARS])


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

"""A decoder around another one, that adds to its events what the provider wants back.

So what is decoded and what is kept change apart. Invariant: the inner decoder's events come in their order, each of
them once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from durable_streams.agents.events import Finished, Spent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event, Usage
    from durable_streams.agents.wires.decoders.base import Decoder

E = TypeVar("E", bound="Any")


class Keeper:
    """Counts tokens; a format's own keeper overrides what it knows better.

    Args:
        inner: decodes the response.
        prefix: begins the names of parts.
    """

    def __init__(self, inner: Decoder, prefix: str = "") -> None:
        self._inner, self._prefix = inner, prefix
        self._usage: Usage | None = None

    @property
    def ended(self) -> bool:
        """Whether the wire's own last event has come; see ``Decoder``."""
        return self._inner.ended

    def feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what an event says; see ``Decoder``."""
        # Nearly all events are deltas, and there are thousands a second.
        return map(self.marked, self._inner.feed(event)) if self.is_plain(event) else self._feed(event)

    def _feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        usage = self.usage_in(event)
        if usage is not None and usage != self._usage:
            self._usage = usage
            yield Spent(usage)
        self.observe(event)
        for said in self._inner.feed(event):
            yield self.marked(said)
        yield from self.beside(event)

    def finish(self) -> Iterator[Event]:
        """Yield what the end says; see ``Decoder``."""
        for said in self._inner.finish():
            if isinstance(said, Finished):
                yield from self.last()
                yield replace(said, usage=self._usage or said.usage)
            else:
                yield self.marked(said)

    def is_plain(self, _event: Mapping[str, Any]) -> bool:
        """Return whether nothing in an event is to be kept, told from its outside alone."""
        return False

    def usage_in(self, event: Mapping[str, Any]) -> Usage | None:
        """Return the tokens that an event tells of: of the whole call so far."""
        raise NotImplementedError

    def observe(self, event: Mapping[str, Any]) -> None:
        """Look at an event before the inner decoder does."""

    def marked(self, said: Event) -> Event:
        """Return an event of the inner decoder with what is to be kept."""
        return said

    def beside(self, _event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what an event holds that the inner decoder does not know."""
        yield from ()

    def last(self) -> Iterator[Event]:
        """Yield what is kept of the whole response."""
        yield from ()


def with_metadata(said: E, metadata: Mapping[str, object]) -> E:
    """Return the event with this to be kept beside what it has; an empty one changes nothing."""
    return replace(said, metadata={**(said.metadata or {}), **metadata}) if metadata else said


def mapping(value: object) -> dict[str, Any]:
    """Return the object, or an empty one if it is none: servers send ``null`` and worse."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list, or none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """Return the text, or an empty one."""
    return value if isinstance(value, str) else ""


def count(*values: object) -> int:
    """Return the first that is a number of tokens, or 0."""
    return next((value for value in values if isinstance(value, int) and value > 0), 0)

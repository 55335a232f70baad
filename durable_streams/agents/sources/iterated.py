"""Anything that can be iterated: text, events, or both."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeAlias

from durable_streams.agents.events import Event, TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.sources.base import Source

Iterated: TypeAlias = "AsyncIterable[str | Event] | Callable[[Run], AsyncIterable[str | Event]]"
"""An asynchronous iterable for one run, or a function that makes one for each."""


class IteratedSource:
    """A source from an iterable of text (one text part) and events."""

    def __init__(self, iterated: Iterated) -> None:
        self._iterated = iterated

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Yield what it yields; see ``Source``."""
        items = self._iterated(run) if callable(self._iterated) else self._iterated
        iterator: AsyncIterator[str | Event] = aiter(items)
        async with AsyncExitStack() as exits:
            # `async for` alone would leave an iterator's own cleanup to the garbage collector.
            close = getattr(iterator, "aclose", None)
            if close is not None:
                exits.push_async_callback(close)
            async for item in iterator:
                yield TextDelta("text", item) if isinstance(item, str) else item


def as_source(given: Source | Iterated) -> Source:
    """Return the source, or one made of an iterable or of a function that makes iterables."""
    if isinstance(given, AsyncIterable) or not hasattr(given, "open"):
        return IteratedSource(given)
    return given

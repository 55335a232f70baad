"""Anything that can be iterated, text, events, or what a vendor's stream says, as a source.

Owns: how each kind is opened, iterated and closed. Must not know: what else people hand in; ``given`` does.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

from durable_streams.agents.events import Event, TextDelta
from durable_streams.agents.sources.packages import package_of, translated
from durable_streams.agents.sources.threaded import from_thread
from durable_streams.agents.sources.vendors import VENDORS, VendorStream, address_of, is_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from durable_streams.agents.runs.run import Run

Iterated: TypeAlias = (
    "str | Iterable[str | Event] | AsyncIterable[object] | AbstractAsyncContextManager[object]"
    " | Callable[[Run], object] | Callable[[], object]"
)
"""Text, an iterable for one run, or a function that makes one for each."""


class IteratedSource:
    """A source from an iterable of text (one text part), events, or the events of a vendor's stream.

    What is not asynchronous is iterated in a thread, as it may block; lists are not.
    """

    def __init__(self, iterated: Iterated) -> None:
        self._iterated = iterated

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Yield what it yields; see ``Source``."""
        given: Any = self._iterated
        if is_maker(given):
            given = given(run) if inspect.signature(given).parameters else given()
        if inspect.isawaitable(given):
            given = await given
        async with AsyncExitStack() as exits:
            if package_of(given) in VENDORS:
                exits.enter_context(translated(*VENDORS))
            opened = await _opened(given, exits)
            vendor = VendorStream(address_of(opened))
            async for item in _iterator(opened, exits):
                if isinstance(item, str):
                    yield TextDelta("text", item)
                elif is_event(item):
                    yield item
                else:
                    for event in vendor.feed(item):
                        yield event
        for event in vendor.finish():
            yield event


def is_maker(given: object) -> bool:
    """Return whether it is a function that makes what is iterated, and not that itself, which may be callable too."""
    return callable(given) and not isinstance(given, AsyncIterable | Iterable) and not hasattr(given, "__aenter__")


async def _opened(given: Any, exits: AsyncExitStack) -> Any:  # noqa: ANN401 whatever people hand in
    if isinstance(given, AsyncIterable | Iterable):
        return given
    return await exits.enter_async_context(given)


def _iterator(given: Any, exits: AsyncExitStack) -> AsyncIterator[Any]:  # noqa: ANN401 as above
    if isinstance(given, str):
        given = [given]
    if isinstance(given, AsyncIterable):
        exits.push_async_callback(released, given)
    else:  # a thread closes what it has been reading
        given = _listed(given) if isinstance(given, Sequence) else from_thread(given)
    iterator: AsyncIterator[Any] = aiter(given)
    # `async for` alone would leave an iterator's own cleanup to the garbage collector.
    exits.push_async_callback(released, iterator)
    return iterator


async def _listed(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def released(given: Any) -> None:  # noqa: ANN401 as above
    """Close what can be iterated or awaited only once; whatever else there is belongs to who made it."""
    if not isinstance(given, AsyncIterator) and not inspect.iscoroutine(given) and not inspect.isgenerator(given):
        return
    if getattr(given, "gi_running", False) or getattr(given, "ag_running", False):
        return  # whoever runs it closes it
    close = getattr(given, "aclose", None) or getattr(given, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing

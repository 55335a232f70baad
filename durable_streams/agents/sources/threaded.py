"""Iterables that block, iterated in a thread of their own so that nobody else waits.

Invariant: the thread asks for an item only when there is room for it, and closes the iterator in which it has been
reading; whoever stops listening waits for neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

AHEAD_COUNT: Final = 16
"""Items that may wait for the loop."""


@dataclass(frozen=True, slots=True)
class _Last:
    """No more items, or what ended them."""

    error: BaseException | None = None


async def from_thread(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    """Yield the items. A thread that blocks for ever in one of them is left behind and holds nobody up."""
    reading = _Reading(items)
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(reading.run,), name="iterating", daemon=True).start()
    try:
        while True:
            item = await reading.items.get()
            reading.room.release()
            if not isinstance(item, _Last):
                yield item
            elif item.error is None:
                return
            else:
                raise item.error
    finally:
        reading.abandon()


class _Reading:
    def __init__(self, iterable: Iterable[Any]) -> None:
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.room = threading.Semaphore(AHEAD_COUNT)
        self._iterable = iterable
        self._abandoned = False
        self._loop = asyncio.get_running_loop()

    def abandon(self) -> None:
        self._abandoned = True
        self.room.release()

    def run(self) -> None:
        last = _Last()
        try:
            iterator: Any = iter(self._iterable)
            with contextlib.closing(iterator) if hasattr(iterator, "close") else contextlib.nullcontext():
                self._read(iterator)
        except BaseException as error:  # noqa: BLE001 it is raised again where the items are wanted
            last = _Last(error)
        self._put(last)

    def _read(self, iterator: Any) -> None:  # noqa: ANN401 an iterator, perhaps with a `close`
        for item in iterator:
            self._put(item)
            self.room.acquire()
            if self._abandoned:
                return

    def _put(self, item: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody listens
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)

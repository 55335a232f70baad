"""One session as this process knows it: the state, how far in the log it goes, and who waits for changes.

Invariant: the state is what the log says up to ``offset``. Two readers may bring the same stretch; a batch that ends
behind ``offset`` is applied whole, which comes to the same as rows are whole, and one that does not is skipped.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from durable_streams.agents.sessions.places import JSON, session_path
from durable_streams.agents.sessions.state import SessionState
from durable_streams.client import DurableStreamError, FetchError, StreamNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from durable_streams.agents.sessions.places import Places
    from durable_streams.client import IdempotentAppendResult, ProducerTriple, StreamEvent

FOLLOW_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


class Session:
    """A session; one object for each in a process."""

    def __init__(self, places: Places, session_id: str) -> None:
        self.session_id = session_id
        self.state = SessionState()
        self.stream = places.stream(session_path(session_id))
        self._offset: str | None = None
        self._exists = False
        self._lock = asyncio.Lock()
        self._followers = 0
        self._following: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def idle(self) -> bool:
        """Whether nobody follows it, so that this object may be forgotten."""
        return self._followers == 0 and not self._lock.locked()

    async def ensure(self) -> None:
        """Create the stream unless it is known to exist."""
        if not self._exists:
            await self.stream.create_stream(content_type=JSON)
            self._exists = True

    async def refresh(self) -> SessionState:
        """Return the state of this moment: everything acknowledged before the call is in it."""
        async with self._lock:
            try:
                async with self.stream.stream(offset=self._offset, live=False) as response:
                    async for event in response.iter_events("json"):
                        self._apply(event)
                self._exists = True
            except StreamNotFoundError:
                # Never begun, or deleted since.
                self.state, self._offset, self._exists = SessionState(), None, False
        return self.state

    async def append(self, triple: ProducerTriple, rows: Sequence[bytes]) -> IdempotentAppendResult:
        """Append rows as one, under a triple that decides something; see ``AsyncDurableStream.append_as``."""
        return await self.stream.append_as(triple, rows)

    @staticmethod
    def fresh_id() -> str:
        """Return an id that nobody has used."""
        return uuid.uuid4().hex

    async def changed(self, happened: Callable[[SessionState], bool]) -> None:
        """Wait until the state is so. Needs ``following``, here or elsewhere in the process."""
        while not happened(self.state):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keep the state up to date while the block runs; blocks share one connection."""
        self._followers += 1
        if self._following is None:
            self._following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            self._followers -= 1
            if self._followers == 0 and self._following is not None:
                following, self._following = self._following, None
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            # The reader bears interruptions for minutes; what it gives up on is tried again from where it was.
            try:
                async with self.stream.stream(offset=self._offset, live=True) as response:
                    async for event in response.iter_events("json"):
                        self._apply(event)
                if response.stream_closed:
                    return
            except (DurableStreamError, FetchError):
                pass
            except Exception:
                log.exception("follow_failed", session=self.session_id)
            await asyncio.sleep(FOLLOW_AGAIN_S)

    def _apply(self, event: StreamEvent[list[Any]]) -> None:
        if self._offset is not None and event.next_offset <= self._offset:
            return
        for one in event.data or ():
            if isinstance(one, dict):
                self.state.apply(one)
        self._offset = event.next_offset
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

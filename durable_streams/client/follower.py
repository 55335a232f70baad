"""Catch up, then follow, across everything that may happen to connections and servers.

Owns: the order of sources, repeated attempts, the position. Must not know: payload formats.
Invariant: ``position`` is behind exactly the portions that ``next_portion`` has returned.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final, TypeVar

from durable_streams.client.errors import DurableStreamError, FetchError
from durable_streams.client.portion import Portion, Position
from durable_streams.client.retry import PATIENT, RetryPolicy, retrying
from durable_streams.client.sources import PageSource, SseSource
from durable_streams.protocol import headers as names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.client.answers import Answer
    from durable_streams.client.endpoint import Endpoint
    from durable_streams.client.values import ErrorHandler, Offset

T = TypeVar("T")

TAIL_EXTENSION: Final = "tail"


class Follower:
    """Brings one portion after the other, each once and in order.

    Args:
        endpoint: the stream.
        offset: where to start; ``None`` is the beginning.
        cursor: the cursor to echo with the first request.
        retry: how long interruptions are borne; anew after every portion.
        on_error: asked before an error is raised.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        offset: Offset | None = None,
        cursor: str | None = None,
        retry: RetryPolicy | None = None,
        on_error: ErrorHandler | None = None,
    ) -> None:
        self.position = Position(offset, cursor)
        self._endpoint = endpoint
        self._retry = retry or PATIENT
        self._on_error = on_error
        self._pages = PageSource(endpoint)
        self._events: SseSource | None = None
        self._content_type = ""
        self._caught_up = False

    async def first(self, *, tail: int | None = None) -> tuple[Answer, Portion]:
        """Fetch the first page and learn the stream's content type. Needed once, before ``next_portion``.

        Args:
            tail: start at the last so many messages instead of at the offset.

        Raises:
            DurableStreamError: a refusal, or a server that does not know ``tail`` and would send everything.
            FetchError: no answer within the policy.
        """
        extra = {} if tail is None else {"tail": str(tail)}
        answer, portion = await self._persist(lambda: self._pages.fetch(self.position, live=False, extra=extra))
        if tail is not None and TAIL_EXTENSION not in extensions(answer):
            raise DurableStreamError("this server does not offer tail", code="TAIL_NOT_SUPPORTED")
        self._content_type = answer.headers.get("Content-Type", "")
        self._move_to(portion.after)
        return answer, portion

    async def next_portion(self, *, by_events: bool) -> Portion:
        """Fetch the next portion: a page until up to date, from then on live.

        Args:
            by_events: at the tail, use an event stream rather than long-polls.

        Raises:
            DurableStreamError, FetchError: as ``first``. The position stays; a later call goes on from there.
        """
        if by_events and self._caught_up:
            portion = await self._persist(self._from_events)
        else:
            # An event stream left open would go on from where it was and repeat what the page brings.
            await self.aclose()
            portion = await self._persist(self._from_page)
        self._move_to(portion.after)
        return portion

    async def aclose(self) -> None:
        """Close the event stream, if one is open."""
        if self._events is not None:
            await self._events.aclose()

    def _move_to(self, position: Position) -> None:
        self.position = position
        self._caught_up = self._caught_up or position.up_to_date

    async def _from_page(self) -> Portion:
        _, portion = await self._pages.fetch(self.position, live=self.position.up_to_date)
        return portion

    async def _from_events(self) -> Portion:
        if self._events is None:
            self._events = SseSource(self._endpoint, self._content_type)
        return await self._events.fetch(self.position)

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await retrying(self._retry, attempt)
            except (DurableStreamError, FetchError) as error:
                if not await self._amended(error):
                    raise

    async def _amended(self, error: Exception) -> bool:
        if self._on_error is None:
            return False
        amendment = self._on_error(error)
        if inspect.isawaitable(amendment):
            amendment = await amendment
        if amendment is None:
            return False
        self._endpoint.amend(amendment)
        return True


def extensions(answer: Answer) -> frozenset[str]:
    """Return what the server says it offers beyond the protocol."""
    listed = answer.headers.get(names.STREAM_EXTENSIONS, "")
    return frozenset(name.strip() for name in listed.split(",") if name.strip())

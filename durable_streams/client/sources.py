"""Where portions come from: pages by plain requests and long-polls, or an event stream.

Owns: one attempt at the next portion. Must not know: backoff; ``follower.py`` repeats an interrupted attempt.
Invariant: a portion is handed out only when it is complete, that is, the page's last byte or the control event has
arrived; what was received before a cut is dropped and asked for again from the same position.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp

from durable_streams.client.answers import Answer, gone
from durable_streams.client.endpoint import LIVE_SILENCE_S, Endpoint
from durable_streams.client.errors import FetchError, SSEEncodingError, SSENotSupportedError
from durable_streams.client.portion import (
    Portion,
    Position,
    from_base64,
    is_empty_part,
    portion_of_control,
    portion_of_page,
)
from durable_streams.client.retry import Interrupted
from durable_streams.client.sse_parser import EVENT_MAX_BYTES, EventTooLargeError, SseEvent, SseParser
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_STREAM: Final = "text/event-stream"
PAGE_MAX_BYTES: Final = 1024 * 1024
"""What a page should hold at most. A server may answer a catch-up with everything up to the tail; where a cut answer is
dropped and asked for again, and a complete one is held, that would be too much at once. Servers that do not know the
parameter answer as they do."""


class PageSource:
    """Batches by one request each."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def fetch(
        self, position: Position, *, live: bool, extra: Mapping[str, str] | None = None
    ) -> tuple[Answer, Portion]:
        """Make one attempt at the page behind ``position``; ``live`` waits for one at the tail.

        Asks to catch up by pages of ``PAGE_MAX_BYTES`` (an extension of this project's server), and takes what comes.

        Raises:
            Interrupted: no complete page.
            DurableStreamError: a refusal, or an answer that is no page.
        """
        bound = {} if live else {"max-bytes": str(PAGE_MAX_BYTES)}
        params = {**_query(position, "long-poll" if live else None), **bound, **(extra or {})}
        silence_s = max(self._endpoint.timeout_s, LIVE_SILENCE_S) if live else self._endpoint.timeout_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._endpoint.timeout_s, sock_read=silence_s)
        async with self._endpoint.open("GET", params=params, timeout=timeout) as response:
            _require_length(response, self._endpoint.url)
            answer = Answer(response.status, response.headers, await response.read())
        json_mode = content_types.is_json(answer.headers.get("Content-Type", ""))
        return answer, portion_of_page(answer, position, json_mode=json_mode)


class SseSource:
    """Batches from an event stream that is opened when needed and may be cut at any byte.

    Args:
        endpoint: the stream.
        content_type: the stream's own content type, which the event stream's headers do not tell.
    """

    def __init__(self, endpoint: Endpoint, content_type: str) -> None:
        self._endpoint = endpoint
        self._content_type = content_type
        self._connection: _Connection | None = None

    async def fetch(self, position: Position) -> Portion:
        """Make one attempt at the next portion, on the open connection or a new one.

        Raises:
            Interrupted: the connection was cut, or a new one ended before it brought a portion.
            DurableStreamError: a refusal, an event that says that the stream is gone, or events that make no sense.
        """
        while True:
            connection = self._connection or _Connection(self._endpoint, self._content_type)
            self._connection = connection
            try:
                portion = await connection.next_portion(position)
            except BaseException:
                await self.aclose()
                raise
            if portion is not None:
                return portion
            await self.aclose()
            if not connection.brought_something:
                error = FetchError("the event stream ended at once", url=self._endpoint.url)
                raise Interrupted(error, may_be_applied=False)

    async def aclose(self) -> None:
        """Drop the connection and what it has sent of an unfinished portion."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.aclose()


class _Connection:
    """One event stream from its request to its end."""

    def __init__(self, endpoint: Endpoint, content_type: str) -> None:
        self._endpoint = endpoint
        self._content_type = content_type
        self._exits = AsyncExitStack()
        self._response: aiohttp.ClientResponse | None = None
        self._parser = SseParser()
        self._events: deque[SseEvent] = deque()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._base64 = False
        self.brought_something = False

    async def next_portion(self, position: Position) -> Portion | None:
        """Return the next portion, or ``None`` at the regular end of the connection."""
        try:
            response = self._response or await self._open(position)
            if response.status == HTTPStatus.NO_CONTENT:
                return None
            return await self._next_portion(response, position)
        except EventTooLargeError as fault:
            raise SSEEncodingError(str(fault)) from fault
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            error = FetchError(f"the event stream was cut: {fault}", url=self._endpoint.url)
            raise Interrupted(error, may_be_applied=False) from fault

    async def aclose(self) -> None:
        if self._response is not None:
            # The rest is not wanted: without this, leaving would read an endless body to its end to reuse the socket.
            self._response.close()
        await self._exits.aclose()

    async def _open(self, position: Position) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self._endpoint.timeout_s,
            sock_read=max(self._endpoint.timeout_s, LIVE_SILENCE_S),
        )
        opened = self._endpoint.open(
            "GET", params=_query(position, "sse"), headers={"Accept": EVENT_STREAM}, timeout=timeout
        )
        response = self._response = await self._exits.enter_async_context(opened)
        if response.status == HTTPStatus.OK and response.content_type != EVENT_STREAM:
            raise SSENotSupportedError(response.content_type)
        self._base64 = response.headers.get(names.STREAM_SSE_DATA_ENCODING, "").lower() == "base64"
        return response

    async def _next_portion(self, response: aiohttp.ClientResponse, position: Position) -> Portion | None:
        while True:
            while self._events:
                portion = self._take(self._events.popleft(), position)
                if portion is not None:
                    self.brought_something = True
                    return portion
            received = await response.content.readany()
            if not received:
                return None
            self._events.extend(self._parser.feed(received))

    def _take(self, event: SseEvent, position: Position) -> Portion | None:
        if event.event == "gone":
            raise gone(event.data, self._endpoint.url)
        if event.event == "data":
            self._keep(from_base64(event.data) if self._base64 else event.data)
        if event.event != "control":
            return None
        portion = portion_of_control(event.data, tuple(self._parts), position)
        self._parts, self._parts_bytes = [], 0
        return portion

    def _keep(self, part: bytes) -> None:
        if not is_empty_part(part, self._content_type):
            self._parts.append(part)
            self._parts_bytes += len(part)
        if self._parts_bytes > EVENT_MAX_BYTES:
            raise EventTooLargeError(f"more than {EVENT_MAX_BYTES} bytes of data events without a control event")


def _query(position: Position, live: str | None) -> dict[str, str]:
    query = {} if position.offset is None else {"offset": position.offset}
    if live is not None:
        query["live"] = live
        query.setdefault("offset", "-1")
    # On catch-up requests too: a caller may hand in a cursor, and the answers stay cacheable (§10.1).
    if position.cursor is not None:
        query["cursor"] = position.cursor
    return query


def _require_length(response: aiohttp.ClientResponse, url: str) -> None:
    """Refuse a body that ends with its connection: cut short, it would look complete, and bytes would be skipped."""
    if response.status == HTTPStatus.NO_CONTENT or response.content_length is not None:
        return
    if response.headers.get("Transfer-Encoding", "").lower() != "chunked":
        raise FetchError(
            "a page without a length cannot be told from one that was cut", status=response.status, url=url
        )

"""``astream``: open a stream for reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable_streams.client.endpoint import Endpoint
from durable_streams.client.follower import Follower
from durable_streams.client.portion import Position
from durable_streams.client.reader import Reader
from durable_streams.client.response import AsyncStreamResponse, Opening
from durable_streams.protocol.offsets import START

if TYPE_CHECKING:
    from collections.abc import Generator

    import aiohttp

    from durable_streams.client.retry import RetryPolicy
    from durable_streams.client.values import ErrorHandler, HeadersLike, LiveMode, Offset, ParamsLike


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What to read and how; see ``astream``."""

    offset: Offset | None = None
    tail: int | None = None
    live: LiveMode = True
    cursor: str | None = None
    on_error: ErrorHandler | None = None
    retry: RetryPolicy | None = None


class AsyncStreamSession:
    """A stream about to be read: ``async with`` opens and closes it; ``await`` only opens it."""

    def __init__(self, endpoint: Endpoint, options: ReadOptions) -> None:
        self._endpoint = endpoint
        self._options = options
        self._response: AsyncStreamResponse | None = None

    def __await__(self) -> Generator[object, None, AsyncStreamResponse]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncStreamResponse:
        self._response = await self._open()
        return self._response

    async def __aexit__(self, *_exc: object) -> None:
        if self._response is not None:
            await self._response.aclose()

    async def _open(self) -> AsyncStreamResponse:
        options = self._options
        follower = Follower(
            self._endpoint,
            offset=options.offset,
            cursor=options.cursor,
            retry=options.retry,
            on_error=options.on_error,
        )
        start = Position(options.offset, options.cursor)
        try:
            answer, first = await follower.first(tail=options.tail)
        except BaseException:
            await self._endpoint.aclose()
            raise
        reader = Reader(follower, start, first, follow=options.live is not False)
        return AsyncStreamResponse(
            self._endpoint, follower, reader, opening=Opening(options.offset or START, options.live, answer)
        )


def astream(  # noqa: PLR0913 the official client's signature
    url: str,
    *,
    offset: Offset | None = None,
    live: LiveMode = True,
    tail: int | None = None,
    cursor: str | None = None,
    headers: HeadersLike | None = None,
    params: ParamsLike | None = None,
    on_error: ErrorHandler | None = None,
    client: aiohttp.ClientSession | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
) -> AsyncStreamSession:
    """Read a stream: catch up page by page, then follow it.

    Every byte comes once and in order, whatever happens to connections and servers in between: what was cut short is
    dropped and asked for again from the last complete page or control event.

    Args:
        url: the stream's URL.
        offset: where to start; ``None`` or ``-1`` is the beginning, ``now`` the tail.
        live: how to go on at the tail; ``False`` ends there. See ``LiveMode``.
        tail: start at the last so many messages of a JSON stream instead of at ``offset``; needs the server's
            extension.
        cursor: echo of an earlier response's ``cursor``.
        headers: sent with every request; callables are asked anew each time.
        params: added to every request, as ``headers``.
        on_error: asked before an error is raised; may return amended headers and parameters to go on with.
        client: session to use, left open; ``None`` opens one and closes it with the response.
        timeout: seconds to connect, and of silence within a page; 30 by default. Live answers may be silent for 90.
        retry: how long interruptions are borne, counted anew after each portion; 300 s by default.

    Raises:
        StreamNotFoundError: no such stream (404).
        RetentionGoneError: the stream or the offset is gone (410).
        DurableStreamError: any other refusal.
        FetchError: no answer within the policy.
        ValueError: ``tail`` together with ``offset``, or below 1.

        All but the last while opening or iterating.
    """
    if tail is not None and (offset is not None or tail < 1):
        raise ValueError("tail is at least 1 and takes the place of offset")
    endpoint = Endpoint(url, headers=headers, params=params, client=client, timeout=timeout)
    options = ReadOptions(offset, tail, live, cursor, on_error, retry)
    return AsyncStreamSession(endpoint, options)

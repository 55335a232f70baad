"""``AsyncDurableStream``: a handle to one stream.

Owns: what each operation sends and what its answer means. Must not know: sockets, backoff.
Invariant: an operation is repeated after a lost answer only if the repetition changes nothing; an append without a
producer is not, so ``FetchError`` from it means "perhaps"; ``IdempotentProducer`` never leaves that open.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from yarl import URL

from durable_streams.client.appending import Doubt, acknowledgement, idempotent_append, noting, post
from durable_streams.client.astream import AsyncStreamSession, astream
from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import DurableStreamError, RetentionGoneError, StreamNotFoundError
from durable_streams.client.follower import extensions
from durable_streams.client.framing import checked, encoded, joined
from durable_streams.client.retry import RetryPolicy, always, retrying, unless_applied
from durable_streams.client.values import AppendResult, CloseResult, HeadResult
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names
from durable_streams.protocol.conditions import IF_MATCH
from durable_streams.protocol.expiry import STREAM_EXPIRES_AT, STREAM_TTL

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Self

    import aiohttp

    from durable_streams.client.answers import Answer
    from durable_streams.client.appending import IdempotentAppend
    from durable_streams.client.batch_appender import BatchAppender
    from durable_streams.client.retry import Interrupted
    from durable_streams.client.values import (
        ErrorHandler,
        HeadersLike,
        IdempotentAppendResult,
        LiveMode,
        Offset,
        ParamsLike,
    )
    from durable_streams.protocol.producer import ProducerTriple


class AsyncDurableStream:
    """Reads and writes one stream. Building one makes no request.

    Args:
        url: the stream's URL.
        headers: sent with every request; a callable is asked anew for each attempt.
        params: added to every request, as ``headers``.
        content_type: the stream's content type; ``None`` asks the server when first needed.
        client: session to use, left open; ``None`` opens one, which ``aclose`` closes.
        timeout: seconds for a write, to connect, and of silence within a page; 30 by default.
        on_error: for ``stream``, see ``astream``.
        retry: how long interruptions are borne; 30 s by default, 300 s in ``stream``.
        appender: lets ``append_as`` travel with the appends of other handles, in few requests; ``None``: each alone.
    """

    def __init__(  # noqa: PLR0913 the official client's signature
        self,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        content_type: str | None = None,
        client: aiohttp.ClientSession | None = None,
        timeout: float | None = None,
        on_error: ErrorHandler | None = None,
        retry: RetryPolicy | None = None,
        appender: BatchAppender | None = None,
    ) -> None:
        self._endpoint = Endpoint(url, headers=headers, params=params, client=client, timeout=timeout)
        self._content_type = content_type
        self._on_error = on_error
        self._retry = retry
        self._appender = appender

    @property
    def url(self) -> str:
        """The stream's URL."""
        return self._endpoint.url

    @property
    def content_type(self) -> str | None:
        """The stream's content type, as far as known."""
        return self._content_type

    async def aclose(self) -> None:
        """Close the session, unless it was handed in."""
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    @classmethod
    async def connect(  # noqa: PLR0913 as above
        cls,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: aiohttp.ClientSession | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 an option of the connection, not of this call
        on_error: ErrorHandler | None = None,
        retry: RetryPolicy | None = None,
    ) -> Self:
        """Return a handle to a stream that exists, its content type known.

        Raises:
            StreamNotFoundError, RetentionGoneError, DurableStreamError, FetchError: as ``head``.
        """
        handle = cls(
            url, headers=headers, params=params, client=client, timeout=timeout, on_error=on_error, retry=retry
        )
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(handle.aclose)
            await handle.head()
            on_failure.pop_all()
        return handle

    @classmethod
    async def create(  # noqa: PLR0913 as above
        cls,
        url: str,
        *,
        content_type: str | None = None,
        ttl_seconds: int | None = None,
        expires_at: str | None = None,
        body: bytes | str | None = None,
        closed: bool = False,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: aiohttp.ClientSession | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 as above
        on_error: ErrorHandler | None = None,
        retry: RetryPolicy | None = None,
    ) -> Self:
        """Create a stream, or find it as asked for, and return a handle; see the class and ``create_stream``."""
        handle = cls(
            url, headers=headers, params=params, client=client, timeout=timeout, on_error=on_error, retry=retry
        )
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(handle.aclose)
            await handle.create_stream(
                content_type=content_type, ttl_seconds=ttl_seconds, expires_at=expires_at, body=body, closed=closed
            )
            on_failure.pop_all()
        return handle

    async def create_stream(
        self,
        *,
        content_type: str | None = None,
        ttl_seconds: int | None = None,
        expires_at: str | None = None,
        body: bytes | str | None = None,
        closed: bool = False,
    ) -> None:
        """Create this stream; if it exists with the same configuration, nothing happens (§5.1).

        Args:
            content_type: the server's default is ``application/octet-stream``.
            ttl_seconds: sliding time to live.
            expires_at: absolute expiry, RFC 3339; not together with ``ttl_seconds``.
            body: initial content; in JSON mode one JSON text, whose array is flattened.
            closed: create it closed, ``body`` being all it will ever hold.

        Raises:
            StreamExistsError: another stream, or one with another configuration, is there.
            DurableStreamError: any other refusal.
            FetchError: no answer within the policy.
        """
        content_type = content_type or self._content_type
        sent = _lifetime(ttl_seconds, expires_at)
        if content_type is not None:
            sent["Content-Type"] = content_type
        if closed:
            sent[names.STREAM_CLOSED] = "true"
        answer = await self._send("PUT", headers=sent, body=None if body is None else encoded(body))
        self._content_type = answer.headers.get("Content-Type", content_type)

    async def fork(
        self,
        url: str,
        *,
        offset: Offset | None = None,
        sub_offset: int | None = None,
        ttl_seconds: int | None = None,
        expires_at: str | None = None,
    ) -> AsyncDurableStream:
        """Create a stream at ``url`` that shares this one's content up to a point, and return its handle (§4.2).

        The handle shares this one's session: close that last.

        Args:
            url: the new stream's URL, on the same server.
            offset: an offset of this stream; ``None`` is its tail.
            sub_offset: messages (JSON) or bytes past ``offset``.
            ttl_seconds: the fork's own time to live; ``None`` inherits.
            expires_at: the fork's own expiry; ``None`` inherits.

        Raises:
            StreamNotFoundError: this stream does not exist.
            StreamExistsError: ``url`` is taken, or this stream is deleted.
            DurableStreamError: any other refusal, such as an offset beyond the tail.
            FetchError: no answer within the policy.
        """
        sent = {names.STREAM_FORKED_FROM: URL(self.url).raw_path, **_lifetime(ttl_seconds, expires_at)}
        if offset is not None:
            sent[names.STREAM_FORK_OFFSET] = offset
        if sub_offset is not None:
            sent[names.STREAM_FORK_SUB_OFFSET] = str(sub_offset)
        forked = AsyncDurableStream(url, retry=self._retry, on_error=self._on_error)
        forked._endpoint = self._endpoint.at(url)
        answer = await forked._send("PUT", headers=sent)
        forked._content_type = answer.headers.get("Content-Type", self._content_type)
        return forked

    async def head(self) -> HeadResult:
        """Return this stream's metadata (§5.5).

        Raises:
            StreamNotFoundError: 404.
            RetentionGoneError: deleted, and kept for its forks only.
            DurableStreamError: any other refusal.
            FetchError: no answer within the policy.
        """
        answer = await self._send("HEAD")
        headers = answer.headers
        self._content_type = headers.get("Content-Type", self._content_type)
        ttl = headers.get(STREAM_TTL)
        return HeadResult(
            exists=True,
            content_type=headers.get("Content-Type"),
            offset=headers.get(names.STREAM_NEXT_OFFSET),
            etag=headers.get("ETag"),
            cache_control=headers.get("Cache-Control"),
            stream_closed=answer.closed,
            ttl_seconds=None if ttl is None else int(ttl),
            expires_at=headers.get(STREAM_EXPIRES_AT),
            extensions=extensions(answer),
        )

    async def append(
        self,
        data: bytes | str,
        *,
        seq: str | None = None,
        if_match: Offset | None = None,
        content_type: str | None = None,
    ) -> AppendResult:
        """Append once, and return when it is durable.

        Args:
            data: the bytes; on a JSON stream one serialised value, appended as one message even if it is an array.
            seq: the writer's ``Stream-Seq``, above the last one byte by byte.
            if_match: append only if the stream's tail is still this offset.
            content_type: ``None`` takes the stream's.

        Raises:
            StreamClosedError: the stream is closed.
            SeqConflictError: ``seq`` is not above the last one.
            TailMovedError: the tail is not ``if_match``.
            StreamNotFoundError, RetentionGoneError: no stream, or a deleted one.
            DurableStreamError: any other refusal, or a body that is not one message.
            FetchError: no answer; the append may have happened. Repeated by itself only where it surely did not.
        """
        content_type, body = await self._framed(data, content_type)
        sent = {"Content-Type": content_type, **_compared(if_match)}
        if seq is not None:
            sent[names.STREAM_SEQ] = seq
        answer = await self._send("POST", headers=sent, body=body, repeat_if=unless_applied)
        return AppendResult(_next_offset(answer))

    async def append_as(
        self, triple: ProducerTriple, messages: Sequence[bytes], *, close: bool = False
    ) -> IdempotentAppendResult:
        """Append messages under one explicit producer triple, closing the stream in the same transaction if asked.

        For writers that number their own appends, and for deciding something once: of all who append under the same
        triple, one is accepted and the rest are told ``duplicate``. A lost answer is repeated with the same bytes.

        Args:
            triple: producer id, epoch and seq (§5.2.1).
            messages: as ``append``; several become one append. Empty only together with ``close``.
            close: close the stream behind them.

        Raises:
            StreamClosedError: the stream is closed, and not by this triple.
            StaleEpochError: another writer has begun a higher epoch of this producer.
            SequenceGapError: the triple's predecessor was never accepted.
            StreamNotFoundError, RetentionGoneError, DurableStreamError: as ``append``.
            FetchError: no answer within the policy; repeating the call settles it.
        """
        if messages and self._content_type is None:
            await self.head()
        append = self._idempotent(triple, messages, close=close)
        if self._appender is None:
            return await self._append_alone(append)
        return await self._appender.append(self.url, append, self._alone(append))

    def append_soon(
        self, triple: ProducerTriple, messages: Sequence[bytes], *, close: bool = False
    ) -> asyncio.Future[IdempotentAppendResult]:
        """Do as ``append_as``, but return at once what will be its result. The content type must be known, or given.

        Raises:
            DurableStreamError: a message is none. Everything else is the result's exception.
        """
        append = self._idempotent(triple, messages, close=close)
        if self._appender is None:
            return asyncio.ensure_future(self._append_alone(append))
        return self._appender.append(self.url, append, self._alone(append))

    def _idempotent(self, triple: ProducerTriple, messages: Sequence[bytes], *, close: bool) -> IdempotentAppend:
        return idempotent_append(triple, messages, self._content_type or content_types.DEFAULT, close=close)

    def _alone(self, append: IdempotentAppend) -> Callable[[bool], Coroutine[None, None, IdempotentAppendResult]]:
        return lambda in_doubt: self._append_alone(append, in_doubt=in_doubt)

    async def _append_alone(self, append: IdempotentAppend, *, in_doubt: bool = False) -> IdempotentAppendResult:
        doubt = Doubt(in_doubt)
        answer = await post(self._endpoint, append, retry=self._retry or RetryPolicy(), doubted=doubt)
        return acknowledgement(answer, append, in_doubt=doubt.in_doubt)

    async def close_stream(
        self, *, data: bytes | str | None = None, if_match: Offset | None = None, content_type: str | None = None
    ) -> CloseResult:
        """Close the stream for ever, with a last append in the same transaction if there is ``data`` (§5.3).

        Closing a closed stream without ``data`` succeeds.

        Raises:
            StreamClosedError: it is closed already and ``data`` cannot be appended.
            TailMovedError: the tail is not ``if_match``.
            StreamNotFoundError, RetentionGoneError, DurableStreamError: as ``append``.
            FetchError: no answer; with ``data``, as ``append``.
        """
        sent = {names.STREAM_CLOSED: "true", **_compared(if_match)}
        body = None
        if data is not None:
            sent["Content-Type"], body = await self._framed(data, content_type)
        answer = await self._send("POST", headers=sent, body=body, repeat_if=always if body is None else unless_applied)
        return CloseResult(_next_offset(answer))

    async def delete(self, *, if_match: Offset | None = None) -> None:
        """Delete the stream (§5.4); with ``if_match``, only if its tail is still this offset.

        Raises:
            StreamNotFoundError, RetentionGoneError: there was none. Not raised if an attempt whose answer was lost may
                have deleted it.
            TailMovedError: the tail is not ``if_match``.
            DurableStreamError: any other refusal.
            FetchError: no answer within the policy.
        """
        doubt = Doubt()
        try:
            await self._send("DELETE", headers=_compared(if_match), repeat_if=noting(doubt))
        except (StreamNotFoundError, RetentionGoneError):
            if not doubt.in_doubt:
                raise

    def stream(  # noqa: PLR0913 the official client's signature
        self,
        *,
        offset: Offset | None = None,
        live: LiveMode = True,
        tail: int | None = None,
        cursor: str | None = None,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        retry: RetryPolicy | None = None,
    ) -> AsyncStreamSession:
        """Read this stream over the handle's session; see ``astream``.

        ``headers`` and ``params`` are laid over the handle's.
        """
        endpoint = self._endpoint
        return astream(
            self.url,
            offset=offset,
            live=live,
            tail=tail,
            cursor=cursor,
            headers={**endpoint.headers, **(headers or {})},
            params={**endpoint.params, **(params or {})},
            on_error=self._on_error,
            client=endpoint.session,
            timeout=endpoint.timeout_s,
            retry=retry or self._retry,
        )

    async def _framed(self, data: bytes | str, content_type: str | None) -> tuple[str, bytes]:
        if content_type is None and self._content_type is None:
            await self.head()
        content_type = content_type or self._content_type or content_types.DEFAULT
        return content_type, joined([checked(encoded(data), content_type)], content_type)

    async def _send(
        self,
        method: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        repeat_if: Callable[[Interrupted], bool] = always,
    ) -> Answer:
        return await retrying(
            self._retry or RetryPolicy(),
            lambda: self._endpoint.send(method, headers=headers, body=body),
            repeat_if=repeat_if,
        )


def _lifetime(ttl_seconds: int | None, expires_at: str | None) -> dict[str, str]:
    sent = {}
    if ttl_seconds is not None:
        sent[STREAM_TTL] = str(ttl_seconds)
    if expires_at is not None:
        sent[STREAM_EXPIRES_AT] = expires_at
    return sent


def _compared(if_match: Offset | None) -> dict[str, str]:
    return {} if if_match is None else {IF_MATCH: f'"{if_match}"'}


def _next_offset(answer: Answer) -> str:
    offset = answer.headers.get(names.STREAM_NEXT_OFFSET)
    if offset is None:
        raise DurableStreamError(
            "acknowledged without a next offset; is this a stream?", status=answer.status, code="MISSING_OFFSET"
        )
    return offset

"""One pass over a stream, in the form the caller asks for.

Owns: what ``async for`` yields and what ``offset`` says meanwhile. Must not know: requests, retries.
Invariant: ``offset`` never runs ahead of what was handed out, so resuming from it never skips; between two deliveries, and
after the last item of a batch, it is exactly behind it, so it never repeats either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from durable_streams.client.decoding import BytesDecoder, Decoder, JsonDecoder, MessageDecoder, TextDecoder
from durable_streams.client.errors import SSEBytesIterationError, SSEReadAllError, StreamConsumedError
from durable_streams.client.values import LiveMode, Offset, StreamEvent
from durable_streams.protocol import content_types
from durable_streams.protocol.offsets import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from durable_streams.client.answers import Answer
    from durable_streams.client.batch import Batch, Position
    from durable_streams.client.endpoint import Endpoint
    from durable_streams.client.follower import Follower

T = TypeVar("T")

EventMode = Literal["bytes", "text", "json", "json_batches", "messages"]


class AsyncStreamResponse:
    """What ``astream`` opens: a stream read from its start offset, to be consumed once.

    Not for several tasks at once. Cancelling an iteration ends it; a new ``astream`` from ``offset`` goes on exactly there.
    """

    def __init__(self, endpoint: Endpoint, follower: Follower, *, live: LiveMode, opened: Opened) -> None:
        self._endpoint = endpoint
        self._follower = follower
        self._live = live
        self._answer = opened.answer
        self._unread: Batch | None = opened.batch
        self._start_offset = opened.start_offset
        self._consumed_by: str | None = None
        self._closed = False
        self._offset = opened.start_offset
        self._cursor: str | None = None
        self._up_to_date = self._stream_closed = False
        if not opened.batch.parts:
            self._publish(opened.batch.after)

    # Where the reader is.

    @property
    def offset(self) -> Offset:
        """Where to resume: behind everything handed out so far."""
        return self._offset

    @property
    def cursor(self) -> str | None:
        """The cache-collapsing token that belongs to ``offset``."""
        return self._cursor

    @property
    def up_to_date(self) -> bool:
        """Whether ``offset`` was the tail when the server answered."""
        return self._up_to_date

    @property
    def stream_closed(self) -> bool:
        """Whether the stream is closed and everything in it has been handed out."""
        return self._stream_closed

    # What was opened.

    @property
    def url(self) -> str:
        """The stream's URL."""
        return self._endpoint.url

    @property
    def content_type(self) -> str | None:
        """The stream's content type."""
        return self._answer.headers.get("Content-Type")

    @property
    def live(self) -> LiveMode:
        """The live mode asked for."""
        return self._live

    @property
    def start_offset(self) -> Offset:
        """The offset asked for; ``-1`` for the beginning."""
        return self._start_offset

    @property
    def status(self) -> int:
        """HTTP status of the first answer."""
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the first answer."""
        return self._answer.headers

    @property
    def ok(self) -> bool:
        """Always true: other answers raise."""
        return self._answer.ok

    @property
    def closed(self) -> bool:
        """Whether this response is closed; the stream's state is ``stream_closed``."""
        return self._closed

    async def aclose(self) -> None:
        """Release the connection. A second call does nothing."""
        self._closed = True
        await self._follower.aclose()
        await self._endpoint.aclose()

    async def __aenter__(self) -> AsyncStreamResponse:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    # Iterating.

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iter_bytes("__aiter__")

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Yield the stream's bytes, a page at a time; in JSON mode each is one array.

        Raises:
            SSEBytesIterationError: ``live="sse"`` on a text or JSON stream.
        """
        return self._iter_bytes("iter_bytes")

    def iter_text(self, encoding: str = "utf-8") -> AsyncIterator[str]:
        """Yield text, never half a character. Over SSE line ends arrive as LF.

        Raises:
            ValueError: another encoding than UTF-8 under ``live="sse"``, which is UTF-8 by definition.
        """
        decoder = self._text_decoder(encoding)
        return _payloads(self._events("iter_text", decoder, by_events=self._live == "sse"))

    @overload
    def iter_json(self) -> AsyncIterator[Any]: ...
    @overload
    def iter_json(self, decode: Callable[[Any], T]) -> AsyncIterator[T]: ...
    def iter_json(self, decode: Callable[[Any], Any] | None = None) -> AsyncIterator[Any]:
        """Yield parsed JSON items one by one; integers of any length stay exact.

        ``offset`` moves when the last item of a batch is yielded: resuming earlier repeats the batch's first items.

        Args:
            decode: applied to every item.
        """
        return self._items("iter_json", JsonDecoder(decode))

    @overload
    def iter_json_batches(self) -> AsyncIterator[list[Any]]: ...
    @overload
    def iter_json_batches(self, decode: Callable[[Any], T]) -> AsyncIterator[list[T]]: ...
    def iter_json_batches(self, decode: Callable[[Any], Any] | None = None) -> AsyncIterator[list[Any]]:
        """Yield the items of each answer as one list; ``offset`` is behind the list."""
        events = self._events("iter_json_batches", JsonDecoder(decode), by_events=self._json_by_events)
        return _payloads(events)

    def iter_messages(self) -> AsyncIterator[bytes]:
        """Yield JSON messages one by one, as the bytes that were appended; otherwise as ``iter_json``."""
        return self._items("iter_messages", MessageDecoder())

    def iter_events(
        self, mode: EventMode = "json", *, encoding: str = "utf-8", decode: Callable[[Any], Any] | None = None
    ) -> AsyncIterator[StreamEvent[Any]]:
        """Yield each delivery with its offset, and changes of state as events whose ``data`` is ``None``.

        Args:
            mode: the form of ``data``: ``bytes``, ``text``, a list of parsed items (``json`` and ``json_batches`` alike),
                or a list of ``messages`` as they were appended.
            encoding: for ``text``.
            decode: for JSON items.

        Raises:
            SSEBytesIterationError, ValueError: as ``iter_bytes`` and ``iter_text``.
        """
        by_events = self._live == "sse"
        if mode == "bytes":
            self._refuse_inexact_bytes()
            return self._events("iter_events", BytesDecoder(), by_events=by_events)
        if mode == "text":
            return self._events("iter_events", self._text_decoder(encoding), by_events=by_events)
        decoder: Decoder[Any] = MessageDecoder() if mode == "messages" else JsonDecoder(decode)
        return self._events("iter_events", decoder, by_events=self._json_by_events)

    # Reading to the present end.

    async def read_bytes(self) -> bytes:
        """Return everything up to the tail at this moment.

        Raises:
            SSEReadAllError: under ``live="sse"``.
        """
        return b"".join([chunk async for chunk in self._to_the_tail("read_bytes", BytesDecoder())])

    async def read_text(self, encoding: str = "utf-8") -> str:
        """Return everything up to the tail at this moment, as text. Raises as ``read_bytes``."""
        return "".join([chunk async for chunk in self._to_the_tail("read_text", TextDecoder(encoding))])

    async def read_json(self, decode: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return all items up to the tail at this moment. Raises as ``read_bytes``."""
        batches = self._to_the_tail("read_json", JsonDecoder(decode))
        return [item async for batch in batches for item in batch]

    async def read_json_batches(self, decode: Callable[[Any], Any] | None = None) -> list[list[Any]]:
        """Return the items up to the tail at this moment, one list per answer. Raises as ``read_bytes``."""
        return [batch async for batch in self._to_the_tail("read_json_batches", JsonDecoder(decode))]

    # How.

    @property
    def _json_by_events(self) -> bool:
        return self._live in {True, "auto", "sse"} and self._live is not False

    def _refuse_inexact_bytes(self) -> None:
        if self._live == "sse" and content_types.is_sse_text(self.content_type or ""):
            raise SSEBytesIterationError

    def _text_decoder(self, encoding: str) -> TextDecoder:
        if self._live == "sse" and encoding.lower().replace("-", "").replace("_", "") != "utf8":
            raise ValueError(f"an event stream is UTF-8, not {encoding}")
        return TextDecoder(encoding)

    def _iter_bytes(self, method: str) -> AsyncIterator[bytes]:
        self._refuse_inexact_bytes()
        return _payloads(self._events(method, BytesDecoder(), by_events=self._live == "sse"))

    def _consume(self, method: str) -> None:
        if self._consumed_by is not None:
            raise StreamConsumedError(method, self._consumed_by)
        self._consumed_by = method

    def _to_the_tail(self, method: str, decoder: Decoder[T]) -> AsyncIterator[T]:
        if self._live == "sse":
            raise SSEReadAllError(method)
        self._live = False
        return _payloads(self._events(method, decoder, by_events=False))

    async def _items(self, method: str, decoder: Decoder[list[T]]) -> AsyncIterator[T]:
        self._consume(method)
        async for items, after in self._deliveries(decoder, by_events=self._json_by_events):
            for item in (items or [])[:-1]:
                yield item
            self._publish(after)
            if items:
                yield items[-1]

    def _events(self, method: str, decoder: Decoder[T], *, by_events: bool) -> AsyncIterator[StreamEvent[T]]:
        self._consume(method)
        return self._event_iterator(decoder, by_events=by_events)

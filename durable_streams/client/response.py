"""What ``astream`` opens: the forms in which one pass over a stream can be consumed.

Owns: which decoder and which live mode a method uses. Must not know: requests, retries.
Invariant: a response is consumed by one method, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from durable_streams.client.decoding import BytesDecoder, Decoder, JsonDecoder, MessageDecoder, TextDecoder
from durable_streams.client.errors import SSEBytesIterationError, SSEReadAllError, StreamConsumedError
from durable_streams.protocol import content_types
from durable_streams.protocol.offsets import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from typing import Self

    from durable_streams.client.answers import Answer
    from durable_streams.client.endpoint import Endpoint
    from durable_streams.client.follower import Follower
    from durable_streams.client.reader import Reader
    from durable_streams.client.values import LiveMode, Offset, StreamEvent

T = TypeVar("T")

EventMode = Literal["bytes", "text", "json", "json_batches", "messages"]


@dataclass(frozen=True, slots=True)
class Opening:
    """How a response came to be: what was asked for and the first answer."""

    start_offset: Offset
    live: LiveMode
    answer: Answer


class AsyncStreamResponse:
    """A stream read from its start offset, to be consumed once, by one task.

    Cancelling an iteration ends it; a new ``astream`` from ``offset`` goes on exactly there.
    """

    def __init__(self, endpoint: Endpoint, follower: Follower, reader: Reader, *, opening: Opening) -> None:
        self._endpoint = endpoint
        self._follower = follower
        self._reader = reader
        self._opening = opening
        self._consumed_by: str | None = None
        self._closed = False

    @property
    def offset(self) -> Offset:
        """Where to resume: behind everything handed out so far."""
        return self._reader.position.offset or START

    @property
    def cursor(self) -> str | None:
        """The cache-collapsing token that belongs to ``offset``."""
        return self._reader.position.cursor

    @property
    def up_to_date(self) -> bool:
        """Whether ``offset`` was the tail when the server answered."""
        return self._reader.position.up_to_date

    @property
    def stream_closed(self) -> bool:
        """Whether the stream is closed and everything in it has been handed out."""
        return self._reader.position.closed

    @property
    def url(self) -> str:
        """The stream's URL."""
        return self._endpoint.url

    @property
    def content_type(self) -> str | None:
        """The stream's content type."""
        return self._opening.answer.headers.get("Content-Type")

    @property
    def live(self) -> LiveMode:
        """The live mode asked for."""
        return self._opening.live

    @property
    def start_offset(self) -> Offset:
        """The offset asked for; ``-1`` for the beginning."""
        return self._opening.start_offset

    @property
    def status(self) -> int:
        """HTTP status of the first answer, always 2xx: others raise."""
        return self._opening.answer.status

    @property
    def ok(self) -> bool:
        """Whether the first answer was 2xx, which it was."""
        return self._opening.answer.ok

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the first answer."""
        return self._opening.answer.headers

    @property
    def closed(self) -> bool:
        """Whether this response is closed; the stream's state is ``stream_closed``."""
        return self._closed

    async def aclose(self) -> None:
        """Release the connection. A second call does nothing."""
        self._closed = True
        await self._follower.aclose()
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._bytes("__aiter__")

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Yield the stream's bytes, a page at a time; in JSON mode each is one array.

        Raises:
            SSEBytesIterationError: ``live="sse"`` on a text or JSON stream.
        """
        return self._bytes("iter_bytes")

    def iter_text(self, encoding: str = "utf-8") -> AsyncIterator[str]:
        """Yield text, never half a character. Over SSE line ends arrive as LF.

        Raises:
            ValueError: another encoding than UTF-8 under ``live="sse"``, which is UTF-8 by definition.
        """
        decoder = self._text_decoder(encoding)
        self._consume("iter_text")
        return _payloads(self._reader.events(decoder, by_events=self._live_by_name))

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
        self._consume("iter_json")
        return self._reader.items(JsonDecoder(decode), by_events=self._live_by_items)

    def iter_messages(self) -> AsyncIterator[bytes]:
        """Yield JSON messages one by one, as the bytes that were appended; otherwise as ``iter_json``.

        Over SSE a line end between tokens arrives as LF, whatever it was.
        """
        self._consume("iter_messages")
        return self._reader.items(MessageDecoder(), by_events=self._live_by_items)

    @overload
    def iter_json_batches(self) -> AsyncIterator[list[Any]]: ...
    @overload
    def iter_json_batches(self, decode: Callable[[Any], T]) -> AsyncIterator[list[T]]: ...
    def iter_json_batches(self, decode: Callable[[Any], Any] | None = None) -> AsyncIterator[list[Any]]:
        """Yield the items of each answer as one list; ``offset`` is behind the list."""
        self._consume("iter_json_batches")
        return _payloads(self._reader.events(JsonDecoder(decode), by_events=self._live_by_items))

    def iter_events(
        self, mode: EventMode = "json", *, encoding: str = "utf-8", decode: Callable[[Any], Any] | None = None
    ) -> AsyncIterator[StreamEvent[Any]]:
        """Yield each delivery with its offset, and changes of state as events whose ``data`` is ``None``.

        Args:
            mode: the form of ``data``: ``bytes``, ``text``, a list of parsed items (``json`` and ``json_batches``
                alike), or a list of ``messages`` as they were appended.
            encoding: for ``text``.
            decode: for JSON items.

        Raises:
            SSEBytesIterationError, ValueError: as ``iter_bytes`` and ``iter_text``.
        """
        decoder: Decoder[Any]
        by_events = self._live_by_name
        if mode == "bytes":
            self._refuse_inexact_bytes()
            decoder = BytesDecoder()
        elif mode == "text":
            decoder = self._text_decoder(encoding)
        else:
            decoder = MessageDecoder() if mode == "messages" else JsonDecoder(decode)
            by_events = self._live_by_items
        self._consume("iter_events")
        return self._reader.events(decoder, by_events=by_events)

    async def read_bytes(self) -> bytes:
        """Return everything up to the tail at this moment.

        Raises:
            SSEReadAllError: under ``live="sse"``.
        """
        return b"".join([chunk async for chunk in self._to_tail("read_bytes", BytesDecoder())])

    async def read_text(self, encoding: str = "utf-8") -> str:
        """Return everything up to the tail at this moment, as text. Raises as ``read_bytes``."""
        return "".join([chunk async for chunk in self._to_tail("read_text", TextDecoder(encoding))])

    async def read_json(self, decode: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return all items up to the tail at this moment. Raises as ``read_bytes``."""
        batches = self._to_tail("read_json", JsonDecoder(decode))
        return [item async for batch in batches for item in batch]

    async def read_json_batches(self, decode: Callable[[Any], Any] | None = None) -> list[list[Any]]:
        """Return the items up to the tail at this moment, one list per answer. Raises as ``read_bytes``."""
        return [batch async for batch in self._to_tail("read_json_batches", JsonDecoder(decode))]

    @property
    def _live_by_name(self) -> bool:
        return self.live == "sse"

    @property
    def _live_by_items(self) -> bool:
        return self.live is True or self.live in {"auto", "sse"}

    def _refuse_inexact_bytes(self) -> None:
        if self._live_by_name and content_types.is_sse_text(self.content_type or ""):
            raise SSEBytesIterationError

    def _text_decoder(self, encoding: str) -> TextDecoder:
        if self._live_by_name and encoding.lower().replace("-", "").replace("_", "") != "utf8":
            raise ValueError(f"an event stream is UTF-8, not {encoding}")
        return TextDecoder(encoding)

    def _consume(self, method: str) -> None:
        if self._consumed_by is not None:
            raise StreamConsumedError(method, self._consumed_by)
        self._consumed_by = method

    def _bytes(self, method: str) -> AsyncIterator[bytes]:
        self._refuse_inexact_bytes()
        self._consume(method)
        return _payloads(self._reader.events(BytesDecoder(), by_events=self._live_by_name))

    def _to_tail(self, method: str, decoder: Decoder[T]) -> AsyncIterator[T]:
        if self._live_by_name:
            raise SSEReadAllError(method)
        self._consume(method)
        return _payloads(self._reader.events(decoder, to_tail=True))


async def _payloads(events: AsyncIterator[StreamEvent[T]]) -> AsyncIterator[T]:
    async for event in events:
        if event.data is not None:
            yield event.data

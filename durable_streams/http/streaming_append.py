"""A POST that appends as it arrives: ``Stream-Append-Mode: stream`` (an extension, §11.1).

Owns: cutting what arrives into appends, keeping one command of them under way, and the final answer.
Must not know: how the bytes are read from the connection.

On a JSON stream every line (NDJSON) is an append, flattened like a body; on any other, every chunk that the client
flushes. Each becomes durable and visible at once, batched by group commit; everything that arrives while a commit is
under way goes into the next one. With a producer triple, append *n* carries seq + *n*, and a close the seq after that;
so a broken upload sent again from its start, with the same triple, adds only what was missing.

The answer comes at the end: ``Stream-Next-Offset``, and ``Stream-Append-Count``, how many appends are durable. A
refused append ends the upload; those before it stay, and the count says how many they are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from durable_streams.http import answers
from durable_streams.http.errors import answer_of
from durable_streams.http.messages import Answer
from durable_streams.protocol import content_types, json_mode
from durable_streams.protocol import headers as names
from durable_streams.protocol.append import Append
from durable_streams.protocol.errors import (
    BodyTooLargeError,
    EmptyBodyError,
    InvalidHeaderError,
    InvalidRequestError,
    MissingContentTypeError,
    StreamError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.many import AppendOutcome
    from durable_streams.streams import Streams

APPEND_MODE: Final = "Stream-Append-Mode"
APPEND_COUNT: Final = "Stream-Append-Count"
STREAM: Final = "stream"
READY_MAX: Final = 4096
"""Appends that may wait for the commit under way; then nothing more is read from the client."""
PIECES_MAX: Final = 4096
"""Pieces of an unfinished line that are kept apart: each costs more than its bytes."""
_BLANK: Final = b" \t\r\n"


class Upload:
    """One upload. The loop's thread only.

    Args:
        streams: the use cases.
        path: the stream's path.
        headers: of the request.
        max_append_bytes: largest line or chunk.

    Raises:
        InvalidHeaderError: an unknown mode, a malformed producer triple, or ``Stream-Seq``, which one request of many
            appends cannot carry.
        MissingContentTypeError: no ``Content-Type``.
    """

    def __init__(self, streams: Streams, path: str, headers: Mapping[str, str], *, max_append_bytes: int) -> None:
        if headers.get(APPEND_MODE) != STREAM:
            raise InvalidHeaderError(APPEND_MODE, f"must be {STREAM}")
        if headers.get(names.STREAM_SEQ) is not None:
            raise InvalidHeaderError(names.STREAM_SEQ, f"cannot be used with {APPEND_MODE}")
        self._content_type = headers.get("Content-Type", "")
        if not self._content_type.strip():
            raise MissingContentTypeError("an append with a body needs a Content-Type")
        self._streams, self._path, self._max_append_bytes = streams, path, max_append_bytes
        self._close, self._claim = names.parse_closed(headers), names.parse_claim(headers)
        self._is_json = content_types.is_json(self._content_type)
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._ready: list[Append] = []
        self._made = self._durable = self._flying = 0
        self._last: AppendOutcome | None = None
        self._refusal: StreamError | None = None
        self._idle = asyncio.Event()
        self.on_refused: Callable[[], None] | None = None

    async def feed(self, arrived: bytes, *, flushed: bool) -> bool:
        """Take bytes from the client; return whether to read on.

        Waits while too much is ready. ``flushed``: the client ended a chunk here.
        """
        if self._is_json:
            *ends, arrived = arrived.split(b"\n")
            for end in ends:
                self._hold(end)
                self._add(self._whole())
        self._hold(arrived)
        if flushed and not self._is_json:
            self._add(self._whole())
        if self._partial_bytes > self._max_append_bytes:
            self._refuse(BodyTooLargeError(self._max_append_bytes))
        self._launch()
        while len(self._ready) > READY_MAX and self._refusal is None:
            self._idle.clear()
            await self._idle.wait()
        return self._refusal is None

    async def finish(self) -> Answer:
        """Append what is left, close if asked to, and answer once all is durable."""
        self.on_refused = None
        self._add(self._whole())
        if self._close and self._refusal is None:
            self._ready.append(self._numbered(b"", close=True))
        if self._made == 0 and not self._close:
            self._refuse(EmptyBodyError("an upload needs at least one append"))
        self._launch()
        while self._busy:
            self._idle.clear()
            await self._idle.wait()
        return self._answer()

    @property
    def refused(self) -> bool:
        """Whether nothing more is taken; ``on_refused`` is called when that becomes so between two feeds."""
        return self._refusal is not None

    @property
    def _busy(self) -> bool:
        return self._flying > 0 or bool(self._ready)

    def _hold(self, piece: bytes) -> None:
        """Keep a piece of a line or chunk; joined only when it is whole, or many small ones would cost the square."""
        if piece:
            self._partial.append(piece)
            self._partial_bytes += len(piece)
            if len(self._partial) >= PIECES_MAX:
                self._partial = [b"".join(self._partial)]

    def _whole(self) -> bytes:
        raw, self._partial, self._partial_bytes = b"".join(self._partial), [], 0
        return raw

    def _add(self, raw: bytes) -> None:
        """Make an append of one line or chunk; blank ones are nothing."""
        if self._refusal is not None or not (raw.strip(_BLANK) if self._is_json else raw):
            return
        payload = raw
        if self._is_json:
            try:
                payload = json_mode.flatten(raw)
            except InvalidRequestError as refusal:
                self._refuse(refusal)
                return
        if len(payload) > self._max_append_bytes:
            self._refuse(BodyTooLargeError(self._max_append_bytes))
            return
        self._ready.append(self._numbered(payload))
        self._made += 1

    def _numbered(self, payload: bytes, *, close: bool = False) -> Append:
        claim = self._claim
        if claim is not None:
            claim = claim._replace(seq=claim.seq + self._made)
        return Append(payload, self._content_type, close, claim)

    def _refuse(self, refusal: StreamError) -> None:
        """What was made before the refusal still goes out; nothing is made after it."""
        if self._refusal is None:
            self._refusal = refusal

    def _launch(self) -> None:
        """Send everything that is ready as one command, unless one is under way."""
        if self._flying or not self._ready:
            return
        appends, self._ready = [(self._path, append) for append in self._ready], []
        self._flying = len(appends)
        self._streams.submit_many(appends, self._landed, stop_at_refusal=True)

    def _landed(self, outcomes: list[AppendOutcome] | StreamError) -> None:
        self._flying = 0
        for outcome in [outcomes] if isinstance(outcomes, StreamError) else outcomes:
            if isinstance(outcome, StreamError):
                self._refusal, self._ready = outcome, []
                if self.on_refused is not None:
                    self.on_refused()
            else:
                self._last = outcome
                self._durable += 1
        self._launch()
        self._idle.set()

    def _answer(self) -> Answer:
        count = (APPEND_COUNT, str(min(self._durable, self._made)))
        last = self._last
        where = () if last is None or isinstance(last, StreamError) else (answers.next_offset(last.tail),)
        if self._refusal is not None:
            refused = answer_of(self._refusal)
            own = {name for name, _ in refused.headers}
            fields = [field for field in where if field[0] not in own]
            return Answer(refused.status, (*refused.headers, *fields, count, ("Connection", "close")), refused.body)
        if last is None or isinstance(last, StreamError):
            raise AssertionError("an upload without appends was not refused")
        closed = (answers.CLOSED,) if last.closed else ()
        return Answer(204, (*where, *closed, count))

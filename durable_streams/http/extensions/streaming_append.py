"""A POST that appends as it arrives: ``Stream-Append-Mode: stream`` (an extension, §11.1).

Owns: making appends of what arrives, keeping one command of them under way, and the final answer.
Must not know: how the bytes are read from the connection.

On a JSON stream every line (NDJSON) is an append, flattened like a body; on any other, what the client flushes. Each
becomes durable and visible at once, batched by group commit: what arrives during one commit goes into the next.

A producer's upload can be sent again from its start, under the same triple, and adds only what was missing. Lines are
told apart by their number: line *n* carries seq + *n*, and a close the seq after the last. Other bytes have no
boundaries that survive the way (chunks belong to one hop, RFC 9112 §7.1), so an upload of them has one seq, and the
producer's fence says how many of its bytes are stored (``protocol/producer.py``).

The answer comes at the end: ``Stream-Next-Offset``, and ``Stream-Append-Count``, how many appends are durable. A
refused append ends the upload; those before it stay, and the count says how many they are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from durable_streams.http import answers
from durable_streams.http.appends import fields_of, parse_fields, payload_of, require_type, status_of
from durable_streams.http.errors import answer_of
from durable_streams.http.extensions.upload_pieces import Lines, Pieces
from durable_streams.http.fronts.content_coding import CONTENT_ENCODING, Unpacker
from durable_streams.http.messages import Answer
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names
from durable_streams.protocol.append import Append
from durable_streams.protocol.errors import EmptyBodyError, InvalidHeaderError, StreamError
from durable_streams.protocol.producer import Part
from durable_streams.protocol.response_fields import STREAM_APPEND_COUNT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.protocol.append import Appended, Duplicate
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.many import Verdict
    from durable_streams.streams.service import Streams


class Holding(Protocol):
    """The account of what is held of one upload."""

    def hold(self, size_bytes: int) -> None:
        """Count so much from now on. Raises ``OverloadedError`` if that is too much."""


APPEND_MODE: Final = "Stream-Append-Mode"
APPEND_COUNT: Final = STREAM_APPEND_COUNT
STREAM: Final = "stream"
READY_MAX: Final = 512
"""Appends that may wait for the commit under way; then nothing more is taken of what the client sends."""
READY_MAX_BYTES: Final = 4 << 20
"""Their bytes, likewise."""
SLICE_COUNT: Final = 64
"""Appends made in one turn of the loop; then others come in between."""
APPEND_BYTES: Final = 512
"""What an append that waits costs beside its bytes."""
PIECE_MAX_BYTES: Final = 256 * 1024
"""What is held of a chunk that the client has not ended; then it is appended as far as it is here."""


class Upload:
    """One upload. The loop's thread only.

    Args:
        streams: the use cases.
        path: the stream's path.
        headers: of the request.
        max_append_bytes: largest line.
        holding: counts what is held of it.
        turns: of the loop.

    Raises:
        InvalidHeaderError: an unknown mode or content coding, a malformed field, or ``Stream-Seq``, which one request
            of many appends cannot carry.
        MissingContentTypeError: no ``Content-Type``.
    """

    def __init__(
        self,
        streams: Streams,
        path: str,
        headers: Mapping[str, str],
        *,
        max_append_bytes: int,
        holding: Holding,
        turns: Turns,
    ) -> None:
        if headers.get(APPEND_MODE) != STREAM:
            raise InvalidHeaderError(APPEND_MODE, f"must be {STREAM}")
        self._asked = asked = parse_fields(headers)
        if asked.stream_seq is not None:
            raise InvalidHeaderError(names.STREAM_SEQ, f"cannot be used with {APPEND_MODE}")
        require_type(asked)
        self._unpacker = Unpacker.of(headers.get(CONTENT_ENCODING))
        self._is_json = content_types.is_json(asked.content_type)
        self._cutter = Lines(max_append_bytes) if self._is_json else Pieces(min(max_append_bytes, PIECE_MAX_BYTES))
        self._by_bytes = asked.triple is not None and not self._is_json
        self._compared = asked.if_match is not None
        self._streams, self._path, self._holding, self._turns = streams, path, holding, turns
        self._ready: list[Append] = []
        self._ready_bytes = self._made = self._made_bytes = self._durable = self._flying = 0
        self._in_turn = self._arrived_bytes = 0
        self._last: Appended | Duplicate | None = None
        self._status = 204
        self._refusal: StreamError | None = None
        self._idle = asyncio.Event()
        self.turned_away: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def feed(self, arrived: bytes, *, flushed: bool) -> bool:
        """Take bytes from the client; return whether to read on.

        Waits while too much is ready. ``flushed``: the client ended a chunk here.
        """
        try:
            if self._unpacker is not None:
                for unpacked in self._unpacker.feed(arrived):
                    await self._take(unpacked, flushed=False)
                arrived = b""
            await self._take(arrived, flushed=flushed)
        except StreamError as refusal:
            self._refuse(refusal)
            self._launch()
        return self._refusal is None

    async def finish(self) -> Answer:
        """Append what is left, close if asked to, and answer once all is durable."""
        if self._refusal is None:
            try:
                if self._unpacker is not None:
                    self._unpacker.finish()
                self._end()
            except StreamError as refusal:
                self._refuse(refusal)
        self._launch()
        while self._busy:
            self._idle.clear()
            await self._idle.wait()
        return self._answer()

    @property
    def refused(self) -> bool:
        """Whether nothing more is taken; ``turned_away`` is done when that becomes so between two feeds."""
        return self._refusal is not None

    @property
    def _busy(self) -> bool:
        return self._flying > 0 or bool(self._ready)

    async def _take(self, arrived: bytes, *, flushed: bool) -> None:
        """Make appends of what arrived, as many as may wait and a slice a turn; the rest of it waits uncut."""
        self._arrived_bytes = len(arrived)
        for body in self._cutter.feed(arrived, flushed=flushed):
            if self._refusal is not None:
                return
            self._add(body)
            self._in_turn += 1
            if self._in_turn >= SLICE_COUNT:
                self._in_turn = 0
                await self._turns.mine(SLICE_COUNT * APPEND_BYTES)
            if self._is_full:
                await self._make_room()
        self._arrived_bytes = 0
        self._launch()
        self._count()

    async def _make_room(self) -> None:
        self._launch()
        self._count()
        while self._is_full and self._refusal is None:
            self._idle.clear()
            await self._idle.wait()

    def _count(self) -> None:
        """Count what is held. Raises ``OverloadedError``."""
        uncut_bytes = self._arrived_bytes + self._cutter.held_bytes
        self._holding.hold(uncut_bytes + self._ready_bytes + APPEND_BYTES * len(self._ready))

    @property
    def _is_full(self) -> bool:
        return len(self._ready) >= READY_MAX or self._ready_bytes > READY_MAX_BYTES

    def _end(self) -> None:
        """Make the last appends of an upload that came to its end."""
        for body in self._cutter.finish():
            self._add(body)
        if self._made == 0 and not self._asked.close:
            raise EmptyBodyError("an upload needs at least one append")
        if self._by_bytes or self._asked.close:
            # Also an upload that does not close needs a last piece: without one, its producer could not go on.
            self._put(b"", last=True)

    def _add(self, body: bytes) -> None:
        """Make an append of one line or piece."""
        if self._refusal is not None:
            return
        payload = payload_of(body, self._asked.content_type) if self._is_json else body
        if isinstance(payload, StreamError):
            raise payload
        self._put(payload, last=False)
        self._made += 1
        self._made_bytes += len(payload)

    def _put(self, payload: bytes, *, last: bool) -> None:
        _, content_type, close, triple, _, write_token, if_match, *_ = self._asked
        part = None
        if self._by_bytes:
            part = Part(self._made_bytes, last)
        elif triple is not None:
            triple = triple._replace(seq=triple.seq + self._made)
        append = Append(payload, content_type, close and last, triple, None, write_token, if_match, part, close)
        self._ready.append(append)
        self._ready_bytes += len(payload)
        if if_match is not None:
            self._asked = self._asked._replace(if_match=None)  # the condition is on where the upload begins

    def _refuse(self, refusal: StreamError) -> None:
        """What was made before the refusal still goes out; nothing is made after it."""
        if self._refusal is None:
            self._refusal = refusal

    def _launch(self) -> None:
        """Send everything that is ready as one command, unless one is under way."""
        if self._flying or not self._ready:
            return
        appends, self._ready, self._ready_bytes = [(self._path, append) for append in self._ready], [], 0
        self._flying = len(appends)
        self._streams.submit_many(appends, self._landed, stop_at_refusal=True)

    def _landed(self, verdicts: list[Verdict] | StreamError) -> None:
        self._flying = 0
        for verdict in [verdicts] if isinstance(verdicts, StreamError) else verdicts:
            if isinstance(verdict, StreamError):
                self._refusal, self._ready, self._ready_bytes = verdict, [], 0
                if not self.turned_away.done():
                    self.turned_away.set_result(None)
            else:
                self._last = verdict
                if status_of(verdict) == 200:  # noqa: PLR2004 some of it was new
                    self._status = 200
                self._durable += 1
        self._launch()
        self._idle.set()

    def _answer(self) -> Answer:
        count = (APPEND_COUNT, str(min(self._durable, self._made)))
        last = self._last
        if self._refusal is not None:
            refused = answer_of(self._refusal)
            own = {name for name, _ in refused.headers}
            where = () if last is None else (answers.next_offset(last.tail),)
            fields = [field for field in where if field[0] not in own]
            return Answer(refused.status, (*refused.headers, *fields, count, ("Connection", "close")), refused.body)
        if last is None:
            raise AssertionError("an upload without appends was not refused")
        return Answer(self._status, (*fields_of(last, compared=self._compared), count))

"""A whole answer's body: the stored bytes up to the tail of one moment, read piece by piece as they are sent (§5.6).

Owns: how far the answer has come, and when it may not go on. Must not know: transports, fronts, header fields.

Invariant: what is handed out is, in order and without a gap, what was announced; where that cannot be, nothing more is,
and the front cuts the connection: an answer's length is said before its first byte, so the client sees that it was cut.
Between two pieces nothing is held but the position: no read transaction, no stored bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from durable_streams.engine.base import EngineError
from durable_streams.protocol.errors import NotFoundError, StreamError
from durable_streams.protocol.read import part_of

if TYPE_CHECKING:
    from durable_streams.http.outgoing import Outgoing, Parcel
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.read import Whole
    from durable_streams.streams.service import Streams

_log = structlog.get_logger(__name__)


class WholeBody:
    """Implements ``BodySource``.

    Args:
        streams: the use cases.
        head: the stream's, when the answer began.
        whole: what the answer holds.
        outgoing: where pieces are counted, and found if they are on their way already.
    """

    __slots__ = ("_head", "_outgoing", "_position", "_streams", "_whole", "left_bytes")

    def __init__(self, streams: Streams, head: Head, whole: Whole, *, outgoing: Outgoing) -> None:
        self._streams, self._head, self._whole, self._outgoing = streams, head, whole, outgoing
        self._position, self.left_bytes = whole.start, whole.body_bytes

    def first(self) -> Parcel:
        """Return the first piece. Raises ``StreamError`` and ``EngineError``: they can still be answered."""
        self._outgoing.check()
        return self._next()

    def _check_standing(self) -> None:
        if self._streams.touched_head(self._head.path).sid != self._head.sid:
            raise NotFoundError(self._head.path)

    def _next(self) -> Parcel:
        whole, position = self._whole, self._position
        end = min(whole.end, position + self._streams.page_max_bytes)
        key = (whole.sid, position, end, position == whole.start, end == whole.end)
        part = self._outgoing.shared(key, lambda: self._read(end))
        self._position = end
        self.left_bytes -= len(part.payload)
        return part

    def _read(self, end: int) -> bytes:
        payload = self._streams.piece(self._head, self._position, end)
        if self._position + len(payload) != end:
            raise AssertionError("a piece is a page, or what is left of the answer")
        return part_of(self._whole, self._position, payload)

    def take(self) -> Parcel | None:
        """Return the next piece; ``None`` if the stream was deleted, has expired, or cannot be read any more.

        Every piece is a read of its own: it slides the TTL, so that a stream does not expire under a slow reader.
        """
        try:
            self._check_standing()
            return self._next()
        except StreamError as refusal:
            _log.info("an answer was cut", path=self._head.path, reason=str(refusal))
        except EngineError as fault:
            _log.error("an answer was cut", path=self._head.path, error=str(fault))
        except Exception as fault:  # noqa: BLE001 nobody above could still answer
            _log.error("an answer was cut", path=self._head.path, exc_info=fault)
        return None

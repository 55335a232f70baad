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
    """

    __slots__ = ("_head", "_position", "_streams", "_whole", "left_bytes")

    def __init__(self, streams: Streams, head: Head, whole: Whole) -> None:
        self._streams, self._head, self._whole = streams, head, whole
        self._position, self.left_bytes = whole.start, whole.body_bytes

    def first(self) -> bytes:
        """Return the first piece. Raises ``StreamError`` and ``EngineError``: they can still be answered."""
        return self._next()

    def _check_standing(self) -> None:
        if self._streams.touched_head(self._head.path).sid != self._head.sid:
            raise NotFoundError(self._head.path)

    def _next(self) -> bytes:
        payload = self._streams.piece(self._head, self._position, self._whole.end)
        if not payload:
            raise AssertionError("an answer is over when nothing of it is left")
        part = part_of(self._whole, self._position, payload)
        self._position += len(payload)
        self.left_bytes -= len(part)
        return part

    def take(self) -> bytes | None:
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

"""A draft: the working copy of one head while a batch is decided.

Owns: the mutable form of ``Head``. Must not know: which decision changes it, or whether the batch will win.
Invariant: a refused command leaves the draft exactly as it was; deciders check everything before they change anything.
"""

from __future__ import annotations

from durable_streams.protocol.expiry import deadline_ms
from durable_streams.protocol.head import CLOSED, SOFT_DELETED, Head, Record, decode_record, encode_record


class Draft:
    """One stream's head, decoded and changeable. Attributes as in ``Head``, with ``record`` decoded."""

    __slots__ = ("_encoded", "due_ms", "path", "record", "refs", "sid", "state", "tail", "touched_ms")

    def __init__(self, path: str, sid: int, record: Record, *, now_ms: int) -> None:
        self.path, self.sid, self.record = path, sid, record
        self.tail = self.state = self.refs = 0
        self.touched_ms = now_ms
        self.due_ms = deadline_ms(record, now_ms) or 0
        self._encoded: tuple[Record, bytes] | None = None

    @classmethod
    def of(cls, head: Head, touched_ms: int) -> Draft:
        """Return a draft of a stored head, touched at the later of the head's own time and ``touched_ms``."""
        draft = cls.__new__(cls)
        draft.path, draft.sid, _, draft.tail, draft.state, stored_ms, draft.refs, draft.due_ms, encoded = head
        draft.touched_ms = max(stored_ms, touched_ms)
        draft.record = decode_record(encoded)
        draft._encoded = (draft.record, encoded)  # noqa: SLF001 its own class
        return draft

    def head(self, version: int) -> Head:
        """Return the head to store, under a fresh ``version``."""
        if self._encoded is None or self._encoded[0] is not self.record:
            self._encoded = (self.record, encode_record(self.record))
        return Head(
            self.path,
            self.sid,
            version,
            self.tail,
            self.state,
            self.touched_ms,
            self.refs,
            self.due_ms,
            self._encoded[1],
        )

    @property
    def closed(self) -> bool:
        """Whether the stream takes no further appends."""
        return bool(self.state & CLOSED)

    @property
    def soft_deleted(self) -> bool:
        """Whether the stream is kept only for its forks."""
        return bool(self.state & SOFT_DELETED)

    def touch(self, now_ms: int) -> None:
        """Slide the TTL."""
        if now_ms > self.touched_ms:  # noqa: PLR1730 max() costs three times as much, and every append comes by here
            self.touched_ms = now_ms

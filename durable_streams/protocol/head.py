"""The head: the one record that says what a stream is right now.

Owns: the shape of a head, and the encoding of the part of it that an engine keeps without looking inside.
Must not know: how a head is stored, who may change it, what time it is.
Invariant: two heads with the same ``sid`` and ``version`` are the same head.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import orjson

CLOSED = 1
"""Bit of ``Head.state``: no further appends (§4.1). Never cleared within one incarnation."""
SOFT_DELETED = 2
"""Bit of ``Head.state``: deleted by its owner, kept because forks still read its bytes (§4.2)."""


class Head(NamedTuple):
    """One stream's current state, as an engine stores it; replaced whole by compare-and-swap.

    path: stream-root-relative path, 1 to 480 bytes of UTF-8.
    sid: incarnation id, 63 bits; a stream deleted and created again at the same path has another one.
    version: compare-and-swap token, 63 bits, drawn fresh for every mutation and compared for equality only, so that
        a mutation sent twice (its first outcome unknown) can be recognised as having won.
    tail: offset in bytes just after the last byte.
    state: bits ``CLOSED`` and ``SOFT_DELETED``.
    touched_ms: last read or write that slides a TTL, Unix milliseconds.
    refs: how many forks name this stream as their source (§2 Reference Count).
    due_ms: the key under which the engine's ``due`` index holds this stream, 0 for none; never later than the true
        deadline, moved lazily, so that an append to a TTL stream costs no index write.
    record: a ``Record``, encoded; opaque to engines.
    """

    path: str
    sid: int
    version: int
    tail: int
    state: int
    touched_ms: int
    refs: int
    due_ms: int
    record: bytes

    @property
    def closed(self) -> bool:
        """Whether the stream takes no further appends."""
        return bool(self.state & CLOSED)

    @property
    def soft_deleted(self) -> bool:
        """Whether the stream is gone for clients and kept for its forks."""
        return bool(self.state & SOFT_DELETED)


class Segment(NamedTuple):
    """Bytes ``[.., end)`` of a fork that are stored under an ancestor's ``sid``."""

    sid: int
    end: int


class Fork(NamedTuple):
    """What a fork remembers of its creation (§4.2).

    source_path, source_sid: the stream named by ``Stream-Forked-From`` and its incarnation.
    anchor: the requested or defaulted ``Stream-Fork-Offset``.
    sub_offset: the requested ``Stream-Fork-Sub-Offset``.
    asked_offset: whether the request named an offset; a retry that names none must match only such a fork.
    inherited_expiry: whether TTL or expiry came from the source rather than from the request.
    lineage: ancestors' segments in offset order; the last one ends where the fork's own bytes begin. An ancestor that
        has no byte of its own before that may have none.
    depth: how many ancestors there are, with a segment or without.
    """

    source_path: str
    source_sid: int
    anchor: int
    sub_offset: int
    asked_offset: bool
    inherited_expiry: bool
    lineage: tuple[Segment, ...]
    depth: int = 1

    @property
    def base(self) -> int:
        """First offset of the fork's own bytes."""
        return self.lineage[-1].end if self.lineage else 0


class Closer(NamedTuple):
    """The producer triple that closed the stream, so that its retry is a duplicate and any other a conflict."""

    producer_id: str
    epoch: int
    seq: int


class Record(NamedTuple):
    """The rest of a head: what is set at creation, and what few writes change.

    content_type: as given at creation, parameters included.
    ttl_s: sliding window in seconds, ``None`` for none.
    expires_at_ms: absolute expiry, Unix milliseconds, ``None`` for none.
    stream_seq: last accepted ``Stream-Seq``, scoped per stream.
    closer: the producer triple of the closing append, if it carried one.
    fork: set on forks.
    producer_required: plain appends, without a producer, are refused.
    write_fenced: appends need the write token of a current claim, or a producer that was let in with one.
    subscription: set on the heads of subscriptions, which are no streams: their state, opaque here.
    """

    content_type: str
    ttl_s: int | None = None
    expires_at_ms: int | None = None
    stream_seq: str | None = None
    closer: Closer | None = None
    fork: Fork | None = None
    producer_required: bool = False
    write_fenced: bool = False
    subscription: str | None = None


_ALWAYS = len(Record._fields) - len(("producer_required", "write_fenced", "subscription"))
"""Fields that are always written; those behind them only on heads that use one of them."""


def encode_record(record: Record) -> bytes:
    """Encode a record as a JSON array in field order; tuples become arrays."""
    return orjson.dumps(_plain(record if any(record[_ALWAYS:]) else record[:_ALWAYS]))


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=4096)
def decode_record(encoded: bytes) -> Record:
    """Decode what ``encode_record`` made. Cached: many streams share one record, and hot streams ask often.

    Raises:
        ValueError: the bytes are not a record.
    """
    try:
        content_type, ttl_s, expires_at_ms, stream_seq, closer, fork, *rest = orjson.loads(encoded)
        return Record(
            content_type,
            ttl_s,
            expires_at_ms,
            stream_seq,
            Closer(*closer) if closer else None,
            _decode_fork(*fork) if fork else None,
            *rest,
        )
    except TypeError as error:
        raise ValueError(f"not a record: {error}") from None


def _decode_fork(*fields: Any) -> Fork:  # noqa: ANN401 whatever was stored
    fork = Fork(*fields)
    return fork._replace(lineage=tuple(Segment(*segment) for segment in fork.lineage))

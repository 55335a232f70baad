"""Values of the LMDB databases, as bytes.

Owns: the layout of the head row and the producer row. (The values of ``sid`` and ``due`` are a path as in ``keys``,
    those of ``chunk`` the stream's own bytes, those of ``gc`` empty.)
Must not know: what a head's record holds, transactions.
Invariant: decoding what was encoded gives it back; a row of another size is refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from durable_streams.engine.base import ProducerRow
from durable_streams.engine.lmdb.keys import LayoutError
from durable_streams.protocol.head import Head

if TYPE_CHECKING:
    from durable_streams.engine.lmdb.keys import Buffer

_HEAD = struct.Struct(">QQQQQQB")
"""sid, version, due_ms, touched_ms, tail, refs: 8 bytes each; state: 1 byte. The record follows, to the row's end."""
_STAMP = struct.Struct(">QQQ")
_TOUCHABLE = struct.Struct(">QQQQ")
_TOUCHED = struct.Struct(">Q")
_TOUCHED_AT = 24
_PRODUCER = struct.Struct(">QQ")
"""epoch, seq: 8 bytes each."""
_UPLOAD = struct.Struct(">QQQB")
"""epoch, seq, upload_bytes: 8 bytes each; finished: 1 byte. The row of a producer whose newest append is an upload."""


class Stamp(NamedTuple):
    """What a compare-and-swap needs of a stored head: the first 24 bytes of its row."""

    sid: int
    version: int
    due_ms: int


def encode_head(head: Head) -> bytes:
    """Encode all of a head but its path, which is the key."""
    _, sid, version, tail, state, touched_ms, refs, due_ms, record = head
    return _HEAD.pack(sid, version, due_ms, touched_ms, tail, refs, state) + record


def decode_head(path: str, row: Buffer) -> Head:
    """Decode a head row. Raises ``LayoutError``."""
    if len(row) < _HEAD.size:
        message = f"head row of {len(row)} bytes"
        raise LayoutError(message)
    sid, version, due_ms, touched_ms, tail, refs, state = _HEAD.unpack_from(row)
    return Head(path, sid, version, tail, state, touched_ms, refs, due_ms, bytes(row[_HEAD.size :]))


def decode_stamp(row: Buffer) -> Stamp:
    """Decode the beginning of a head row. Raises ``LayoutError``."""
    if len(row) < _HEAD.size:
        message = f"head row of {len(row)} bytes"
        raise LayoutError(message)
    return Stamp._make(_STAMP.unpack_from(row))


def touched_row(row: bytes, sid: int, touched_ms: int) -> bytes | None:
    """Return the head row with ``touched_ms`` raised; ``None`` if it is another incarnation's or that late already."""
    stored_sid, _, _, stored_ms = _TOUCHABLE.unpack_from(row)
    if stored_sid != sid or stored_ms >= touched_ms:
        return None
    return row[:_TOUCHED_AT] + _TOUCHED.pack(touched_ms) + row[_TOUCHED_AT + _TOUCHED.size :]


def encode_producer_row(producer: ProducerRow) -> bytes:
    """Encode all of a row but the producer id, which is part of the key."""
    _, epoch, seq, upload_bytes, finished = producer
    if upload_bytes is None:
        return _PRODUCER.pack(epoch, seq)
    return _UPLOAD.pack(epoch, seq, upload_bytes, finished)


def decode_producer_row(producer_id: str, row: Buffer) -> ProducerRow:
    """Decode a producer row of either size. Raises ``LayoutError``."""
    if len(row) == _PRODUCER.size:
        return ProducerRow(producer_id, *_PRODUCER.unpack(row))
    if len(row) == _UPLOAD.size:
        epoch, seq, upload_bytes, finished = _UPLOAD.unpack(row)
        return ProducerRow(producer_id, epoch, seq, upload_bytes, bool(finished))
    message = f"producer row of {len(row)} bytes"
    raise LayoutError(message)

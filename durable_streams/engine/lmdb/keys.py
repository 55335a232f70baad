"""Keys of the LMDB databases, as bytes.

Owns: the layout of every key, one encode/decode pair each. Big-endian throughout, so that key order is number order.
Must not know: what stands under a key, transactions.
Invariant: decoding what was encoded gives it back; anything of another size is refused, never padded or cut.

======== ============================= =====================================
database key                           size in bytes
======== ============================= =====================================
head     path, UTF-8                   1 to 511
sid, gc  sid                           8
chunk    sid, offset                   8 + 8
producer sid, producer id (UTF-8)      8 + 1 to 503
due      due_ms, sid                   8 + 8
journal  number, one more each time    8
======== ============================= =====================================
"""

from __future__ import annotations

import struct
from typing import TypeAlias

Buffer: TypeAlias = bytes | memoryview

MAX_KEY_BYTES = 511
"""LMDB's compiled-in limit."""
MAX_SID = (1 << 63) - 1
"""Highest incarnation id."""
MAX_OFFSET = (1 << 64) - 1
"""Highest number that fits where a chunk key has its offset."""

_SID = struct.Struct(">Q")
_PAIR = struct.Struct(">QQ")


class LayoutError(ValueError):
    """A key or row does not fit the layout: too long to store, or not what was stored."""


def encode_path(path: str) -> bytes:
    """Encode the key of ``head``. Raises ``LayoutError`` if it is empty or over ``MAX_KEY_BYTES``."""
    return _bounded(path.encode(), 0)


def decode_path(key: Buffer) -> str:
    """Decode the key of ``head``, which also is the value of ``sid`` and ``due``. Raises ``LayoutError``."""
    try:
        return _bounded(bytes(key), 0).decode()
    except UnicodeDecodeError as error:
        message = f"path is not UTF-8: {bytes(key)!r}"
        raise LayoutError(message) from error


def encode_sid(sid: int) -> bytes:
    """Encode the key of ``sid`` and ``gc``: 8 bytes."""
    return _SID.pack(sid)


def decode_sid(key: Buffer) -> int:
    """Decode the key of ``sid`` and ``gc``. Raises ``LayoutError``."""
    return _decode_number(key, "sid")


def encode_journal(number: int) -> bytes:
    """Encode the key of ``journal``: 8 bytes."""
    return _SID.pack(number)


def decode_journal(key: Buffer) -> int:
    """Decode the key of ``journal``. Raises ``LayoutError``."""
    return _decode_number(key, "journal")


def encode_chunk(sid: int, offset: int) -> bytes:
    """Encode the key of ``chunk``: sid, offset of the chunk's first byte."""
    return _PAIR.pack(sid, offset)


def decode_chunk(key: Buffer) -> tuple[int, int]:
    """Decode the key of ``chunk`` into (sid, offset). Raises ``LayoutError``."""
    return _decode_pair(key, "chunk")


def encode_due(due_ms: int, sid: int) -> bytes:
    """Encode the key of ``due``: time in Unix milliseconds, sid."""
    return _PAIR.pack(due_ms, sid)


def decode_due(key: Buffer) -> tuple[int, int]:
    """Decode the key of ``due`` into (due_ms, sid). Raises ``LayoutError``."""
    return _decode_pair(key, "due")


def encode_producer(sid: int, producer_id: str) -> bytes:
    """Encode the key of ``producer``. Raises ``LayoutError`` if the id is empty, or too long for ``MAX_KEY_BYTES``."""
    return _bounded(_SID.pack(sid) + producer_id.encode(), _SID.size)


def decode_producer(key: Buffer) -> tuple[int, str]:
    """Decode the key of ``producer`` into (sid, producer id). Raises ``LayoutError``."""
    encoded = _bounded(bytes(key), _SID.size)
    try:
        return _SID.unpack_from(encoded)[0], encoded[_SID.size :].decode()
    except UnicodeDecodeError as error:
        message = f"producer id is not UTF-8: {encoded!r}"
        raise LayoutError(message) from error


def _decode_number(key: Buffer, kind: str) -> int:
    if len(key) != _SID.size:
        message = f"{kind} key of {len(key)} bytes"
        raise LayoutError(message)
    return int(_SID.unpack(key)[0])


def _decode_pair(key: Buffer, kind: str) -> tuple[int, int]:
    if len(key) != _PAIR.size:
        message = f"{kind} key of {len(key)} bytes"
        raise LayoutError(message)
    first, second = _PAIR.unpack(key)
    return first, second


def _bounded(key: bytes, fixed_bytes: int) -> bytes:
    """Return ``key`` if text follows its fixed part and it is no longer than LMDB takes."""
    if not fixed_bytes < len(key) <= MAX_KEY_BYTES:
        message = f"key of {len(key)} bytes, not {fixed_bytes + 1} to {MAX_KEY_BYTES}"
        raise LayoutError(message)
    return key

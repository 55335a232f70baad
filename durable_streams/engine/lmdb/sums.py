"""Checksums of rows: whether what is read is what was stored, under the key under which it was stored.

Owns: how a row is sealed and opened. Must not know: what is in it.
Invariant: nothing that does not match its checksum leaves this module as if it did.

A sealed row is the row's own bytes, then a checksum of each ``BLOCK_BYTES`` of them, 8 bytes each, big-endian: XXH3,
64 bits (``docs/adr/0021-checksums.md`` says why). Its seed is the key's own hash and the block's number, so a row that
got under another key, or whose blocks changed places, matches nothing. Blocks, so that reading a part of a large row
looks at that part only.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from xxhash import xxh3_64_intdigest as hash_of

if TYPE_CHECKING:
    from durable_streams.engine.lmdb.keys import Buffer

BLOCK_BYTES: Final = 64 * 1024
SUM_BYTES: Final = 8
_SUM: Final = struct.Struct(">Q")
_ONE_BLOCK_BYTES: Final = BLOCK_BYTES + SUM_BYTES


class RowDamagedError(Exception):
    """A row is not what was stored under its key. ``database``: the name of its database. ``key``: its key."""

    def __init__(self, database: str, key: Buffer) -> None:
        super().__init__(f"{database} row {bytes(key).hex()} does not match its checksum")
        self.database, self.key = database, bytes(key)


def seal(key: Buffer, row: Buffer) -> bytes:
    """Return the row with its checksums behind it."""
    seed = hash_of(key)
    if len(row) <= BLOCK_BYTES:
        return b"".join((row, _SUM.pack(hash_of(row, seed))))
    blocks, whole = range(0, len(row), BLOCK_BYTES), memoryview(row)
    sums = [hash_of(whole[at : at + BLOCK_BYTES], seed ^ number) for number, at in enumerate(blocks)]
    return b"".join((row, struct.pack(f">{len(sums)}Q", *sums)))


def row_bytes(sealed: Buffer) -> int:
    """Return how many bytes of a sealed row are its own; 0 of one that is too short to be one."""
    length = len(sealed)
    if length <= _ONE_BLOCK_BYTES:
        return max(0, length - SUM_BYTES)
    return length - SUM_BYTES * -(-length // _ONE_BLOCK_BYTES)


def is_sound(key: Buffer, sealed: Buffer, start: int = 0, end: int | None = None) -> bool:  # noqa: PLR0917 a row and a part of it
    """Whether the row's bytes from ``start`` to ``end`` are what was stored; ``None`` is their end."""
    length = len(sealed)
    if length <= _ONE_BLOCK_BYTES:
        size_bytes = length - SUM_BYTES
        return size_bytes >= 0 and hash_of(sealed[:size_bytes], hash_of(key)) == _SUM.unpack_from(sealed, size_bytes)[0]
    size_bytes, seed = row_bytes(sealed), hash_of(key)
    for at in range(start - start % BLOCK_BYTES, size_bytes if end is None else end, BLOCK_BYTES):
        number = at // BLOCK_BYTES
        block = sealed[at : min(at + BLOCK_BYTES, size_bytes)]
        if hash_of(block, seed ^ number) != _SUM.unpack_from(sealed, size_bytes + SUM_BYTES * number)[0]:
            return False
    return True


def unseal(database: str, key: Buffer, sealed: Buffer) -> bytes:
    """Return a copy of the row. Raises ``RowDamagedError``."""
    if not is_sound(key, sealed):
        raise RowDamagedError(database, key)
    return bytes(sealed[: row_bytes(sealed)])

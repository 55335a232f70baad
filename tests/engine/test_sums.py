"""Sealed rows: what was stored comes back, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.engine.lmdb.sums import (
    BLOCK_BYTES,
    SUM_BYTES,
    RowDamagedError,
    is_sound,
    row_bytes,
    seal,
    unseal,
)

KEY = b"key"
SIZES = (0, 1, 48, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES + 7)


def row_of(size_bytes: int) -> bytes:
    return bytes(number * 7 % 251 for number in range(size_bytes))


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_row_comes_back(size_bytes: int) -> None:
    row = row_of(size_bytes)
    sealed = seal(KEY, row)
    assert row_bytes(sealed) == size_bytes
    assert len(sealed) == size_bytes + SUM_BYTES * max(1, -(-size_bytes // BLOCK_BYTES))
    assert unseal("chunk", memoryview(KEY), memoryview(sealed)) == row


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_flipped_bit_does_not(size_bytes: int) -> None:
    sealed = seal(KEY, row_of(size_bytes))
    last = len(sealed) - 1
    for at in {0, size_bytes // 2, max(0, size_bytes - 1), size_bytes, last}:
        for bit in (1, 128):
            flipped = bytearray(sealed)
            flipped[at] ^= bit
            assert not is_sound(KEY, bytes(flipped)), at
            with pytest.raises(RowDamagedError, match="chunk row 6b6579 does not match"):
                unseal("chunk", KEY, bytes(flipped))


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=20), st.integers(0, 500))
def test_nor_does_any_in_a_small_row_or_under_another_key(row: bytes, key: bytes, at: int) -> None:
    sealed = bytearray(seal(key, row))
    assert not is_sound(key + b"\0", bytes(sealed))
    assert not is_sound(key[:-1] + bytes((key[-1] ^ 1,)), bytes(sealed))
    sealed[at % len(sealed)] ^= 1 << at % 8
    assert not is_sound(key, bytes(sealed))


def test_a_part_of_a_large_row_is_judged_by_its_own_blocks() -> None:
    size_bytes = 3 * BLOCK_BYTES
    sealed = bytearray(seal(KEY, row_of(size_bytes)))
    sealed[BLOCK_BYTES + 5] ^= 1
    damaged = bytes(sealed)
    assert is_sound(KEY, damaged, 0, BLOCK_BYTES)
    assert is_sound(KEY, damaged, 2 * BLOCK_BYTES, size_bytes)
    assert not is_sound(KEY, damaged, BLOCK_BYTES - 1, BLOCK_BYTES + 1)
    assert not is_sound(KEY, damaged, 2 * BLOCK_BYTES - 1, 2 * BLOCK_BYTES)
    assert not is_sound(KEY, damaged)


def test_blocks_that_changed_places_are_noticed() -> None:
    one, other = bytes(BLOCK_BYTES), bytes((1,)) * BLOCK_BYTES
    sealed, sums = seal(KEY, one + other), seal(KEY, one + other)[-2 * SUM_BYTES :]
    changed = other + one + sums[SUM_BYTES:] + sums[:SUM_BYTES]
    assert len(changed) == len(sealed)
    assert not is_sound(KEY, changed, 0, 1)
    assert not is_sound(KEY, changed, BLOCK_BYTES, BLOCK_BYTES + 1)


@pytest.mark.parametrize("sealed", [b"", b"a", b"abc", b"abcd"])
def test_what_is_too_short_is_no_row(sealed: bytes) -> None:
    assert row_bytes(sealed) == 0
    assert not is_sound(KEY, sealed)

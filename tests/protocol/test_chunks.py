from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_streams.protocol import json_scan
from durable_streams.protocol.chunks import CHUNK_MAX_BYTES, CHUNK_TARGET_BYTES, split_chunks
from tests.operations import counted_calls

SIZES = st.one_of(
    st.integers(1, 2_000),
    st.sampled_from([CHUNK_TARGET_BYTES, CHUNK_MAX_BYTES]).flatmap(lambda size: st.integers(size - 2, size + 2)),
    st.sampled_from([64 * 1024, 700 * 1024, 2 * CHUNK_MAX_BYTES + 7]),
)


def message(size: int) -> bytes:
    """Return a stored message of ``size`` bytes, comma included, full of what is no structure."""
    return b"1," if size < 5 else b'"' + b",]"[: size % 2 + 1] * ((size - 3) // (size % 2 + 1)) + b'",'


def cut_points(parts: list[bytes]) -> set[int]:
    return {sum(len(part) for part in parts[: count + 1]) for count in range(len(parts))}


@settings(max_examples=30)
@given(st.lists(st.just(0) | SIZES, max_size=7))
def test_bytes_come_back_in_chunks_of_bounded_size(sizes: list[int]) -> None:
    pieces = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    chunks = list(split_chunks(pieces, is_json=False))

    assert b"".join(chunks) == b"".join(pieces)
    assert all(0 < len(chunk) <= CHUNK_MAX_BYTES for chunk in chunks)


@settings(max_examples=30)
@given(st.lists(st.lists(SIZES, min_size=1, max_size=4), max_size=4))
def test_a_message_is_never_split(batches: list[list[int]]) -> None:
    pieces = [[message(size) for size in sizes] for sizes in batches]
    messages = [one for piece in pieces for one in piece]
    chunks = list(split_chunks([b"".join(piece) for piece in pieces], is_json=True))

    assert b"".join(chunks) == b"".join(messages)
    assert all(chunks)
    assert cut_points(chunks) <= cut_points(messages)
    assert all(len(chunk) <= CHUNK_MAX_BYTES or chunk in messages for chunk in chunks)


@settings(max_examples=30)
@given(st.lists(st.integers(1, CHUNK_TARGET_BYTES), min_size=2, max_size=6))
def test_small_appends_share_a_chunk(sizes: list[int]) -> None:
    """A burst of small appends becomes one row, and a further one only begins with what no longer fits."""
    appends = sorted(cut_points([b"x" * size for size in sizes]))
    chunks = list(split_chunks([b"x" * size for size in sizes], is_json=False))
    ends = [0, *sorted(cut_points(chunks))]

    assert set(ends[1:]) <= set(appends)
    assert all(len(chunk) <= CHUNK_TARGET_BYTES for chunk in chunks)
    for before, end in itertools.pairwise(ends[:-1]):
        assert min(size for size in appends if size > end) - before > CHUNK_TARGET_BYTES


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        ([CHUNK_TARGET_BYTES - 1, 1, 1], [CHUNK_TARGET_BYTES, 1]),
        ([CHUNK_TARGET_BYTES, 1], [CHUNK_TARGET_BYTES, 1]),
        ([1, CHUNK_TARGET_BYTES], [1, CHUNK_TARGET_BYTES]),
        ([CHUNK_TARGET_BYTES, CHUNK_TARGET_BYTES - 1, 1], [CHUNK_TARGET_BYTES, CHUNK_TARGET_BYTES]),
        ([CHUNK_MAX_BYTES, 1], [CHUNK_MAX_BYTES, 1]),
        ([2 * CHUNK_MAX_BYTES + 3], [CHUNK_MAX_BYTES, CHUNK_MAX_BYTES, 3]),
        ([2 * CHUNK_MAX_BYTES], [CHUNK_MAX_BYTES, CHUNK_MAX_BYTES]),
    ],
)
def test_bytes_are_cut_where_a_chunk_is_full(sizes: list[int], chunks: list[int]) -> None:
    assert (CHUNK_TARGET_BYTES, CHUNK_MAX_BYTES) == (256 * 1024, 1024 * 1024)
    assert [len(chunk) for chunk in split_chunks([b"x" * size for size in sizes], is_json=False)] == chunks


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        ([400, 400, 400, 400, 400], [800, 800, 400]),
        ([600, 424, 1], [1024, 1]),
        ([600, 425, 1], [600, 426]),
        ([1025, 1], [1025, 1]),
        ([1, 1025], [1, 1025]),
    ],
)
def test_messages_share_a_chunk_while_they_fit(sizes: list[int], chunks: list[int]) -> None:
    """In units of 1 KiB."""
    batch = b"".join(message(size * 1024) for size in sizes)

    assert [len(chunk) // 1024 for chunk in split_chunks([batch], is_json=True)] == chunks


def test_no_append_no_chunk() -> None:
    assert list(split_chunks([], is_json=True)) == []
    assert list(split_chunks([b"", b""], is_json=False)) == []


def test_one_message_larger_than_a_chunk_stays_whole() -> None:
    large = message(CHUNK_MAX_BYTES + 1)

    assert list(split_chunks([b"1," + large + b"2,"], is_json=True)) == [b"1,", large, b"2,"]


def test_so_does_one_without_a_comma_inside() -> None:
    large = b'"' + b"x" * CHUNK_MAX_BYTES + b'",'

    assert list(split_chunks([large + b"2,"], is_json=True)) == [large, b"2,"]


@pytest.mark.slow
@pytest.mark.parametrize("inner", [b"1", b"[]", b'{"n":1,"b":[1,2],"t":"x,y"}'])
def test_small_messages_are_cut_without_looking_at_each(inner: bytes) -> None:
    piece = (inner + b",") * (4 * CHUNK_MAX_BYTES // (len(inner) + 1))
    with counted_calls() as count:
        chunks = list(split_chunks([piece], is_json=True))

    assert count.calls < 1_000  # it takes 60, and looking at each four to ten million
    assert b"".join(chunks) == piece
    assert all(CHUNK_MAX_BYTES - len(inner) <= len(chunk) <= CHUNK_MAX_BYTES for chunk in chunks[:-1])
    assert all(len(chunk) % (len(inner) + 1) == 0 for chunk in chunks)


def test_messages_full_of_commas_are_cut_as_well() -> None:
    half = b"[" + b",".join([b"[]"] * 200_000) + b"],"
    spaced = b" " + half[:-1] + b" ,"

    with counted_calls() as count:
        chunks = list(split_chunks([b"1," + half * 4 + b"2,"], is_json=True))
        spaced_chunks = list(split_chunks([spaced * 2], is_json=True))

    assert chunks == [b"1," + half, half, half, half + b"2,"]
    assert spaced_chunks == [spaced, spaced]
    assert count.calls < 2_000  # it takes 500, and looking at every token six million


def test_small_messages_before_one_full_of_commas_are_cut_as_well() -> None:
    """So many that those looked at first do not fill a chunk."""
    small, full = b"1," * 400_000, b"[" + b",".join([b"[]"] * 200_000) + b"],"

    chunks = list(split_chunks([small + full + small], is_json=True))

    assert b"".join(chunks) == small + full + small
    assert chunks[0] == small
    assert all(len(chunk) <= CHUNK_MAX_BYTES and json_scan.is_boundary(chunk) for chunk in chunks)

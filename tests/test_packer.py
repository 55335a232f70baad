"""Which ranges are handed out to be packed: all that was appended in small pieces, however late the packer comes."""

from __future__ import annotations

import itertools

from durable_streams.streams.packer import COLD_MS, ROWS_MIN, ROWS_READ_MIN, RUN_BYTES, Packer

ROW_BYTES = 100
SID = 7


def append_rows(packer: Packer, start: int, end: int, *, now_ms: int = 0) -> None:
    for offset in range(start, end, ROW_BYTES):
        packer.appended(SID, offset, offset + ROW_BYTES, now_ms=now_ms)


def covered(packer: Packer, now_ms: int) -> list[tuple[int, int]]:
    ranges = []
    while (found := packer.take(now_ms)) is not None:
        ranges.append(found[1:])
    return sorted(ranges)


def test_a_fast_writers_ranges_are_all_handed_out() -> None:
    packer = Packer()
    append_rows(packer, 0, 100 * ROW_BYTES * 100)

    ranges = covered(packer, COLD_MS)

    assert ranges[0][0] == 0
    assert ranges[-1][1] == 100 * ROW_BYTES * 100
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))


def test_the_rest_of_a_range_is_not_lost_to_what_became_ready_meanwhile() -> None:
    packer = Packer()
    rows = -(-RUN_BYTES // ROW_BYTES)
    append_rows(packer, 0, rows * ROW_BYTES)
    assert packer.take(0) == (SID, 0, rows * ROW_BYTES)

    append_rows(packer, rows * ROW_BYTES, 2 * rows * ROW_BYTES)
    packer.put_back(SID, 5_000, rows * ROW_BYTES)

    assert covered(packer, 0) == [(5_000, 2 * rows * ROW_BYTES)]


def test_a_page_of_many_rows_is_packed_and_one_of_few_is_not() -> None:
    packer = Packer()
    packer.read(SID, 0, 9_000, rows=ROWS_READ_MIN - 1)
    assert packer.take(0) is None

    packer.read(SID, 0, 9_000, rows=ROWS_READ_MIN)
    assert packer.take(0) == (SID, 0, 9_000)


def test_a_short_run_waits_until_it_is_cold() -> None:
    packer = Packer()
    append_rows(packer, 0, ROWS_MIN * ROW_BYTES)

    assert packer.take(COLD_MS - 1) is None
    assert packer.take(COLD_MS) == (SID, 0, ROWS_MIN * ROW_BYTES)

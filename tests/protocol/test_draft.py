from __future__ import annotations

import pytest

from durable_streams.protocol.draft import Draft
from durable_streams.protocol.head import CLOSED, SOFT_DELETED, Head, Record, encode_record
from tests.protocol.drafts import NOW_MS, draft

STORED = Head("a/b", 7, 8, 9, CLOSED, 10, 11, 12, encode_record(Record("text/plain", ttl_s=3)))


@pytest.mark.parametrize(
    ("record", "due_ms"),
    [
        (Record("text/plain"), 0),
        (Record("text/plain", ttl_s=3), NOW_MS + 3_000),
        (Record("text/plain", expires_at_ms=77), 77),
    ],
)
def test_a_new_draft_is_open_empty_and_due_at_its_deadline(record: Record, due_ms: int) -> None:
    made = Draft("s", 5, record, now_ms=NOW_MS)

    assert made.head(6) == Head("s", 5, 6, 0, 0, NOW_MS, 0, due_ms, encode_record(record))
    assert not made.closed
    assert not made.soft_deleted


def test_an_unchanged_draft_is_the_stored_head_under_another_version() -> None:
    assert Draft.of(STORED, 0).head(99) == STORED._replace(version=99)


@pytest.mark.parametrize(("known_ms", "touched_ms"), [(9, 10), (10, 10), (11, 11)])
def test_the_later_touch_counts(known_ms: int, touched_ms: int) -> None:
    assert Draft.of(STORED, known_ms).touched_ms == touched_ms


def test_a_changed_record_is_encoded_anew() -> None:
    changed = Draft.of(STORED, 0)
    changed.head(1)
    changed.record = changed.record._replace(stream_seq="x")

    assert changed.head(2).record == encode_record(Record("text/plain", ttl_s=3, stream_seq="x"))


def test_state_bits() -> None:
    assert Draft.of(STORED, 0).closed
    assert draft(state=SOFT_DELETED).soft_deleted
    assert not draft(state=SOFT_DELETED).closed


def test_a_touch_never_goes_back() -> None:
    """Clocks may; a TTL that was granted stays."""
    touched = draft()
    touched.touch(NOW_MS - 1)
    assert touched.touched_ms == NOW_MS
    touched.touch(NOW_MS + 1)
    assert touched.touched_ms == NOW_MS + 1

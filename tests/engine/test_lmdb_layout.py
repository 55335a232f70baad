"""Keys and rows: what was encoded decodes to itself, sorts as it should, and nothing of another size decodes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.engine.base import ProducerRow
from durable_streams.engine.lmdb import keys, rows
from durable_streams.engine.lmdb.keys import LayoutError
from durable_streams.protocol.head import Head

NUMBER = st.integers(0, (1 << 63) - 1)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=120)
HEAD = st.builds(
    Head,
    path=TEXT,
    sid=NUMBER,
    version=NUMBER,
    tail=NUMBER,
    state=st.integers(0, 255),
    touched_ms=NUMBER,
    refs=NUMBER,
    due_ms=NUMBER,
    record=st.binary(),
)


class TestKeys:
    @given(TEXT)
    def test_path(self, path: str) -> None:
        assert keys.decode_path(keys.encode_path(path)) == path

    @given(NUMBER)
    def test_sid(self, sid: int) -> None:
        assert keys.decode_sid(keys.encode_sid(sid)) == sid

    @given(NUMBER, NUMBER)
    def test_chunk(self, sid: int, offset: int) -> None:
        assert keys.decode_chunk(keys.encode_chunk(sid, offset)) == (sid, offset)

    @given(NUMBER, NUMBER)
    def test_due(self, due_ms: int, sid: int) -> None:
        assert keys.decode_due(keys.encode_due(due_ms, sid)) == (due_ms, sid)

    @given(NUMBER, TEXT)
    def test_producer(self, sid: int, producer_id: str) -> None:
        assert keys.decode_producer(keys.encode_producer(sid, producer_id)) == (sid, producer_id)

    @given(st.tuples(NUMBER, NUMBER), st.tuples(NUMBER, NUMBER))
    def test_key_order_is_number_order(self, one: tuple[int, int], two: tuple[int, int]) -> None:
        assert (keys.encode_chunk(*one) < keys.encode_chunk(*two)) == (one < two)
        assert (keys.encode_due(*one) < keys.encode_due(*two)) == (one < two)

    def test_every_key_begins_with_the_sid_that_owns_it(self) -> None:
        sid_key = keys.encode_sid(7)
        assert keys.encode_chunk(7, 1).startswith(sid_key)
        assert keys.encode_producer(7, "p").startswith(sid_key)

    @pytest.mark.parametrize("size_bytes", [0, 512])
    def test_a_path_of_no_or_too_many_bytes_is_refused(self, size_bytes: int) -> None:
        with pytest.raises(LayoutError):
            keys.encode_path("p" * size_bytes)
        with pytest.raises(LayoutError):
            keys.decode_path(b"p" * size_bytes)

    @pytest.mark.parametrize("size_bytes", [0, 504])
    def test_a_producer_id_of_no_or_too_many_bytes_is_refused(self, size_bytes: int) -> None:
        with pytest.raises(LayoutError):
            keys.encode_producer(1, "i" * size_bytes)
        with pytest.raises(LayoutError):
            keys.decode_producer(b"\0" * 8 + b"i" * size_bytes)

    def test_the_longest_path_and_producer_id_fit(self) -> None:
        assert len(keys.encode_path("p" * 511)) == keys.MAX_KEY_BYTES
        assert len(keys.encode_producer(1, "i" * 503)) == keys.MAX_KEY_BYTES

    @pytest.mark.parametrize("size_bytes", [0, 7, 9, 15, 17])
    def test_numbers_of_another_size_are_refused(self, size_bytes: int) -> None:
        for decode in (keys.decode_sid, keys.decode_chunk, keys.decode_due):
            with pytest.raises(LayoutError):
                decode(bytes(size_bytes))

    def test_what_is_not_utf8_is_refused(self) -> None:
        with pytest.raises(LayoutError):
            keys.decode_path(b"a\xff")
        with pytest.raises(LayoutError):
            keys.decode_producer(bytes(8) + b"a\xff")


class TestRows:
    @given(HEAD)
    def test_head(self, head: Head) -> None:
        row = rows.encode_head(head)
        assert rows.decode_head(head.path, row) == head
        assert rows.decode_head(head.path, memoryview(row)) == head
        assert rows.decode_stamp(row) == (head.sid, head.version, head.due_ms)

    @given(HEAD, NUMBER)
    def test_touching_a_row_is_touching_its_head(self, head: Head, touched_ms: int) -> None:
        touched = rows.touched_row(rows.encode_head(head), head.sid, touched_ms)
        if touched_ms > head.touched_ms:
            assert touched == rows.encode_head(head._replace(touched_ms=touched_ms))
        else:
            assert touched is None

    @given(HEAD)
    def test_another_incarnations_row_is_not_touched(self, head: Head) -> None:
        assert rows.touched_row(rows.encode_head(head), head.sid + 1, 1 << 63) is None

    @given(TEXT, NUMBER, NUMBER)
    def test_producer(self, producer_id: str, epoch: int, seq: int) -> None:
        producer = ProducerRow(producer_id, epoch, seq)
        assert rows.decode_producer_row(producer_id, rows.encode_producer_row(producer)) == producer

    @given(TEXT, NUMBER, NUMBER, NUMBER, st.booleans())
    def test_producer_of_an_upload(  # noqa: PLR0917 hypothesis hands the fields over like this
        self,
        producer_id: str,
        epoch: int,
        seq: int,
        upload_bytes: int,
        finished: bool,  # noqa: FBT001 as above
    ) -> None:
        producer = ProducerRow(producer_id, epoch, seq, upload_bytes, finished)
        assert rows.decode_producer_row(producer_id, rows.encode_producer_row(producer)) == producer

    def test_a_producer_row_from_before_there_were_uploads_is_read(self) -> None:
        assert rows.decode_producer_row("p", bytes([0] * 7 + [1] + [0] * 7 + [2])) == ProducerRow("p", 1, 2)

    @pytest.mark.parametrize("size_bytes", [0, 8, 24, 48])
    def test_a_short_head_row_is_refused(self, size_bytes: int) -> None:
        with pytest.raises(LayoutError):
            rows.decode_head("a", bytes(size_bytes))
        with pytest.raises(LayoutError):
            rows.decode_stamp(bytes(size_bytes))

    @pytest.mark.parametrize("size_bytes", [0, 15, 17, 24, 26])
    def test_a_producer_row_of_another_size_is_refused(self, size_bytes: int) -> None:
        with pytest.raises(LayoutError):
            rows.decode_producer_row("p", bytes(size_bytes))

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from durable_streams.client import DurableStreamError, SSEEncodingError
from durable_streams.client.answers import Answer
from durable_streams.client.portion import Portion, Position, from_base64, portion_of_control, portion_of_page

HERE = Position("5", "c1")


def page(status: int = 200, body: bytes = b"", **fields: str) -> Portion:
    headers = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    return portion_of_page(
        Answer(status, headers, body), HERE, json_mode=fields.get("Content_Type") == "application/json"
    )


def test_a_page_moves_behind_its_bytes() -> None:
    assert page(body=b"ab", Stream_Next_Offset="7") == Portion((b"ab",), Position("7", "c1"))


def test_a_page_at_the_tail() -> None:
    portion = page(body=b"ab", Stream_Next_Offset="7", Stream_Up_To_Date="true", Stream_Cursor="c2")
    assert portion.after == Position("7", "c2", up_to_date=True)


def test_the_last_page_of_a_closed_stream_is_the_end_even_without_up_to_date() -> None:
    assert page(body=b"ab", Stream_Next_Offset="7", Stream_Closed="true").after.up_to_date


@pytest.mark.parametrize("value", ["false", "1", ""])
def test_closed_is_nothing_but_true(value: str) -> None:
    assert not page(body=b"ab", Stream_Next_Offset="7", Stream_Closed=value).after.closed


def test_an_empty_array_is_no_data() -> None:
    portion = page(body=b" [] ", Stream_Next_Offset="5", Stream_Up_To_Date="true", Content_Type="application/json")
    assert portion.parts == ()


def test_an_empty_array_in_a_stream_of_bytes_is_data() -> None:
    assert page(body=b"[]", Stream_Next_Offset="7").parts == (b"[]",)


def test_an_empty_page_that_leads_nowhere_is_the_tail() -> None:
    assert page(Stream_Next_Offset="5").after.up_to_date


def test_a_204_never_moves_the_offset() -> None:
    portion = page(204, Stream_Next_Offset="9", Stream_Up_To_Date="true", Stream_Cursor="c2")
    assert portion == Portion((), Position("5", "c2", up_to_date=True))


def test_a_204_may_close() -> None:
    assert page(204, Stream_Next_Offset="5", Stream_Closed="true").after == Position(
        "5", "c1", up_to_date=True, closed=True
    )


def test_a_page_without_an_offset_is_no_page() -> None:
    with pytest.raises(DurableStreamError) as refused:
        page(body=b"<html>welcome to the hotel</html>")
    assert refused.value.code == "MISSING_OFFSET"


def test_a_control_event_moves_behind_its_data() -> None:
    portion = portion_of_control(b'{"streamNextOffset":"7","streamCursor":"c2"}', (b"a", b"b"), HERE)
    assert portion == Portion((b"a", b"b"), Position("7", "c2"))


def test_a_control_event_without_data_never_moves_the_offset() -> None:
    assert portion_of_control(b'{"streamNextOffset":"9","upToDate":true}', (), HERE).after.offset == "5"


def test_a_closing_control_event_needs_no_cursor_and_is_up_to_date() -> None:
    after = portion_of_control(b'{"streamNextOffset":"7","streamClosed":true}', (b"a",), HERE).after
    assert after == Position("7", "c1", up_to_date=True, closed=True)


@pytest.mark.parametrize("control", [b"", b"{}", b"[]", b"7", b'{"streamNextOffset"'])
def test_a_control_event_that_makes_no_sense(control: bytes) -> None:
    with pytest.raises(SSEEncodingError):
        portion_of_control(control, (), HERE)


def test_base64_in_lines() -> None:
    assert from_base64(b"AQID\nBAUG\r\nBw==") == bytes(range(1, 8))
    assert from_base64(b"") == b""


@pytest.mark.parametrize("text", [b"AQI", b"A", b"AQ=I", b"!!!!", b"AQI=AQID"])
def test_broken_base64(text: bytes) -> None:
    with pytest.raises(SSEEncodingError):
        from_base64(text)

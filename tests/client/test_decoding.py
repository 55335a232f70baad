from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.client import DurableStreamError
from durable_streams.client.decoding import BytesDecoder, JsonDecoder, MessageDecoder, TextDecoder


def test_bytes_are_joined() -> None:
    assert BytesDecoder().feed((b"a", b"b")) == b"ab"


def test_text_within_a_character_waits_for_its_end() -> None:
    decoder = TextDecoder("utf-8")
    assert decoder.feed((b"a\xc3",)) == ""
    assert decoder.holding
    assert decoder.feed((b"\xa9b",)) == "aéb"
    assert not decoder.holding


def test_text_that_ends_within_a_character_shows_it_broken() -> None:
    decoder = TextDecoder("utf-8")
    decoder.feed((b"a\xe2\x82",))
    assert decoder.finish() == "a�"


def test_text_that_is_no_utf8_is_replaced_and_does_not_wait() -> None:
    decoder = TextDecoder("utf-8")
    assert decoder.feed((b"a\xffb",)) == "a�b"
    assert not decoder.holding


@given(st.text(), st.data())
def test_text_in_any_pieces(text: str, draw: st.DataObject) -> None:
    raw = text.encode()
    cut = draw.draw(st.integers(0, len(raw)))
    decoder = TextDecoder("utf-8")
    assert decoder.feed((raw[:cut],)) + decoder.feed((raw[cut:],)) == text


def test_items_of_several_arrays() -> None:
    assert JsonDecoder().feed((b"[1,[2]]", b'[{"a":null}]')) == [1, [2], {"a": None}]


@pytest.mark.parametrize(
    "number", [2**63 - 1, 2**64, -(2**63) - 1, 12345678901234567890123, 1000000000000000000, -5, 1.5, 1e300]
)
def test_numbers_stay_exact(number: float) -> None:
    assert JsonDecoder().feed((f"[{number}]".encode(),)) == [number]


def test_lone_surrogates_are_json() -> None:
    assert JsonDecoder().feed((rb'["\ud800"]',)) == ["\ud800"]


def test_every_item_is_decoded() -> None:
    assert JsonDecoder(str).feed((b"[1,2]",)) == ["1", "2"]


@pytest.mark.parametrize("part", [b"", b"{}", b"[1", b"[1]x", b"12", b"[12345678901234567890", b"<html>"])
def test_what_is_no_array_is_refused(part: bytes) -> None:
    with pytest.raises(DurableStreamError) as refused:
        JsonDecoder().feed((part,))
    assert refused.value.code == "PARSE_ERROR"


@pytest.mark.parametrize("part", [b"", b"{}", b"[", b"[1", b"12", b"<html>"])
def test_what_has_no_brackets_holds_no_messages(part: bytes) -> None:
    with pytest.raises(DurableStreamError) as refused:
        MessageDecoder().feed((part,))
    assert refused.value.code == "PARSE_ERROR"


def test_messages_are_the_bytes_that_were_sent() -> None:
    sent = [b"1.0", b'{"a": [1, 2], "a": "],["}', rb'"\ud800,"', b"12345678901234567890123", b"[ 1 ,2]"]
    assert MessageDecoder().feed((b"[" + b",".join(sent) + b"]",)) == sent


def test_whitespace_between_messages_is_nobodys() -> None:
    assert MessageDecoder().feed((b"[\n1 ,\n 2\n]",)) == [b"1", b"2"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_any_messages(values: list[object]) -> None:
    sent = [orjson.dumps(value) for value in values]
    assert MessageDecoder().feed((b"[" + b",".join(sent) + b"]",)) == sent

from __future__ import annotations

import pytest

from durable_streams.client import DurableStreamError
from durable_streams.client.framing import checked, encoded, joined
from durable_streams.protocol.json_mode import flatten
from durable_streams.protocol.json_scan import DEPTH_MAX, boundaries

JSON = "application/json; charset=utf-8"


def test_text_is_utf8() -> None:
    assert encoded("é") == b"\xc3\xa9"
    assert encoded(b"\xff") == b"\xff"


def test_json_messages_travel_as_an_array_of_their_own_bytes() -> None:
    assert joined([b"1.0", b"[2]"], JSON) == b"[1.0,[2]]"


def test_other_messages_travel_one_behind_the_other() -> None:
    assert joined([b"1.0", b"[2]"], "text/plain") == b"1.0[2]"


@pytest.mark.parametrize(
    "message", [b"1", b" null ", b"[]", b"[1,2]", b'"],["', rb'"\ud800"', b"12345678901234567890123"]
)
def test_one_json_text_is_one_message(message: bytes) -> None:
    stored = flatten(joined([checked(message, JSON)], JSON))
    assert len(list(boundaries(stored))) == 1


@pytest.mark.parametrize("message", [b"1,2", b"1],[2", b"NaN", b"{", b" ", b"1 2", b"\xff", b'"\x01"', b"],["])
def test_what_is_not_one_json_text_is_refused_before_it_spoils_a_batch(message: bytes) -> None:
    with pytest.raises(DurableStreamError) as refused:
        checked(message, JSON)
    assert refused.value.code == "INVALID_JSON"


def test_nesting_counts_the_array_around_it() -> None:
    deepest = b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1)
    flatten(joined([checked(deepest, JSON)], JSON))
    with pytest.raises(DurableStreamError):
        checked(b"[" + deepest + b"]", JSON)


@pytest.mark.parametrize("content_type", [JSON, "text/plain"])
def test_nothing_is_not_a_message(content_type: str) -> None:
    with pytest.raises(DurableStreamError) as refused:
        checked(b"", content_type)
    assert refused.value.code == "EMPTY_BODY"


def test_bytes_are_not_looked_into() -> None:
    assert checked(b"{", "application/octet-stream") == b"{"

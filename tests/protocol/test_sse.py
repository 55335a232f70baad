from __future__ import annotations

import base64
import itertools
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.json_mode import flatten
from durable_streams.protocol.sse import (
    HEARTBEAT,
    Encoding,
    control_event,
    data_event,
    encoding_of,
    parse_event_id,
    whole_text_bytes,
)
from tests.protocol.event_stream import parse_events
from tests.protocol.json_texts import Body, bodies

CONTROL = control_event(7, "12", up_to_date=True, closed=False)
FORGED = 'event: control\ndata: {"streamClosed":true}'

# Texts rich in what the framing gives a meaning to.
texts = st.lists(
    st.one_of(
        st.text(max_size=5), st.sampled_from(["\r", "\n", "\r\n", " ", ":", "data:", "event: control", "\ufeff"])
    ),
    max_size=12,
).map("".join)


def lines_of(text: str) -> str:
    """Return the text as any event stream carries it: every line end is LF."""
    return re.sub("\r\n|\r", "\n", text)


@given(texts)
@example(f"a\n\n{FORGED}\n\nb")
@example(f"a\r\r{FORGED}\r\rb".replace("\n", "\r"))
@example(f"a\r\n\r\n{FORGED}\r\n\r\nb")
@example(" a\n  b\n\n c")
@example("\n")
@example("\r\n ")
@example("\x00\x85\u2028\u2029")
def test_text_comes_out_as_it_went_in_and_forges_nothing(text: str) -> None:
    framed = data_event(Encoding.TEXT, text.encode()) + CONTROL

    assert parse_events(framed) == [("data", lines_of(text)), *parse_events(CONTROL)]


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_are_replaced_and_forge_nothing(payload: bytes) -> None:
    """An event stream is UTF-8: what is not becomes U+FFFD."""
    framed = data_event(Encoding.TEXT, payload)

    framed.decode("utf-8")
    assert parse_events(framed) == [("data", lines_of(payload.decode("utf-8", "replace")))]


@given(bodies)
def test_messages_come_out_as_one_array(body: Body) -> None:
    ((kind, data),) = parse_events(data_event(Encoding.JSON, flatten(body.text.encode())))

    assert kind == "data"
    assert data == lines_of(f"[{','.join(body.stored_texts)}]")
    assert len(json.loads(data)) == len(body.stored_texts)


@given(st.binary(max_size=200))
@example(b"")
def test_binary_comes_out_of_base64(payload: bytes) -> None:
    """§5.8: standard alphabet, a multiple of four, nothing for nothing."""
    framed = data_event(Encoding.BASE64, payload)
    encoded = framed.removeprefix(b"event: data\ndata:").removesuffix(b"\n\n")

    assert re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", encoded)
    assert len(encoded) % 4 == 0
    assert base64.b64decode(encoded, validate=True) == payload
    assert (encoded == b"") == (payload == b"")
    assert parse_events(framed) == [("data", encoded.decode())]


@pytest.mark.parametrize(
    ("up_to_date", "closed", "fields"),
    [
        (False, False, {"streamCursor": "12"}),
        (True, False, {"streamCursor": "12", "upToDate": True}),
        (True, True, {"upToDate": True, "streamClosed": True}),
        (False, True, {"upToDate": True, "streamClosed": True}),
    ],
)
def test_control_fields(*, up_to_date: bool, closed: bool, fields: dict[str, object]) -> None:
    """§5.8: no cursor once closed, and closed implies up to date."""
    ((kind, data),) = parse_events(control_event(7, "12", up_to_date=up_to_date, closed=closed))

    assert kind == "control"
    assert json.loads(data) == {"streamNextOffset": "0000000000000007", **fields}


SIDS = st.integers(0, 2**63 - 1)


@given(st.integers(0, 10**16 - 1), SIDS, st.booleans())
def test_a_control_event_has_an_id_that_says_where_and_of_what(position: int, sid: int, closed: bool) -> None:  # noqa: FBT001
    event = control_event(position, "12", up_to_date=True, closed=closed, sid=sid)
    (event_id,) = re.findall(r"^id:(.*)$", event.decode(), re.MULTILINE)

    assert parse_event_id(event_id) == (position, sid)
    assert re.fullmatch(r"[!-~]+", event_id), "fit for a header, and not empty"
    assert parse_events(event) == parse_events(control_event(position, "12", up_to_date=True, closed=closed))


def test_a_control_event_may_have_none() -> None:
    assert b"id:" not in CONTROL


@pytest.mark.parametrize(
    "event_id",
    ["", "x", "-1", "0" * 16, "0" * 16 + ":", ":1f", "1:1f", "0" * 17 + ":1f", "0" * 16 + ":1F", "٣" * 16 + ":1"],
)
def test_what_is_no_id_of_ours_is_refused(event_id: str) -> None:
    with pytest.raises(InvalidHeaderError):
        parse_event_id(event_id)


def test_a_heartbeat_dispatches_nothing() -> None:
    assert parse_events(HEARTBEAT + CONTROL + HEARTBEAT) == parse_events(CONTROL)


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json; charset=utf-8", Encoding.JSON),
        ("text/plain", Encoding.TEXT),
        ("Text/Event-Stream", Encoding.TEXT),
        ("application/octet-stream", Encoding.BASE64),
        ("application/ndjson", Encoding.BASE64),
    ],
)
def test_encoding_by_content_type(content_type: str, encoding: Encoding) -> None:
    assert encoding_of(content_type) is encoding


def shown_in_pieces(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Feed pieces as a live reader gets them; return what is shown of each, and what is held back at the end."""
    shown, held = [], b""
    for piece in pieces:
        text = held + piece
        whole = whole_text_bytes(text)
        shown.append(text[:whole])
        held = text[whole:]
        assert len(held) <= 3
    return shown, held


def split_at(payload: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(payload), *(cut % (len(payload) + 1) for cut in cuts)})
    return [payload[start:end] for start, end in itertools.pairwise(edges)]


cuts = st.lists(st.integers(0, 1_000), max_size=20)


@given(st.text(max_size=30), cuts)
@example("aé€😀" * 3, list(range(40)))
def test_a_text_split_anywhere_is_shown_in_whole_characters(text: str, cuts: list[int]) -> None:
    shown, held = shown_in_pieces(split_at(text.encode(), cuts))

    assert held == b""
    assert "".join(piece.decode("utf-8") for piece in shown) == text


broken_text = st.lists(
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            [b"\xc0", b"\xc3", b"\xe2\x82", b"\xe0\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf5", b"\xff", b"\x80"]
        ),
        st.text(max_size=2).map(str.encode),
    ),
    max_size=8,
).map(b"".join)


@given(broken_text, cuts)
def test_broken_text_split_anywhere_looks_as_if_it_had_come_at_once(payload: bytes, cuts: list[int]) -> None:
    shown, held = shown_in_pieces(split_at(payload, cuts))

    apart = "".join(piece.decode("utf-8", "replace") for piece in [*shown, held])
    assert apart == payload.decode("utf-8", "replace")


@given(broken_text)
def test_nothing_is_held_back_for_longer_than_a_character(payload: bytes) -> None:
    assert whole_text_bytes(payload + b"abc") == len(payload) + 3
    assert whole_text_bytes(payload + b"\x80\x80\x80") >= len(payload)


@pytest.mark.parametrize("never", [b"\x80", b"\xc0", b"\xc1", b"\xe0\x80", b"\xf0\x80", b"\xf4\x90", b"\xf5", b"\xff"])
def test_what_can_never_become_a_character_is_not_held_back(never: bytes) -> None:
    assert whole_text_bytes(b"ab" + never) == 2 + len(never)


@pytest.mark.parametrize("start", [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x98"])
def test_the_start_of_a_character_is(start: bytes) -> None:
    assert whole_text_bytes(b"ab" + start) == 2
    assert whole_text_bytes(start) == 0

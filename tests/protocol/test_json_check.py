from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidJsonError
from durable_streams.protocol.json_check import LARGE_BYTES, check, check_by_passes, decoded
from durable_streams.protocol.json_scan import DEPTH_MAX
from tests.operations import counted_calls, watched_room
from tests.protocol.json_texts import Body, bodies

PADDING = b" " * LARGE_BYTES
MEBIBYTE = 1 << 20


def is_accepted(body: bytes) -> bool:
    try:
        check(body)
    except InvalidJsonError as refusal:
        str(refusal).encode()
        return False
    return True


def is_accepted_by_json(body: bytes) -> bool:
    """Whether Python's own parser takes it, held to what it lets pass: encodings, constants, numbers out of range."""

    def refuse(constant: str) -> float:
        raise ValueError(constant)

    def finite(number: str) -> float:
        return value if math.isfinite(value := float(number)) else refuse(number)

    try:
        json.loads(body.decode(), parse_constant=refuse, parse_float=finite, parse_int=finite)
    except ValueError:
        return False
    return True


@pytest.fixture(params=[b"", PADDING], ids=["small", "large"])
def padding(request: pytest.FixtureRequest) -> bytes:
    padding: bytes = request.param
    return padding


@given(bodies)
@example(Body('"1e400 \\\\ [[\\"[ 1E+999"', []))
@example(Body('["' + "9" * 400 + '", 1e-400, 0.' + "0" * 400 + "]", []))
@example(Body('[[], "1e400", {"a":[], "b":{}}, ",,:", [[1],[2]]]', []))
def test_a_text_is_accepted_small_and_large(body: Body) -> None:
    assert is_accepted(body.text.encode())
    assert is_accepted(PADDING + body.text.encode())


@given(
    bodies,
    st.sampled_from([b"", b"[", b"]", b'"', b",", b"1", b"e999", b"\xff", b"\\", b"\n", b"\x00"])
    | st.binary(max_size=2),
    st.data(),
)
def test_large_and_small_bodies_are_judged_alike(body: Body, alien: bytes, draw: st.DataObject) -> None:
    text = body.text.encode()
    place = draw.draw(st.integers(0, len(text)))
    until = draw.draw(st.integers(place, min(place + 2, len(text))))
    altered = text[:place] + alien + text[until:]

    assert is_accepted(altered) == is_accepted(altered + PADDING)


@given(
    bodies,
    st.sampled_from([b"", b"[", b"]", b'"', b",", b"1", b"e999", b"\xff", b"\\", b"\n", b"\x00", b"NaN", b"0"])
    | st.binary(max_size=2),
    st.data(),
)
def test_texts_are_judged_as_the_standard_library_does(body: Body, alien: bytes, draw: st.DataObject) -> None:
    text = body.text.encode()
    place = draw.draw(st.integers(0, len(text)))
    until = draw.draw(st.integers(place, min(place + 2, len(text))))
    altered = text[:place] + alien + text[until:]

    assert is_accepted(altered) == is_accepted_by_json(altered)
    assert is_accepted(altered + PADDING) == is_accepted_by_json(altered)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b'["\\ud800", NaN]',
        b'["\\ud800", Infinity]',
        b"1 2",
        b"{} x",
        b"[1],",
        b'["\\ud800"],[1]',
        b'["\\ud800"',
        b"[1,]",
        b"[,1]",
        b'{"a":1,}',
        b'{"a"}',
        b"{a:1}",
        b"'a'",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
        b"0x10",
        b"nul",
        b"True",
        b"// 1",
        b"\xef\xbb\xbf1",
        b"\xff\xfe1\x00",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\x00"',
        b'"a\nb"',
        b'"a',
        b'"\\x41"',
        b'"\\u12"',
        b'"\\ud800\\u12"',
        b"\x0b1",
        b"\xc2\xa01",
        b"1e400",
        b'["\\ud800",1e400]',
        b"]",
        b"1],[2",
        b"[" * 100_000,
        b"[" * 100_000 + b'"\\ud800"' + b"]" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_one_json_text_is_refused(body: bytes, padding: bytes) -> None:
    """§9.1.4."""
    assert not is_accepted(body + padding)
    assert not is_accepted(padding + body)


@pytest.mark.parametrize("leaf", [b"[]", b"{}", b'["\\ud800"]', b'["[{\\"["]', b'{"[\\\\":1}'])
@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":"]"},', b"]")])
def test_depth_is_bounded_exactly(leaf: bytes, around: tuple[bytes, bytes], padding: bytes) -> None:
    opening, closing = around
    deepest = opening * (DEPTH_MAX - 1) + leaf + closing * (DEPTH_MAX - 1)

    check(deepest + padding)
    with pytest.raises(InvalidJsonError, match="nested deeper than 900"):
        check(opening + deepest + closing + padding)


def test_depth_is_bounded_wherever_it_is_reached(padding: bytes) -> None:
    """Behind long stretches, shallow and at the very bound; brackets in strings do not count."""
    almost = b"[" * (DEPTH_MAX - 2) + b",".join([b'{"]]":[]}'] * 500) + b"]" * (DEPTH_MAX - 2)
    before = b"[" + b"[[1],[2]]," * 301

    check(before[:-1] + b"]" + padding)
    check(b"[" * (DEPTH_MAX - 2) + b"[[]]," * 500 + b"[]" + b"]" * (DEPTH_MAX - 2) + padding)
    with pytest.raises(InvalidJsonError, match="nested deeper than 900"):
        check(before + b"[" + almost + b"]]" + padding)


def test_many_shallow_containers_are_not_deep(padding: bytes) -> None:
    check(b"[" + b",".join([b'{"a":[{}],"b":"\\ud800"}'] * DEPTH_MAX) + b"]" + padding)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"[" * (4 * MEBIBYTE),
        b"[" + b"[],"[:3] * MEBIBYTE + b"[]]",
        b"[" + (b"[" * 900 + b"]" * 900 + b",") * (4 * MEBIBYTE // 1_801) + b'"1e400"]',
    ],
    ids=["never closed", "empty arrays", "deep"],
)
def test_brackets_are_not_looked_at_one_by_one(body: bytes) -> None:
    """Nor are lists made of them: the parser that does takes 12 to 44 bytes for each of these."""
    with watched_room() as room, counted_calls() as count:
        is_accepted(body)

    assert room.peak_bytes < 6 * len(body)
    assert count.calls < len(body) // 50


def test_what_a_typed_decoder_refuses_is_not_valid() -> None:
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    assert bytes(decoded(decode, b'{"a":[[1]]}')["a"]) == b"[[1]]"
    with pytest.raises(InvalidJsonError, match="Expected `object`"):
        decoded(decode, b"[]")
    with pytest.raises(InvalidJsonError, match="nested deeper than 900"):
        decoded(decode, b'{"a":' + b"[" * 100_000)


@pytest.mark.parametrize("size", [LARGE_BYTES - 10, 2 * LARGE_BYTES])
def test_by_passes_a_text_is_judged_alike_and_others_come_in_between(size: int) -> None:
    text = b"[" + b"1," * (size // 2) + b"1]"
    assert len([*check_by_passes(text)]) == (5 if size > LARGE_BYTES else 0)
    for bad in (text[:-1], text[:-1] + b"\xff]", text[:-1] + b",1e999]", text.replace(b"1,", b"[,")):
        with pytest.raises(InvalidJsonError):
            list(check_by_passes(bad))


def test_very_many_brackets_take_several_passes() -> None:
    text = b"[" + b"[],{}," * 400_000 + b"0]"
    assert len([*check_by_passes(text)]) == 7
    with pytest.raises(InvalidJsonError):
        list(check_by_passes(text[:-2] + b"[" * 1_000 + b"]" * 1_000 + b"]"))

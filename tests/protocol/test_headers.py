from __future__ import annotations

import pytest

from durable_streams.protocol import headers
from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.headers import (
    INTEGER_MAX,
    PRODUCER_ID_MAX_BYTES,
    STREAM_SEQ_MAX_BYTES,
    parse_closed,
    parse_expiry,
    parse_flag,
    parse_integer,
    parse_stream_seq,
    parse_triple,
)
from durable_streams.protocol.producer import ProducerTriple

NAMES = """
    Stream-Closed Stream-Cursor Stream-Expires-At Stream-Extensions Stream-Fork-Offset Stream-Fork-Sub-Offset
    Stream-Forked-From Stream-Next-Offset Stream-Producer-Required Stream-SSE-Data-Encoding Stream-Seq Stream-TTL
    Stream-Up-To-Date Stream-Write-Fence Stream-Write-Token
    Producer-Epoch Producer-Expected-Seq Producer-Id Producer-Received-Seq Producer-Seq
"""
TRIPLE = {"Producer-Id": "p", "Producer-Epoch": "1", "Producer-Seq": "2"}


def test_names() -> None:
    """§13.2, §5.2.1, §5.8, and our own."""
    spelt = {value for name, value in vars(headers).items() if name.startswith(("STREAM_", "PRODUCER_"))}

    assert {name for name in spelt if isinstance(name, str)} == set(NAMES.split())
    assert all(getattr(headers, name.upper().replace("-", "_")) == name for name in NAMES.split())


@pytest.mark.parametrize(
    ("value", "number"),
    [("0", 0), ("7", 7), ("007", 7), ("9007199254740991", INTEGER_MAX)],
)
def test_a_number(value: str, number: int) -> None:
    assert parse_integer("X", value) == number


@pytest.mark.parametrize(
    "value", ["", " 1", "-1", "+1", "1.0", "1e3", "1_0", "٣", "a", "9007199254740992", "0" * 17, "9" * 5_000, "1\n"]
)
def test_no_number(value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_integer("Producer-Seq", value)
    assert refused.value.name == "Producer-Seq"


@pytest.mark.parametrize("value", ["true", "TRUE", "True", "tRuE"])
def test_closed_is_true_in_any_case(value: str) -> None:
    assert parse_closed({"Stream-Closed": value})


@pytest.mark.parametrize("value", ["false", "yes", "1", "", " true", "true ", "true,true", "truе"])  # noqa: RUF001 - Cyrillic
def test_any_other_value_counts_as_absent(value: str) -> None:
    """§4.1. Whitespace around a value is taken off before it gets here."""
    assert not parse_closed({"Stream-Closed": value})
    assert not parse_closed({})


@pytest.mark.parametrize(("present", "flag"), [({}, False), ({"X": "true"}, True), ({"X": "TRUE"}, True)])
def test_a_restriction_is_there_or_not(present: dict[str, str], *, flag: bool) -> None:
    assert parse_flag(present, "X") is flag


@pytest.mark.parametrize("value", ["false", "", "1", "yes", "tru"])
def test_a_misspelt_restriction_is_not_taken_for_none(value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_flag({"X": value}, "X")
    assert refused.value.name == "X"


def test_the_producer_triple() -> None:
    assert parse_triple(TRIPLE) == ProducerTriple("p", 1, 2)
    assert parse_triple({"Stream-Seq": "x"}) is None


@pytest.mark.parametrize("missing", [{"Producer-Id"}, {"Producer-Epoch"}, {"Producer-Seq"}])
@pytest.mark.parametrize("keep_others", [True, False])
def test_a_part_of_the_triple_is_refused(missing: set[str], *, keep_others: bool) -> None:
    """§5.2.1: all three or none."""
    part = {name: value for name, value in TRIPLE.items() if (name not in missing) is keep_others}

    with pytest.raises(InvalidHeaderError):
        parse_triple(part)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"Producer-Id": ""}, "Producer-Id"),
        ({"Producer-Id": "p" * (PRODUCER_ID_MAX_BYTES + 1)}, "Producer-Id"),
        ({"Producer-Id": "é" * 201}, "Producer-Id"),
        ({"Producer-Id": "\udcff"}, "Producer-Id"),
        ({"Producer-Epoch": "-1"}, "Producer-Epoch"),
        ({"Producer-Epoch": ""}, "Producer-Epoch"),
        ({"Producer-Epoch": "1.5"}, "Producer-Epoch"),
        ({"Producer-Epoch": "9007199254740992"}, "Producer-Epoch"),
        ({"Producer-Seq": "abc"}, "Producer-Seq"),
        ({"Producer-Seq": "9007199254740992"}, "Producer-Seq"),
    ],
)
def test_a_malformed_triple_is_refused(changed: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_triple(TRIPLE | changed)
    assert refused.value.name == name
    str(refused.value).encode()


def test_the_longest_producer_id() -> None:
    triple = parse_triple(TRIPLE | {"Producer-Id": "é" * 200})

    assert triple is not None
    assert len(triple.producer_id.encode()) == PRODUCER_ID_MAX_BYTES


def test_stream_seq_is_any_bounded_text() -> None:
    assert parse_stream_seq({}) is None
    assert parse_stream_seq({"Stream-Seq": "2024-01-01/é"}) == "2024-01-01/é"
    assert parse_stream_seq({"Stream-Seq": "s" * STREAM_SEQ_MAX_BYTES})


@pytest.mark.parametrize("value", ["", "s" * (STREAM_SEQ_MAX_BYTES + 1), "\udcff"])
def test_what_is_no_stream_seq(value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_stream_seq({"Stream-Seq": value})
    assert refused.value.name == "Stream-Seq"


@pytest.mark.parametrize(
    ("given", "expiry"),
    [
        ({}, (None, None)),
        ({"Stream-TTL": "60"}, (60, None)),
        ({"Stream-Expires-At": "2030-01-31T12:00:00Z"}, (None, 1_896_091_200_000)),
    ],
)
def test_one_way_to_expire(given: dict[str, str], expiry: tuple[int | None, int | None]) -> None:
    assert parse_expiry(given) == expiry


@pytest.mark.parametrize(
    "given",
    [
        {"Stream-TTL": "60", "Stream-Expires-At": "2030-01-31T12:00:00Z"},
        {"Stream-TTL": "", "Stream-Expires-At": ""},
        {"Stream-TTL": "1.0"},
        {"Stream-Expires-At": "never"},
    ],
)
def test_both_or_malformed_ways_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidHeaderError):
        parse_expiry(given)

"""A producer's heads differ in two numbers, and the lane remembers the rest: what it reads must be what is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from durable_streams.http.fronts.lane_head import BODY_MAX_BYTES, _parse, parse_head

NUMBERS = st.one_of(st.integers(0, 10**10), st.just(BODY_MAX_BYTES), st.just(BODY_MAX_BYTES + 1)).map(str)
VALUES = st.one_of(NUMBERS, NUMBERS.map(lambda number: "0" + number), st.sampled_from(["", "-1", "1_0", " 7", "x"]))
FIELDS = st.tuples(
    st.sampled_from(
        ["Producer-Seq", "producer-seq", "PRODUCER-SEQ", "Content-Length", "content-length", "Producer-Id", "Host"]
    ),
    st.sampled_from([": ", ":", ":  "]),
    VALUES,
)


def head(method: str, fields: list[tuple[str, str, str]]) -> bytes:
    lines = "".join(f"{name}{colon}{value}\r\n" for name, colon, value in fields)
    return f"{method} /v1/stream/a HTTP/1.1\r\n{lines}\r\n".encode()


@given(st.sampled_from(["POST", "PUT", "GET"]), st.lists(FIELDS, max_size=6))
def test_a_remembered_head_reads_as_a_new_one(method: str, fields: list[tuple[str, str, str]]) -> None:
    raw = head(method, [("Host", ": ", "x"), ("Producer-Id", ": ", "p"), *fields])

    assert parse_head(raw) == _parse(raw)
    assert parse_head(raw) == _parse(raw)


def test_each_of_a_producers_requests_keeps_its_own_numbers() -> None:
    for seq, length in [("0", "5"), ("1", "17"), ("2", "0"), ("3", "5")]:
        found = parse_head(
            head("POST", [("Host", ": ", "x"), ("Producer-Seq", ": ", seq), ("Content-Length", ": ", length)])
        )
        assert found is not None
        assert (found.headers["Producer-Seq"], found.body_bytes) == (seq, int(length))

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.head import (
    CLOSED,
    SOFT_DELETED,
    Closer,
    Fork,
    Head,
    Record,
    Segment,
    decode_record,
    encode_record,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.integers(0, 2**63 - 1)
flags = st.booleans()

forks = st.builds(
    Fork,
    texts,
    numbers,
    numbers,
    numbers,
    flags,
    flags,
    st.lists(st.builds(Segment, numbers, numbers)).map(tuple),
    numbers,
)
records = st.builds(
    Record,
    texts,
    st.none() | numbers,
    st.none() | numbers,
    st.none() | texts,
    st.none() | st.builds(Closer, texts, numbers, numbers),
    st.none() | forks,
    flags,
    flags,
    st.none() | texts,
)


@given(records)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    decoded = decode_record(encode_record(record))

    assert decoded == record
    assert [type(part) for part in decoded] == [type(part) for part in record]
    if decoded.fork is not None:
        assert all(isinstance(segment, Segment) for segment in decoded.fork.lineage)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"{",
        b"5",
        b"null",
        b"[]",
        b'["a/b",null,null,null,null]',
        b'["a/b",null,null,null,null,null,false,false,null,null]',
        b'["a/b",null,null,null,["p",1],null]',
        b'["a/b",null,null,null,7,null]',
        b'["a/b",null,null,null,null,["s",1,0,0,true,false]]',
        b'["a/b",null,null,null,null,["s",1,0,0,true,false,[[1]],1]]',
        b'["a/b",null,null,null,null,["s",1,0,0,true,false,9,1]]',
    ],
)
def test_what_is_no_record_does_not_decode(encoded: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_record(encoded)


def test_a_record_without_restrictions_costs_no_byte_for_them() -> None:
    assert encode_record(Record("a/b")) == b'["a/b",null,null,null,null,null]'
    assert decode_record(b'["a/b",null,null,null,null,null]') == Record("a/b")


def test_the_bits_that_are_stored_stay_what_they_are() -> None:
    assert (CLOSED, SOFT_DELETED) == (1, 2)


@pytest.mark.parametrize("state", range(4))
def test_a_head_says_what_its_state_bits_mean(state: int) -> None:
    head = Head("s", 1, 2, 3, state, 4, 5, 6, b"")

    assert head.closed is bool(state & CLOSED)
    assert head.soft_deleted is bool(state & SOFT_DELETED)


def test_a_fork_s_own_bytes_begin_where_its_lineage_ends() -> None:
    fork = Fork("s", 1, 4, 0, asked_offset=True, inherited_expiry=False, lineage=(Segment(1, 4), Segment(2, 9)))

    assert fork.base == 9
    assert fork.depth == 1
    assert fork._replace(lineage=()).base == 0

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from durable_streams.protocol.errors import EmptyArrayError, InvalidJsonError
from durable_streams.protocol.json_mode import (
    cut,
    flatten,
    flatten_by_passes,
    flatten_initial,
    wrap,
)
from tests.protocol.json_texts import Body, bodies


def parsed(text: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse with the standard library, numbers as written and every member of an object kept."""
    return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=list)


@given(bodies)
def test_each_message_is_stored_as_it_was_written(body: Body) -> None:
    assert flatten(body.text.encode()) == flatten_initial(body.text.encode()) == body.stored


@given(bodies)
def test_a_page_parses_to_the_messages_sent(body: Body) -> None:
    sent = parsed(body.text)

    assert parsed(wrap(flatten(body.text.encode()))) == (sent if body.text.strip().startswith("[") else [sent])


@given(bodies)
def test_any_run_of_messages_is_a_page(body: Body) -> None:
    edges = [0, *body.ends]
    for index, start in enumerate(edges):
        for end in edges[index:]:
            assert len(json.loads(wrap(body.stored[start:end]))) == edges.index(end) - index


@given(bodies)
def test_a_cut_takes_what_fits_and_one_message_at_least(body: Body) -> None:
    for max_bytes in range(1, len(body.stored) + 2):
        fitting = [end for end in body.ends if end <= max_bytes]
        assert cut(body.stored, max_bytes) == (fitting[-1] if fitting else body.ends[0])


def test_nothing_stored() -> None:
    assert wrap(b"") == b"[]"
    assert cut(b"", 10) == 0


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b'{"event": "created"}', b'{"event": "created"},'),
        (b'[{"event": "a"}, {"event": "b"}]', b'{"event": "a"}, {"event": "b"},'),
        (b"[[1,2], [3,4]]", b"[1,2], [3,4],"),
        (b"[[[1,2,3]]]", b"[[1,2,3]],"),
        (b"[[]]", b"[],"),
        (b"null", b"null,"),
        (b"[null]", b"null,"),
        (b" 12345678901234567890\n", b"12345678901234567890,"),
        (b"[1.0,1e5]", b"1.0,1e5,"),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2},'),
    ],
)
def test_one_array_level_is_flattened(body: bytes, stored: bytes) -> None:
    """§9.1.2, its examples first."""
    assert flatten(body) == stored


@pytest.mark.parametrize("body", [b"[]", b" [ \n] "])
def test_an_empty_array_appends_nothing_and_creates_an_empty_stream(body: bytes) -> None:
    """§9.1.3."""
    with pytest.raises(EmptyArrayError):
        flatten(body)
    assert flatten_initial(body) == b""


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]"])
def test_what_is_not_one_json_text_is_refused(body: bytes) -> None:
    """§9.1.4. At creation as well."""
    with pytest.raises(InvalidJsonError):
        flatten(body)
    with pytest.raises(InvalidJsonError):
        flatten_initial(body)


@pytest.mark.parametrize("body", [b" [1, 2] ", b"[" + b"1," * 100_000 + b"1]"], ids=["small", "large"])
def test_by_passes_the_same_is_stored(body: bytes) -> None:
    steps = flatten_by_passes(body)
    with pytest.raises(StopIteration) as stored:  # noqa: PT012 one of its steps is the last
        while True:
            next(steps)
    assert stored.value.value == flatten(body)

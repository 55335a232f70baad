from __future__ import annotations

import pytest

from durable_streams.protocol import headers
from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.request_fields import LISTS, READ, gather, spelt


def test_names_are_found_in_any_case_and_given_as_they_are_looked_up() -> None:
    for name in READ:
        assert spelt(name.upper()) == spelt(name.lower()) == spelt(name) == name
    assert spelt("X-Anything") is None
    assert headers.PRODUCER_ID in READ


def test_only_fields_that_are_read_are_gathered() -> None:
    assert gather([("HOST", "h"), ("cookie", "a=b"), ("producer-id", "p")]) == {"Host": "h", "Producer-Id": "p"}
    assert gather([]) == {}


@pytest.mark.parametrize("name", sorted(LISTS))
def test_lines_of_a_list_are_one_list(name: str) -> None:
    """RFC 9110 §5.3."""
    assert gather([(name, "a"), (name.lower(), "b, c"), (name, "")]) == {name: "a, b, c, "}


@pytest.mark.parametrize("name", [name for name in READ if name not in LISTS])
@pytest.mark.parametrize("second", ["a", "b", ""])
def test_any_other_field_has_one_line(name: str, second: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        gather([(name, "a"), (name.upper(), second)])
    assert refused.value.name == name

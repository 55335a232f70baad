from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol import errors
from durable_streams.protocol.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGE = "a\udcff\r\n"
"""What a client's bytes can look like once a server has read them: no UTF-8, no single line."""


def family(error: type[StreamError]) -> Iterator[type[StreamError]]:
    """Yield the refusals of this module; other modules have their own, and tests of them."""
    yield error
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


WITH_FIELDS = [error for error in family(StreamError) if "__init__" in vars(error)]
PLAIN = [error for error in family(StreamError) if "__init__" not in vars(error)]


def arguments(error: type[StreamError], text: str) -> dict[str, object]:
    kinds = inspect.get_annotations(error.__init__)
    return {
        name: {"int": index + 5, "str": text, "bool": True}[kind]
        for index, (name, kind) in enumerate(kinds.items())
        if name != "return"
    }


@pytest.mark.parametrize("error", WITH_FIELDS)
def test_a_refusal_carries_what_it_was_made_of(error: type[StreamError]) -> None:
    given = arguments(error, "some text")
    made = error(*given.values())

    assert vars(made) == {name: value for name, value in given.items() if name != "why"}
    told = {name: value for name, value in given.items() if name not in {"tail", "closed"} or "offset" in given}
    assert all(str(value) in str(made) for value in told.values())


@pytest.mark.parametrize("error", WITH_FIELDS)
def test_what_a_client_sent_can_be_shown_to_it(error: type[StreamError]) -> None:
    ours = dict.fromkeys(("name", "why", "what", "difference"), "some words")
    given = arguments(error, STRANGE)
    sentence = str(error(*(ours.get(name, value) for name, value in given.items())))

    assert sentence.encode().isascii()
    assert len(sentence.splitlines()) == 1


@pytest.mark.parametrize("error", PLAIN)
def test_a_refusal_without_fields_says_why(error: type[StreamError]) -> None:
    assert str(error("no room")) == "no room"


def test_every_refusal_is_a_stream_error_with_a_reason_to_exist() -> None:
    defined = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert set(defined) == set(family(StreamError))
    assert all(kind.__doc__ for kind in defined)


def test_a_refusal_that_is_kept_keeps_nothing_of_where_it_was_raised() -> None:
    kept = []
    try:
        try:
            int("none")
        except ValueError:
            raise StreamError("why")  # noqa: B904 the context is what is looked at
    except StreamError as refusal:
        kept.append(refusal.bare())

    assert (kept[0].__traceback__, kept[0].__context__, str(kept[0])) == (None, None, "why")

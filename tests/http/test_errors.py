"""The one table from refusal to answer."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.http.errors import PROBLEM_JSON, TABLE, answer_of
from durable_streams.protocol import errors, subscription_errors
from durable_streams.protocol.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

BASES = {
    errors.StreamError,
    errors.InvalidRequestError,
    errors.ConflictError,
    errors.UnavailableError,
    subscription_errors.SubscriptionError,
}
"""What the others derive from: never raised themselves."""


def walk(error: type[StreamError]) -> Iterator[type[StreamError]]:
    for child in error.__subclasses__():
        yield child
        yield from walk(child)


def made(error: type[StreamError]) -> StreamError:
    """Return an instance, each argument filled by the kind its annotation names."""
    if "__init__" not in vars(error):
        return error("some reason")
    values = {"int": 7, "str": "a/b", "bool": True}
    annotations = inspect.get_annotations(error.__init__)
    return error(*(values[kind] for name, kind in annotations.items() if name != "return"))


REFUSALS = sorted(set(walk(StreamError)) - BASES, key=lambda error: error.__name__)


@pytest.mark.parametrize("error", REFUSALS)
def test_every_refusal_has_a_row(error: type[StreamError]) -> None:
    assert error in TABLE

    answer = answer_of(made(error))

    status, code = TABLE[error]
    problem = orjson.loads(answer.body)
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["title"]
    assert problem["detail"]
    assert ("Content-Type", PROBLEM_JSON) in answer.headers
    assert ("Cache-Control", "no-store") in answer.headers


def test_no_base_has_a_row_and_no_row_is_for_nothing() -> None:
    assert set(TABLE) == set(REFUSALS)


def test_codes_are_stable_words_and_differ() -> None:
    codes = [code for _, code in TABLE.values()]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("error", [error for error in REFUSALS if issubclass(error, errors.UnavailableError)])
def test_what_may_be_tried_again_says_when(error: type[StreamError]) -> None:
    answer = answer_of(made(error))

    assert answer.status == 503
    assert ("Retry-After", "1") in answer.headers


def test_a_detail_that_is_no_unicode_is_told_all_the_same() -> None:
    answer = answer_of(errors.ContentTypeMismatchError("text/plain", "text/\udcff"))

    assert orjson.loads(answer.body)["code"] == "content-type-mismatch"

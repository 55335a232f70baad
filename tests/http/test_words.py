"""Words in the bodies of refusals that clients in the wild look for, instead of status and header fields.

Found by reading the official clients, and the adapters by which their conformance is tested. Which words are there is
part of what we answer, and so is which words are not: each tells two refusals of one status apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.http.errors import TABLE, answer_of
from durable_streams.protocol import errors
from tests.http.test_errors import REFUSALS, made

if TYPE_CHECKING:
    from durable_streams.protocol.errors import StreamError

SEQUENCE = "sequence"
"""In a 409: a conflict of ``Stream-Seq`` or of a producer (TypeScript and Elixir adapters; PHP asks for ``sequence
conflict``, for a 409 that names neither its expected seq nor an end). Without it: the stream exists differently."""
OFFSET = "offset"
"""In a 400: the offset is none of this server's (TypeScript, Elixir and .NET adapters)."""

TOLD_BY = {
    SEQUENCE: {errors.StreamSeqConflictError, errors.ProducerGapError},
    OFFSET: {
        errors.InvalidOffsetError,
        errors.OffsetBeyondTailError,
        errors.OffsetInsideMessageError,
        errors.SubOffsetBeyondTailError,
    },
}
STATUS = {SEQUENCE: 409, OFFSET: 400}


def body_of(refusal: StreamError) -> str:
    return answer_of(refusal).body.decode().lower()


def test_a_stream_seq_conflict_begins_with_its_words() -> None:
    """The JavaScript and the PHP client tell it by them from a stream that exists with another configuration."""
    assert str(errors.StreamSeqConflictError("2", "1")).startswith("Sequence conflict")
    assert "sequence conflict" in body_of(errors.StreamSeqConflictError("2", "1"))


@pytest.mark.parametrize("word", TOLD_BY)
@pytest.mark.parametrize("error", REFUSALS)
def test_a_word_is_where_it_is_looked_for_and_nowhere_else(error: type[StreamError], word: str) -> None:
    if TABLE[error][0] == STATUS[word]:
        assert (word in body_of(made(error))) == (error in TOLD_BY[word])

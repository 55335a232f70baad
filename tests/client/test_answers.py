from __future__ import annotations

import pytest
from multidict import CIMultiDict

from durable_streams.client import (
    DurableStreamError,
    RetentionGoneError,
    SeqConflictError,
    SequenceGapError,
    StaleEpochError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
    TailMovedError,
)
from durable_streams.client.answers import Answer, refusal

SENT_SEQ = {"Stream-Seq": "a"}
SENT_PRODUCER = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "7"}

TABLE = [
    (400, "POST", {}, {}, DurableStreamError, "BAD_REQUEST"),
    (401, "GET", {}, {}, DurableStreamError, "UNAUTHORIZED"),
    (403, "POST", {}, {}, DurableStreamError, "FORBIDDEN"),
    (403, "POST", {"Producer-Epoch": "5"}, SENT_PRODUCER, StaleEpochError, "STALE_EPOCH"),
    (403, "POST", {"Producer-Epoch": "x"}, SENT_PRODUCER, DurableStreamError, "FORBIDDEN"),
    (404, "GET", {}, {}, StreamNotFoundError, "NOT_FOUND"),
    (409, "PUT", {}, {}, StreamExistsError, "CONFLICT_EXISTS"),
    (409, "PUT", {"Stream-Closed": "true"}, {}, StreamExistsError, "CONFLICT_EXISTS"),
    (409, "POST", {"Stream-Closed": "true"}, SENT_PRODUCER, StreamClosedError, "STREAM_CLOSED"),
    (409, "POST", {"Stream-Closed": "no"}, {}, DurableStreamError, "CONFLICT"),
    (409, "POST", {"producer-expected-seq": "3"}, SENT_PRODUCER, SequenceGapError, "SEQUENCE_GAP"),
    (409, "POST", {}, SENT_SEQ, SeqConflictError, "CONFLICT_SEQ"),
    (409, "POST", {}, {}, DurableStreamError, "CONFLICT"),
    (410, "GET", {}, {}, RetentionGoneError, "RETENTION_GONE"),
    (412, "POST", {}, {"If-Match": '"1"'}, TailMovedError, "TAIL_MOVED"),
    (412, "POST", {}, {}, DurableStreamError, "HTTP_ERROR"),
    (413, "POST", {}, {}, DurableStreamError, "PAYLOAD_TOO_LARGE"),
    (429, "POST", {}, {}, DurableStreamError, "RATE_LIMITED"),
    (503, "POST", {}, {}, DurableStreamError, "BUSY"),
    (507, "POST", {}, {}, DurableStreamError, "STORE_FULL"),
    (302, "POST", {}, {}, DurableStreamError, "HTTP_ERROR"),
    (599, "GET", {}, {}, DurableStreamError, "HTTP_ERROR"),
]


@pytest.mark.parametrize(("status", "method", "headers", "sent", "kind", "code"), TABLE)
def test_every_refusal_has_its_type(  # noqa: PLR0917 one row of the table
    status: int,
    method: str,
    headers: dict[str, str],
    sent: dict[str, str],
    kind: type[DurableStreamError],
    code: str,
) -> None:
    error = refusal(Answer(status, CIMultiDict(headers)), "http://h/s", method=method, sent=sent)
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)


def test_a_stale_epoch_knows_the_current_one() -> None:
    error = refusal(Answer(403, CIMultiDict({"producer-epoch": "5"})), "u", method="POST", sent=SENT_PRODUCER)
    assert isinstance(error, StaleEpochError)
    assert error.current_epoch == 5


def test_a_gap_knows_both_seqs() -> None:
    error = refusal(Answer(409, CIMultiDict({"Producer-Expected-Seq": "3"})), "u", method="POST", sent=SENT_PRODUCER)
    assert isinstance(error, SequenceGapError)
    assert (error.expected_seq, error.received_seq) == (3, 7)


def test_a_closed_stream_knows_its_end() -> None:
    headers = CIMultiDict({"Stream-Closed": "TRUE", "Stream-Next-Offset": "42"})
    error = refusal(Answer(409, headers), "u", method="POST", sent={})
    assert isinstance(error, StreamClosedError)
    assert error.final_offset == "42"


def test_a_problem_document_speaks() -> None:
    headers = CIMultiDict({"Content-Type": "application/problem+json"})
    body = b'{"title":"Bad Request","code":"invalid-json","detail":"no JSON"}'
    error = refusal(Answer(400, headers, body), "u", method="POST", sent={})
    assert "no JSON" in str(error)
    assert isinstance(error.details, dict)
    assert error.details["code"] == "invalid-json"


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"x" * 10_000])
def test_a_body_that_is_no_problem_document_is_quoted_in_part(body: bytes) -> None:
    headers = CIMultiDict({"Content-Type": "application/problem+json"})
    error = refusal(Answer(400, headers, body), "u", method="POST", sent={})
    assert isinstance(error.details, str)
    assert 0 < len(error.details) <= 500

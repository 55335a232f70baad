"""From refusal to answer: the one table (RFC 9457).

Owns: status, stable ``code`` and extra fields of every refusal. A test walks all types and fails on one without a row.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from durable_streams.engine.base import EngineFailedError
from durable_streams.http import answers
from durable_streams.http.messages import Answer
from durable_streams.protocol import errors as e
from durable_streams.protocol import headers as names
from durable_streams.protocol import subscription_errors as s
from durable_streams.protocol.response_fields import RETRY_AFTER

if TYPE_CHECKING:
    from durable_streams.http.messages import Fields, Request

_log = structlog.get_logger(__name__)

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_S: Final = "1"

TABLE: Final[dict[type[e.StreamError], tuple[int, str]]] = {
    e.InvalidPathError: (400, "invalid-path"),
    e.PathTooLongError: (414, "path-too-long"),
    e.ReservedPathError: (400, "reserved-path"),
    e.InvalidHeaderError: (400, "invalid-header"),
    e.InvalidQueryError: (400, "invalid-query"),
    e.InvalidOffsetError: (400, "invalid-offset"),
    e.OffsetBeyondTailError: (400, "offset-beyond-tail"),
    e.OffsetInsideMessageError: (400, "offset-inside-message"),
    e.SubOffsetBeyondTailError: (400, "sub-offset-beyond-tail"),
    e.ForkTooDeepError: (400, "fork-too-deep"),
    e.EmptyBodyError: (400, "empty-body"),
    e.MissingContentTypeError: (400, "missing-content-type"),
    e.InvalidJsonError: (400, "invalid-json"),
    e.EmptyArrayError: (400, "empty-batch"),
    e.EpochMustStartAtZeroError: (400, "epoch-must-start-at-zero"),
    e.ProducerRequiredError: (400, "producer-required"),
    e.NotFoundError: (404, "not-found"),
    e.GoneError: (410, "gone"),
    e.ReplacedError: (410, "replaced"),
    e.StreamExistsError: (409, "stream-exists"),
    e.PathBlockedError: (409, "path-blocked"),
    e.SourceGoneError: (409, "source-gone"),
    e.ContentTypeMismatchError: (409, "content-type-mismatch"),
    e.StreamClosedError: (409, "stream-closed"),
    e.StreamSeqConflictError: (409, "stream-seq-conflict"),
    e.ProducerGapError: (409, "producer-gap"),
    e.UploadUnfinishedError: (409, "upload-unfinished"),
    e.UploadDiffersError: (409, "upload-differs"),
    e.TailMovedError: (412, "tail-moved"),
    e.AlreadyExistsError: (412, "already-exists"),
    e.StaleEpochError: (403, "stale-epoch"),
    e.WriteFencedError: (403, "write-fenced"),
    s.InvalidSubscriptionError: (400, "invalid-request"),
    s.WebhookUrlRejectedError: (400, "webhook-url-rejected"),
    s.TokenInvalidError: (401, "token-invalid"),
    s.TokenExpiredError: (401, "token-expired"),
    s.SubscriptionNotFoundError: (404, "subscription-not-found"),
    s.SubscriptionExistsError: (409, "subscription-already-exists"),
    s.FencedError: (409, "fenced"),
    s.AlreadyClaimedError: (409, "already-claimed"),
    s.NoPendingWorkError: (409, "no-pending-work"),
    s.InvalidAckError: (409, "invalid-offset-ack"),
    s.TooManyAcksError: (413, "too-many-acks"),
    e.HostNotAllowedError: (421, "host-not-allowed"),
    e.OriginNotAllowedError: (403, "origin-not-allowed"),
    e.TransferCodingError: (501, "unknown-transfer-coding"),
    e.BodyTooLargeError: (413, "body-too-large"),
    e.RequestTimeoutError: (408, "request-timeout"),
    e.OverloadedError: (503, "overloaded"),
    e.ShuttingDownError: (503, "shutting-down"),
    e.StoreFailedError: (503, "store-failed"),
    e.StoreFullError: (507, "store-full"),
    e.DamagedError: (500, "damaged"),
    e.OutcomeUnknownError: (500, "outcome-unknown"),
}


def answer_of(error: e.StreamError) -> Answer:
    """Return the answer to a refusal."""
    status, code = TABLE[type(error)]
    return problem(status, code, str(error), extra=_fields(error))


def problem(status: int, code: str, detail: str, *, extra: Fields = ()) -> Answer:
    """Return a problem+json answer; ``code`` is stable, ``detail`` is for people."""
    shown = detail.encode("utf-8", "backslashreplace").decode("utf-8")  # it may quote a header that was not UTF-8
    body = orjson.dumps({"title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": shown})
    return Answer(status, (("Content-Type", PROBLEM_JSON), answers.NO_STORE, *extra), body)


def event_of(kind: str, refusal: e.StreamError) -> bytes:
    """Return a server-sent event that says what an answer would have said: the refusal's ``code`` and ``detail``."""
    _, code = TABLE[type(refusal)]
    return f"event: {kind}\ndata:".encode() + orjson.dumps({"code": code, "detail": str(refusal)}) + b"\n\n"


def answer_to_fault(request: Request, fault: Exception) -> Answer:
    """Return the answer to a fault of ours: it names an incident, and the log has the rest.

    A store that has failed is no fault of this request: the log has said so, once, and the server is about to stop.
    """
    if isinstance(fault, EngineFailedError):
        return answer_of(e.StoreFailedError("the store has failed"))
    incident = secrets.token_hex(4)
    _log.error("request failed", incident=incident, method=request.method, path=request.path, exc_info=fault)
    return problem(500, "internal-error", f"internal error {incident}")


def _fields(error: e.StreamError) -> Fields:
    match error:
        case e.StreamClosedError() | e.TailMovedError() | e.AlreadyExistsError():
            return _place(error)
        case e.StaleEpochError():  # §5.2.1
            return ((names.PRODUCER_EPOCH, str(error.current_epoch)),)
        case e.ProducerGapError():  # §5.2.1
            return (
                (names.PRODUCER_EXPECTED_SEQ, str(error.expected_seq)),
                (names.PRODUCER_RECEIVED_SEQ, str(error.received_seq)),
            )
        case e.UnavailableError():
            return ((RETRY_AFTER, RETRY_AFTER_S),)
        case e.BodyTooLargeError() | e.RequestTimeoutError() | e.TransferCodingError():
            return (("Connection", "close"),)
        case _:
            return ()


def _place(error: e.StreamClosedError | e.TailMovedError | e.AlreadyExistsError) -> Fields:
    """Return where the stream's tail is, and whether that is its end: what a client needs to go on."""
    where = answers.next_offset(error.tail)
    if isinstance(error, e.StreamClosedError):  # §5.2
        return (answers.CLOSED, where)
    if isinstance(error, e.TailMovedError):
        return (where, answers.tag(error.tail), *((answers.CLOSED,) if error.closed else ()))
    return (where,)

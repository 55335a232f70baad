"""From an HTTP answer to the exception it means.

Owns: the one table from status and headers to exception types. Must not know: retries, connections.
Invariant: decides on status, headers and the problem document's ``code``; never on the wording of a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from durable_streams.client.errors import (
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
from durable_streams.protocol import headers as names
from durable_streams.protocol.conditions import IF_MATCH

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM: Final = "application/problem+json"
BODY_SHOWN_CHARS: Final = 500
"""How much of an unexpected body an exception quotes."""

_CODES: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "BAD_REQUEST",
    HTTPStatus.UNAUTHORIZED: "UNAUTHORIZED",
    HTTPStatus.FORBIDDEN: "FORBIDDEN",
    HTTPStatus.CONFLICT: "CONFLICT",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "PAYLOAD_TOO_LARGE",
    HTTPStatus.TOO_MANY_REQUESTS: "RATE_LIMITED",
    HTTPStatus.SERVICE_UNAVAILABLE: "BUSY",
    HTTPStatus.INSUFFICIENT_STORAGE: "STORE_FULL",
}

_CONFLICTS: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer. ``headers`` looks names up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def closed(self) -> bool:
        """Whether ``Stream-Closed`` is ``true`` (§4.1)."""
        return names.parse_closed(self.headers)


def refusal(answer: Answer, url: str, *, method: str, sent: Mapping[str, str]) -> DurableStreamError:
    """Return the exception that an answer outside 2xx means.

    Args:
        answer: the answer.
        url: the stream asked about.
        method: the method used; a conflict with ``PUT`` is about the stream's existence.
        sent: the request's headers; a conflict is about ``Stream-Seq`` only if there was one.
    """
    details = _details(answer)
    if answer.status == HTTPStatus.NOT_FOUND:
        return StreamNotFoundError(url, details=details)
    if answer.status == HTTPStatus.GONE:
        return RetentionGoneError(f"{url} is gone, or its oldest offsets are", details=details)
    current_epoch = _number(answer, names.PRODUCER_EPOCH)
    if answer.status == HTTPStatus.FORBIDDEN and current_epoch is not None:
        return StaleEpochError(current_epoch)
    if answer.status == HTTPStatus.CONFLICT and method == "PUT":
        return StreamExistsError(url, details=details)
    if answer.status in _CONFLICTS and (conflict := _conflict(answer, url, sent)) is not None:
        return conflict
    code = _CODES.get(answer.status, "HTTP_ERROR")
    return DurableStreamError(_sentence(details, url), status=answer.status, code=code, details=details)


def gone(event: bytes, url: str) -> StreamNotFoundError | RetentionGoneError:
    """Return the exception that a ``gone`` event means: the stream was deleted, or replaced, while it was followed."""
    try:
        details = orjson.loads(event)
    except orjson.JSONDecodeError:
        details = event.decode("utf-8", "replace")[:BODY_SHOWN_CHARS]
    if isinstance(details, dict) and details.get("code") == "not-found":
        return StreamNotFoundError(url, details=details)
    return RetentionGoneError(_sentence(details, url), details=details)


def _conflict(answer: Answer, url: str, sent: Mapping[str, str]) -> DurableStreamError | None:
    offset = answer.headers.get(names.STREAM_NEXT_OFFSET)
    if answer.status == HTTPStatus.PRECONDITION_FAILED:
        if IF_MATCH not in sent:
            return None
        return TailMovedError(url, current_offset=offset, stream_closed=answer.closed, details=_details(answer))
    if answer.closed:
        return StreamClosedError(url, final_offset=offset, details=_details(answer))
    expected_seq = _number(answer, names.PRODUCER_EXPECTED_SEQ)
    if expected_seq is not None:
        return SequenceGapError(expected_seq, int(sent.get(names.PRODUCER_SEQ, -1)))
    if names.STREAM_SEQ in sent:
        return SeqConflictError(details=_details(answer))
    return None


def _number(answer: Answer, name: str) -> int | None:
    value = answer.headers.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def _details(answer: Answer) -> object:
    """Return the parsed problem document, or the beginning of the body as text, or ``None``."""
    if answer.headers.get("Content-Type", "").startswith(PROBLEM):
        try:
            parsed: object = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            pass
        else:
            return parsed
    return answer.body.decode("utf-8", "replace")[:BODY_SHOWN_CHARS] or None


def _sentence(details: object, url: str) -> str:
    if isinstance(details, dict):
        details = details.get("detail") or details.get("title")
    return f"{details}: {url}" if isinstance(details, str) else f"request refused: {url}"

"""From an error to its answer (RFC 9457): the one table, and what the answer says.

``detail`` comes first, as some clients show the body as it is. Texts that were not written for strangers are not in it:
see ``telling``. Must not know: routes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from durable_streams.agents.answers import InvalidAnswerError
from durable_streams.agents.errors import AgentError
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.adapter import BusyError, DrainingError
from durable_streams.agents.sessions.answering import AnsweredError, LoopingError, NotWaitingError
from durable_streams.agents.sessions.editing import (
    InvalidEditError,
    SessionExistsError,
    UnknownMessageError,
    UnknownSessionError,
)
from durable_streams.agents.sessions.events import InvalidEventError
from durable_streams.agents.sessions.ledger import DayLimitError, SessionLimitError
from durable_streams.agents.sessions.places import InvalidIdError
from durable_streams.agents.sessions.prompts import InvalidPromptError
from durable_streams.agents.telling import number_of
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.agents.telling import Teller

PROBLEM_JSON: Final = "application/problem+json"


class BadBodyError(AgentError):
    """A request's body that is not a JSON object."""

    public = True


class NotJsonError(AgentError):
    """A request's body that does not say that it is JSON, which any page may send without being asked."""

    public = True

    def __init__(self, given: str) -> None:
        super().__init__(f"a body is application/json, not {given}")


class ForeignOriginError(AgentError):
    """A page of another origin, which is not allowed."""

    public = True

    def __init__(self) -> None:
        super().__init__("pages of this origin may not do this; --cors-origins names those that may")


class UnknownHostError(AgentError):
    """A request for a name that is not this machine's."""

    public = True

    def __init__(self) -> None:
        super().__init__("this name is not answered to; --allowed-hosts names those that are")


ROWS: Final[Mapping[type[Exception], tuple[HTTPStatus, str]]] = {
    BadBodyError: (HTTPStatus.BAD_REQUEST, "invalid-body"),
    NotJsonError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json"),
    ForeignOriginError: (HTTPStatus.FORBIDDEN, "foreign-origin"),
    UnknownHostError: (HTTPStatus.FORBIDDEN, "unknown-host"),
    BusyError: (HTTPStatus.CONFLICT, "busy"),
    DrainingError: (HTTPStatus.SERVICE_UNAVAILABLE, "draining"),
    SessionLimitError: (HTTPStatus.PAYMENT_REQUIRED, "session-limit"),
    DayLimitError: (HTTPStatus.TOO_MANY_REQUESTS, "day-limit"),
    InvalidIdError: (HTTPStatus.BAD_REQUEST, "invalid-id"),
    InvalidPromptError: (HTTPStatus.BAD_REQUEST, "invalid-prompt"),
    InvalidAnswerError: (HTTPStatus.BAD_REQUEST, "invalid-answer"),
    AnsweredError: (HTTPStatus.CONFLICT, "answered"),
    NotWaitingError: (HTTPStatus.CONFLICT, "not-waiting"),
    LoopingError: (HTTPStatus.TOO_MANY_REQUESTS, "looping"),
    InvalidEventError: (HTTPStatus.BAD_REQUEST, "invalid-event"),
    UnknownMessageError: (HTTPStatus.NOT_FOUND, "unknown-message"),
    UnknownSessionError: (HTTPStatus.NOT_FOUND, "unknown-session"),
    SessionExistsError: (HTTPStatus.CONFLICT, "session-exists"),
    InvalidEditError: (HTTPStatus.BAD_REQUEST, "invalid-edit"),
    AgentError: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    FetchError: (HTTPStatus.SERVICE_UNAVAILABLE, "streams-unreachable"),
    DurableStreamError: (HTTPStatus.BAD_GATEWAY, "streams-refused"),
    Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
}
"""Error → status and stable code; of several that fit, the first."""


def problem(status: HTTPStatus, code: str, detail: str, **more: object) -> web.Response:
    """Return an answer that says what is wrong."""
    said = {"detail": detail, "title": status.phrase, "status": int(status), "code": code, **more}
    return web.Response(
        body=encoded({name: value for name, value in said.items() if value is not None}),
        status=status,
        content_type=PROBLEM_JSON,
        headers={"Cache-Control": "no-store"},
    )


def refusal(error: Exception, teller: Teller, path: str) -> web.Response:
    """Return the answer to a request that an error has ended."""
    status, code = next(row for kind, row in ROWS.items() if isinstance(error, kind))
    detail = teller.of_request(error, path)
    more: dict[str, object] = {"generationId": error.attempt.id} if isinstance(error, BusyError) else {}
    if isinstance(error, AnsweredError):
        more["answer"] = error.decided.told()
    answer = problem(status, code, detail, error_id=number_of(error), **more)
    if isinstance(error, DayLimitError):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def of_router(error: web.HTTPException) -> web.Response:
    """Return what the router, or what reads bodies, has refused, in the same form."""
    status = HTTPStatus(error.status)
    answer = problem(status, status.phrase.lower().replace(" ", "-"), status.description or status.phrase)
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer

"""How answers look: JSON, CORS, and which error becomes which status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from aiohttp import web

from durable_streams.agents.errors import AgentError
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.adapter import BusyError
from durable_streams.agents.sessions.events import InvalidEventError
from durable_streams.agents.sessions.places import InvalidIdError
from durable_streams.agents.sessions.prompts import InvalidPromptError
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)

EXPOSED: Final = (
    "Location, Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, X-Vercel-AI-UI-Message-Stream"
)
CORS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": EXPOSED,
}
PREFLIGHT: Final[Mapping[str, str]] = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization, Content-Type, Idempotency-Key, User-Agent",
    "Access-Control-Max-Age": "86400",
}

_STATUSES: Final[tuple[tuple[type[Exception], HTTPStatus], ...]] = (
    (BusyError, HTTPStatus.CONFLICT),
    (InvalidIdError, HTTPStatus.BAD_REQUEST),
    (InvalidPromptError, HTTPStatus.BAD_REQUEST),
    (InvalidEventError, HTTPStatus.BAD_REQUEST),
    (AgentError, HTTPStatus.SERVICE_UNAVAILABLE),
    (FetchError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DurableStreamError, HTTPStatus.BAD_GATEWAY),
)


class BadBodyError(AgentError):
    """A request's body that is not a JSON object."""


def json_answer(
    body: Mapping[str, object], *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return JSON that no cache keeps."""
    return web.Response(
        body=encoded(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the request's JSON object; an empty body is an empty one.

    Raises:
        BadBodyError: anything else.
    """
    text = await request.read()
    try:
        body = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError as fault:
        raise BadBodyError(f"the body is not JSON: {fault}") from fault
    if not isinstance(body, dict):
        raise BadBodyError("the body is not a JSON object")
    return body


@web.middleware
async def errors_and_cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into answers, and let every origin read all of them."""
    if request.method == "OPTIONS":
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=PREFLIGHT)
    try:
        answer = await handler(request)
    except web.HTTPException as refusal:
        refusal.headers.update(CORS)
        raise
    except (AgentError, DurableStreamError, FetchError) as error:
        answer = _refusal(error)
    if not answer.prepared:
        answer.headers.update(CORS)
    return answer


def _refusal(error: Exception) -> web.Response:
    status = HTTPStatus.BAD_REQUEST
    if not isinstance(error, BadBodyError):
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", error=str(error))
    said: dict[str, object] = {"error": str(error)}
    if isinstance(error, BusyError):
        said["generationId"] = error.generation.id
    return json_answer(said, status=status)

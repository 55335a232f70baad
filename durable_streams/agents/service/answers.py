"""How requests are taken and answered: JSON in and out, and who is let in at all."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from durable_streams.agents.plain import encoded
from durable_streams.agents.service.access import ANY
from durable_streams.agents.service.problems import (
    BadBodyError,
    ForeignOriginError,
    NotJsonError,
    UnknownHostError,
    of_router,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from durable_streams.agents.service.access import Access
    from durable_streams.agents.telling import Teller

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACCESS: Final[web.AppKey[Access]] = web.AppKey("access")
TELLER: Final[web.AppKey[Teller]] = web.AppKey("teller")
JSON: Final = "application/json"
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
EXPOSED: Final = (
    "Location, Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, X-Vercel-AI-UI-Message-Stream"
)
PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization, Content-Type, Idempotency-Key, User-Agent",
    "Access-Control-Max-Age": "86400",
}


def json_answer(
    body: Mapping[str, object], *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return JSON that no cache keeps."""
    return web.Response(
        body=encoded(body),
        status=status,
        content_type=JSON,
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
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in whom ``Access`` lets in, and turn what goes wrong into answers."""
    try:
        _check(request)
        if request.method == "OPTIONS":
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=PREFLIGHT)
        return await handler(request)
    except web.HTTPException as refused:
        if refused.status < HTTPStatus.BAD_REQUEST:
            raise
        return of_router(refused)
    except ConnectionResetError:
        raise  # nobody is there to be told
    except Exception as error:  # noqa: BLE001 whatever it is, its text is not for strangers
        return refusal(error, request.app[TELLER], request.path)


async def add_cors(request: web.Request, response: web.StreamResponse) -> None:
    """Let the pages of allowed origins read an answer, whatever it is."""
    access, origin = request.app[ACCESS], request.headers.get("Origin")
    if not access.origins:
        return
    if ANY in access.origins:
        response.headers["Access-Control-Allow-Origin"] = ANY
    else:
        response.headers.add("Vary", "Origin")
        if origin is None or not access.allows(origin):
            return
        response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED


def _check(request: web.Request) -> None:
    access = request.app[ACCESS]
    if not access.answers_to(request.headers):
        raise UnknownHostError
    is_asking = request.method == "OPTIONS"
    if (request.method not in READS or is_asking) and access.is_foreign(request.headers):
        raise ForeignOriginError
    if request.method not in READS and request.body_exists and request.content_type != JSON:
        raise NotJsonError(request.headers.get("Content-Type", "one without a type"))

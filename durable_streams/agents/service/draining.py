"""What a process that is about to end says of itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from durable_streams.agents.service.answers import json_answer
from durable_streams.agents.service.chat import ADAPTER

if TYPE_CHECKING:
    from aiohttp import web

RETRY_AFTER_S: Final = 1
"""When to try again: a balancer has found another process by then, or this one's successor runs."""


async def get_health(request: web.Request) -> web.StreamResponse:
    """``GET /health``: 200 while prompts are taken, 503 from when the process is told to end."""
    if request.app[ADAPTER].draining:
        return json_answer({"status": "draining"}, status=HTTPStatus.SERVICE_UNAVAILABLE)
    return json_answer({"status": "ok"})


async def say_when(request: web.Request, response: web.StreamResponse) -> None:
    """Add when to try again to whatever is refused meanwhile."""
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE and request.app[ADAPTER].draining:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)

"""Session endpoints: what is in a session, who is there, and rows of users and tools; TanStack AI's way of posting."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from durable_streams.agents.service.answers import json_answer, json_body
from durable_streams.agents.service.chat import ADAPTER, prompt_of, stream_url
from durable_streams.agents.service.not_begun import to_stream
from durable_streams.agents.sessions.catalogue import SESSIONS_PATH, latest
from durable_streams.agents.sessions.editing import page
from durable_streams.agents.sessions.events import InvalidEventError, add_events, be_present
from durable_streams.agents.sessions.places import agui_path, checked_id, session_path
from durable_streams.agents.sessions.prompts import Prompt

if TYPE_CHECKING:
    from durable_streams.agents.sessions.adapter import Adapter
    from durable_streams.agents.sessions.session import Session

SESSIONS_SHOWN: Final = 200
MESSAGES_MAX: Final = 1000
"""Largest ``limit`` of messages."""


async def get_sessions(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions``: the latest sessions, newest first."""
    adapter = request.app[ADAPTER]
    sessions = await latest(adapter.places, SESSIONS_SHOWN)
    return json_answer({"streamUrl": stream_url(adapter, SESSIONS_PATH), "sessions": sessions})


async def get_session(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}``: messages, attempts and presence at this moment; a session not begun is empty."""
    adapter, session = _session(request)
    await adapter.active(session.session_id)
    state = session.state
    return json_answer(
        {
            "id": session.session_id,
            "title": state.about.get("title"),
            "streamUrl": stream_url(adapter, session_path(session.session_id)),
            "messages": list(state.messages.values()),
            "generations": [
                {**asdict(one), "streamUrl": stream_url(adapter, one.stream)} for one in state.attempts.values()
            ],
            "presence": list(state.presence.values()),
        }
    )


async def get_messages(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}/messages?before=&limit=``: stored messages, in the order of the conversation.

    ``before`` in the answer asks for the messages before them.
    """
    _, session = _session(request)
    before, limit = request.query.get("before"), _limit(request.query.get("limit"))
    shown = page(await session.refresh(), before=before, limit=limit)
    return json_answer({"messages": shown.messages, "before": shown.before})


async def get_usage(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}/usage``: tokens of the session's runs, as far as known, and those of each person."""
    _, session = _session(request)
    return json_answer((await session.refresh()).usage())


async def get_presence(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}/presence``: who is there now."""
    adapter, session = _session(request)
    rows = (await session.refresh()).presence.values()
    return json_answer({"presence": [one for one in rows if one.get("expires_at", 0) >= adapter.now_ms()]})


async def get_session_stream(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}/stream``, ``/events``: to the session's rows, with the query as it came."""
    _, session = _session(request)
    return await to_stream(request, session_path(session.session_id))


async def get_agui_stream(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}/agui``: to the session's AG-UI events, with the query as it came."""
    _, session = _session(request)
    return await to_stream(request, agui_path(session.session_id))


async def post_messages(request: web.Request) -> web.StreamResponse:
    """``POST /api/sessions/{id}/messages``: a prompt whose answer is also told in the AG-UI stream."""
    adapter, session = _session(request)
    body = await json_body(request)
    extra = body.get("data") if isinstance(body.get("data"), dict) else {}
    prompt = prompt_of({**(extra or {}), **body})
    asked = await adapter.ask(
        session.session_id,
        Prompt(prompt.messages, by=prompt.by, txid=prompt.txid, agui=True, request=prompt.request, again=True),
    )
    said = {"generationId": asked.attempt.id, "streamUrl": stream_url(adapter, asked.attempt.stream)}
    return json_answer(said, status=HTTPStatus.ACCEPTED)


async def post_events(request: web.Request) -> web.StreamResponse:
    """``POST /api/sessions/{id}/events``: ``{"events": […]}``, or one event. ``Idempotency-Key`` adds them once."""
    _, session = _session(request)
    body = await json_body(request)
    events = body.get("events", [body])
    if not isinstance(events, list):
        raise InvalidEventError("events is a list")
    await add_events(session, events, request.headers.get("Idempotency-Key"))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def post_presence(request: web.Request) -> web.StreamResponse:
    """``POST /api/sessions/{id}/presence``: ``{"id", "name"?, "typing"?, "leave"?}``; repeat before it expires."""
    adapter, session = _session(request)
    body: dict[str, Any] = await json_body(request)
    key = body.get("id")
    if not isinstance(key, str) or not key:
        raise InvalidEventError("presence has an id, a non-empty string")
    await be_present(session, key, body, now_ms=adapter.now_ms(), lasts_ms=adapter.settings.presence_ms)
    return json_answer({"lasts_ms": adapter.settings.presence_ms})


def _limit(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and 0 < int(given) <= MESSAGES_MAX):
        raise InvalidEventError(f"limit is a whole number from 1 to {MESSAGES_MAX}")
    return int(given)


def _session(request: web.Request) -> tuple[Adapter, Session]:
    adapter = request.app[ADAPTER]
    return adapter, adapter.session(checked_id(request.match_info["session_id"]))

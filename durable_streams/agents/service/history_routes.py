"""Endpoints for what people do to sessions and messages: rename, delete, choose a version, fork.

What changes messages is refused while an answer is being written: its model has been shown them.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from durable_streams.agents.events import Ending
from durable_streams.agents.service.answers import json_answer, json_body
from durable_streams.agents.service.chat import ADAPTER, stream_url
from durable_streams.agents.sessions import catalogue, editing
from durable_streams.agents.sessions.adapter import BusyError
from durable_streams.agents.sessions.bulk import keep, kept_path, parted, restored
from durable_streams.agents.sessions.editing import InvalidEditError, SessionExistsError, UnknownSessionError
from durable_streams.agents.sessions.places import attempt_path, checked_id, session_path
from durable_streams.agents.sessions.prompts import text_of_message
from durable_streams.agents.sessions.rows import SESSION, message_row, row
from durable_streams.client import ProducerTriple, StreamNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.sessions.adapter import Adapter
    from durable_streams.agents.sessions.session import Session

TITLE_MAX_CHARS: Final = 200


async def patch_session(request: web.Request) -> web.StreamResponse:
    """``PATCH /api/sessions/{id}`` ``{"title"}``: rename it."""
    adapter, session = await _begun(request)
    title = _title((await json_body(request)).get("title"))
    if title is None:
        raise InvalidEditError(f"title is a text of 1 to {TITLE_MAX_CHARS} characters")
    about = {**_about(adapter, session), "title": title}
    await session.append(_fresh(session), [row(SESSION, session.session_id, about, operation="update")])
    await catalogue.change(adapter.places, about)
    return json_answer(about)


async def delete_session(request: web.Request) -> web.StreamResponse:
    """``DELETE /api/sessions/{id}``: stop what is being written, and delete every stream of the session."""
    adapter, session = await _begun(request)
    ending = Ending("aborted", "deleted", at_ms=adapter.now_ms())
    while session.state.active():
        await adapter.stop(session.session_id, ending)
        await session.refresh()
    # Off the list first: what is left if this is cut short can be deleted again by its id.
    await catalogue.remove(adapter.places, session.session_id)
    for path in await adapter.places.below(session_path(session.session_id)):
        try:
            await adapter.places.stream(path).delete()
        except StreamNotFoundError:
            continue
    adapter.forget(session.session_id)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def delete_message(request: web.Request) -> web.StreamResponse:
    """``DELETE /api/sessions/{id}/messages/{message}``: take it out of the conversation."""
    _, session = await _begun(request, still=True)
    await session.append(_fresh(session), editing.without(session.state, request.match_info["message_id"]))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def get_versions(request: web.Request) -> web.StreamResponse:
    """``GET /api/sessions/{id}/messages/{message}/versions``: all answers to its prompt, oldest first."""
    _, session = await _begun(request)
    found = editing.versions(session.state, request.match_info["message_id"])
    return json_answer({"versions": [{"message": one.message, "selected": one.selected} for one in found]})


async def post_select(request: web.Request) -> web.StreamResponse:
    """``POST /api/sessions/{id}/messages/{message}/select``: show this version in the conversation."""
    _, session = await _begun(request, still=True)
    rows = editing.selecting(session.state, request.match_info["message_id"])
    if rows:
        await session.append(_fresh(session), rows)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def post_fork(request: web.Request) -> web.StreamResponse:
    """``POST /api/sessions/{id}/fork`` ``{"messageId", "id"?, "title"?}``: a new session with the messages up to it.

    Repeating it with the same ``id`` finds the session that it has made.
    """
    adapter, session = await _begun(request)
    body = await json_body(request)
    message_id = body.get("messageId")
    if not isinstance(message_id, str):
        raise InvalidEditError("messageId is the id of the message to fork at")
    fork = adapter.session(checked_id(body.get("id") or uuid.uuid4().hex))
    about = _forked(adapter, session, message_id) | {"id": fork.session_id}
    about["title"] = _title(body.get("title")) or about["title"]
    taken = editing.up_to(session.state, message_id)
    await fork.ensure()
    state = await fork.refresh()
    created = not (state.messages or state.attempts)
    if not created and state.about.get("forked_from") != about["forked_from"]:
        raise SessionExistsError
    if created:
        moving = _moved(adapter, taken, source_id=session.session_id, fork_id=fork.session_id)
        rows = [row(SESSION, fork.session_id, about)]
        rows += [message_row(one) for one in await moving]
        await fork.append(ProducerTriple(f"fork:{session.session_id}:{message_id}", 0, 0), rows)
    await catalogue.announce(adapter.places, about)
    url = stream_url(adapter, session_path(fork.session_id))
    status = HTTPStatus.CREATED if created else HTTPStatus.OK
    return json_answer({"id": fork.session_id, "streamUrl": url}, status=status)


async def _moved(
    adapter: Adapter, messages: Sequence[dict[str, Any]], *, source_id: str, fork_id: str
) -> list[dict[str, Any]]:
    """Return messages for another session's rows: what is kept beside their own comes along, and is kept beside it."""
    moved = []
    for number, message in enumerate(await restored(adapter.places, source_id, messages)):
        path = kept_path(attempt_path(fork_id, f"before-{number}"))
        small, items = parted(message, path)
        if items:
            await keep(adapter.places, path, items)
        moved.append(small)
    return moved


async def _begun(request: web.Request, *, still: bool = False) -> tuple[Adapter, Session]:
    """Return a session that has something in it.

    Args:
        request: names it.
        still: only if no answer is being written.

    Raises:
        UnknownSessionError: it has nothing in it.
        BusyError: an answer is being written.
    """
    adapter = request.app[ADAPTER]
    session = adapter.session(checked_id(request.match_info["session_id"]))
    state = await session.refresh()
    if not (state.messages or state.attempts):
        raise UnknownSessionError
    if still and (active := await adapter.active(session.session_id)) is not None:
        raise BusyError(active)
    return adapter, session


def _about(adapter: Adapter, session: Session) -> dict[str, Any]:
    """Return what the list says of a session."""
    state = session.state
    messages = editing.in_order(state)
    first = next((text_of_message(one) for one in messages if one["role"] == "user"), "")
    begun = min((one.started_at for one in state.attempts.values()), default=adapter.now_ms())
    return {"id": session.session_id, "title": first[:TITLE_MAX_CHARS], "created_at": begun, **state.about}


def _forked(adapter: Adapter, session: Session, message_id: str) -> dict[str, Any]:
    source = {"session": session.session_id, "message": message_id}
    return {"title": _about(adapter, session)["title"], "created_at": adapter.now_ms(), "forked_from": source}


def _title(given: object) -> str | None:
    return given if isinstance(given, str) and 0 < len(given) <= TITLE_MAX_CHARS else None


def _fresh(session: Session) -> ProducerTriple:
    return ProducerTriple(f"edit:{session.fresh_id()}", 0, 0)

"""Answers to what a run waits for, from any device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.answers import InvalidAnswerError
from durable_streams.agents.codecs.pending import told_pending
from durable_streams.agents.service.answers import json_answer, json_body
from durable_streams.agents.service.chat import ADAPTER, stream_url, text_in
from durable_streams.agents.sessions.places import checked_id

if TYPE_CHECKING:
    from aiohttp import web

    from durable_streams.agents.sessions.adapter import Adapter
    from durable_streams.agents.sessions.answering import Answered


async def post_answers(request: web.Request) -> web.StreamResponse:
    """``POST /api/sessions/{id}/answers``: one answer, or several under ``answers``.

    Each is ``{"toolCallId", "output" | "errorText" | "approved", "reason"?, "by"?}``; ``generationId`` beside it is of
    the one that waits. 409 if somebody has answered otherwise before, or nothing waits.
    """
    adapter = request.app[ADAPTER]
    body = await json_body(request)
    given = body.get("answers", [body])
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise InvalidAnswerError("answers is a list of objects")
    by = text_in(body.get("by"))
    signed = [{"by": by, **one} for one in given]
    session_id = checked_id(request.match_info["session_id"])
    answered = await adapter.answer(session_id, signed, text_in(body.get("generationId")))
    return json_answer(_said(adapter, answered))


def _said(adapter: Adapter, answered: Answered) -> dict[str, object]:
    said: dict[str, Any] = {
        "generationId": answered.attempt.id,
        "answers": [one.told() for one in answered.decided.values()],
        "waiting": told_pending(answered.left),
    }
    if answered.follower is not None:
        url = stream_url(adapter, answered.follower.stream)
        said["continuation"] = {"generationId": answered.follower.id, "streamUrl": url}
    return said

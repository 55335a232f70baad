"""The AI SDK's endpoints: post a prompt, find the answer being written, stop it.

With ``Accept: text/event-stream``, or below ``/api/sse``, the answer itself comes back as the AI SDK's own plain
stream, for clients that know nothing of durable streams. A client that goes away stops nothing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.continued import continued, replayed
from durable_streams.agents.events import Ending
from durable_streams.agents.plain import encoded
from durable_streams.agents.service.answers import TELLER, json_answer, json_body
from durable_streams.agents.service.event_streams import EVENT_STREAM, as_events
from durable_streams.agents.sessions.places import checked_id
from durable_streams.agents.sessions.prompts import InvalidPromptError, Prompt, checked_message
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from durable_streams.agents.sessions.adapter import Adapter
    from durable_streams.agents.sessions.rows import Attempt

ADAPTER: Final[web.AppKey[Adapter]] = web.AppKey("adapter")
NAME_MAX_CHARS: Final = 1_000
"""Of names and reasons, which are stored in rows; what is beyond is cut off."""
_KNOWN: Final = frozenset({"id", "messages", "trigger", "messageId", "by", "txid"})


def stream_url(adapter: Adapter, path: str) -> str:
    """Return a stream's address as clients reach it."""
    settings = adapter.settings
    return f"{(settings.public_streams_url or settings.streams_url).rstrip('/')}/{path}"


async def post_prompt(request: web.Request) -> web.StreamResponse:
    """``POST /api/chat``: 201 with the new answer's stream, 200 with that of the same prompt posted before."""
    adapter = request.app[ADAPTER]
    body = await json_body(request)
    session_id = checked_id(body.get("id"))
    asked = await adapter.ask(session_id, prompt_of(body))
    if _wants_events(request):
        return await _as_events(request, asked.attempt)
    status = HTTPStatus.CREATED if asked.created else HTTPStatus.OK
    return _stream_answer(adapter, asked.attempt, status)


async def get_stream(request: web.Request) -> web.StreamResponse:
    """``GET /api/chat/{id}/stream``: the answer being written, or 204."""
    adapter = request.app[ADAPTER]
    attempt = await adapter.active(checked_id(request.match_info["session_id"]))
    if attempt is None:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    if _wants_events(request):
        return await _as_events(request, attempt, whole=True)
    return _stream_answer(adapter, attempt, HTTPStatus.OK)


async def post_stop(request: web.Request) -> web.StreamResponse:
    """``POST /api/chat/{id}/stop``: stop what is being written, for everybody; 202 if that is not recorded yet."""
    adapter = request.app[ADAPTER]
    body = await json_body(request)
    ending = Ending("aborted", text_in(body.get("reason")), text_in(body.get("by")), adapter.now_ms())
    gid = text_in(body.get("generationId") or body.get("activeStreamId"))
    if gid is not None:
        gid = gid.rpartition("/")[2]
    stopped = await adapter.stop(checked_id(request.match_info["session_id"]), ending, gid)
    said: dict[str, object] = {"stopped": stopped.stopped}
    if not stopped.recorded:
        said["recorded"] = False
    if stopped.why is not None:
        said["why"] = stopped.why
    if stopped.attempt is not None:
        said |= {
            "generationId": stopped.attempt.id,
            "by": stopped.attempt.stopped_by,
            "reason": stopped.attempt.reason,
        }
    return json_answer(said, status=HTTPStatus.OK if stopped.recorded else HTTPStatus.ACCEPTED)


def prompt_of(body: dict[str, Any]) -> Prompt:
    """Return the prompt in an AI SDK body.

    Raises:
        InvalidPromptError: no messages, or an unknown trigger.
    """
    messages = body.get("messages", [body["message"]] if "message" in body else None)
    if not isinstance(messages, list):
        raise InvalidPromptError("messages is a list")
    trigger = body.get("trigger", "submit-message")
    if trigger not in {"submit-message", "regenerate-message"}:
        raise InvalidPromptError(f"unknown trigger {trigger!r}")
    return Prompt(
        messages=[checked_message(message) for message in messages],
        trigger=trigger,
        message_id=text_in(body.get("messageId")),
        by=text_in(body.get("by")),
        txid=text_in(body.get("txid")),
        request={name: value for name, value in body.items() if name not in _KNOWN},
    )


def text_in(given: object) -> str | None:
    """Return a text of a body, cut to what rows hold; ``None`` for what is none, or empty."""
    return given[:NAME_MAX_CHARS] if isinstance(given, str) and given else None


def _wants_events(request: web.Request) -> bool:
    return request.path.startswith("/api/sse/") or EVENT_STREAM in request.headers.get("Accept", "")


def _stream_answer(adapter: Adapter, attempt: Attempt, status: HTTPStatus) -> web.Response:
    url = stream_url(adapter, attempt.stream)
    said = {"streamUrl": url, "generationId": attempt.id, "messageId": attempt.message_id}
    return json_answer(said, status=status, headers={"Location": url})


async def _as_events(request: web.Request, attempt: Attempt, *, whole: bool = False) -> web.StreamResponse:
    """Answer with the events of a stream; ``whole``: with all of a message that goes on, for who has nothing of it."""
    chunks = _chunks(request, attempt, whole=whole)
    return await as_events(request, chunks, {"x-vercel-ai-ui-message-stream": "v1"})


async def _chunks(request: web.Request, attempt: Attempt, *, whole: bool) -> AsyncGenerator[bytes, None]:
    try:
        async with request.app[ADAPTER].places.stream(attempt.stream).stream(live=True) as chunks:
            async for chunk in chunks.iter_messages():
                for told in _with_earlier(chunk) if whole else [chunk]:
                    yield told
    except (DurableStreamError, FetchError) as error:
        # Headers are out, so it is said in the stream; without the end mark nobody takes it for the answer's own.
        yield encoded({"type": names.ERROR, "errorText": request.app[TELLER].of_request(error, request.path)})
        return
    yield b"[DONE]"


def _with_earlier(chunk: bytes) -> list[bytes]:
    """Return a chunk, or what it says of the first part of the message as chunks of its own."""
    if names.CONTINUES.encode() not in chunk:
        return [chunk]
    earlier = continued([orjson.loads(chunk)])
    return [chunk] if earlier is None else [encoded(one) for one in replayed(earlier.parts)]

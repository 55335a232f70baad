"""AG-UI over HTTP: a run's input in, its events out, as ``HttpAgent`` and all that is built on it expect.

The run is as durable as any other: it goes on when the client goes, and posting the same ``runId`` again tells it from
its beginning, whether it still runs or not.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import agui_names as names
from durable_streams.agents.codecs.agui_reading import UnreadableMessageError, ui_messages
from durable_streams.agents.codecs.base import Identity
from durable_streams.agents.plain import encoded
from durable_streams.agents.service.answers import TELLER, json_body
from durable_streams.agents.service.chat import ADAPTER
from durable_streams.agents.service.event_streams import as_events
from durable_streams.agents.sessions.places import checked_id
from durable_streams.agents.sessions.projection import told
from durable_streams.agents.sessions.prompts import InvalidPromptError, Prompt, checked_message
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp import web

    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.sessions.rows import Attempt
    from durable_streams.agents.sessions.session import Session

RUN_ID_MAX_CHARS: Final = 256
_FOR_THE_SOURCE: Final = ("tools", "context", "state", "forwardedProps")


async def post_run(request: web.Request) -> web.StreamResponse:
    """``POST /api/agui``: a ``RunAgentInput``; its ``threadId`` is the session's id."""
    adapter = request.app[ADAPTER]
    body = await json_body(request)
    session = adapter.session(checked_id(body.get("threadId")))
    asked = await adapter.ask(session.session_id, await _prompt(session, body))
    identity = Identity(asked.attempt.message_id, asked.attempt.run_id or asked.attempt.id, session.session_id)
    return await as_events(
        request, _events(request, asked.attempt, identity=identity, declares_version="protocolVersion" in body)
    )


async def _prompt(session: Session, body: dict[str, Any]) -> Prompt:
    """Return what is asked for.

    Raises:
        InvalidPromptError: nothing that could be answered.
    """
    run_id, given = body.get("runId"), body.get("messages")
    if not isinstance(run_id, str) or not 0 < len(run_id) <= RUN_ID_MAX_CHARS:
        raise InvalidPromptError(f"runId is a text of 1 to {RUN_ID_MAX_CHARS} characters")
    if body.get("resume"):
        raise InvalidPromptError("no run of this thread waits for an answer, so there is none to resume")
    if not isinstance(given, list) or not given:
        raise InvalidPromptError("messages is a list with at least one message")
    try:
        messages = [checked_message(one) for one in ui_messages(given)]
    except UnreadableMessageError as fault:
        raise InvalidPromptError(str(fault)) from fault
    if not messages or messages[-1]["role"] != "user" or given[-1].get("role") == "tool":
        raise InvalidPromptError("the last message is a user's; the results of a client's own tools are not taken")
    known = (await session.refresh()).messages
    asked = messages[-1]["id"]
    # A message that is known, under a new run's id, is to be answered anew; under a known one it is the same run.
    again = asked in known
    return Prompt(
        messages,
        trigger="regenerate-message" if again else "submit-message",
        message_id=asked if again else None,
        run_id=run_id,
        request={name: body[name] for name in _FOR_THE_SOURCE if body.get(name)},
    )


async def _events(
    request: web.Request, attempt: Attempt, *, identity: Identity, declares_version: bool
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(told(request.app[ADAPTER].places, attempt, identity)) as events:
            async for chunks in events:
                for chunk in chunks:
                    yield encoded(_told_to(chunk, declares_version=declares_version))
    except (DurableStreamError, FetchError) as error:
        detail = request.app[TELLER].of_request(error, request.path)
        yield encoded({"type": names.RUN_ERROR, "message": detail, "code": "unavailable"})


def _told_to(chunk: Chunk, *, declares_version: bool) -> Chunk:
    """Return an event as a client of AG-UI takes it; a session's own stream says more.

    Clients that declare no version of the protocol fail at the outcome of a stop.
    """
    left_out: frozenset[str] = frozenset()
    if chunk["type"] == names.RUN_ERROR:
        left_out = frozenset({"threadId", "runId"})
    elif not declares_version and chunk.get("outcome") == {"type": "cancelled"}:
        left_out = frozenset({"outcome"})
    return {name: value for name, value in chunk.items() if name not in left_out} if left_out else chunk

"""Tells an attempt in its session's AG-UI stream, for clients that read one stream per session.

Theory. Chunk n of an attempt always gives the same AG-UI events, and the n-th append that has any carries
``Producer-Id: gen:{gid}``, seq n. So any number of processes may tell the same attempt, at the same time or after a
crash, and every event is there once, in order.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from durable_streams.agents.codecs import AguiEvents, Identity
from durable_streams.agents.codecs import agui_names as names
from durable_streams.agents.codecs.reading import event_of
from durable_streams.agents.codecs.ui_chunks import ending_of
from durable_streams.agents.events import Ending
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.places import JSON, agui_path
from durable_streams.agents.sessions.prompts import rewrites, text_of_message
from durable_streams.client import ProducerTriple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.sessions.places import Places
    from durable_streams.agents.sessions.rows import Attempt


async def project(places: Places, session_id: str, attempt: Attempt, *, messages: Sequence[dict[str, Any]]) -> None:
    """Follow an attempt to its end and tell it.

    Args:
        places: where the streams are.
        session_id: the session.
        attempt: which one.
        messages: the conversation up to the prompt it answers. The prompt is told before it; all of it if messages that
            were told have been taken away.
    """
    target = places.stream(agui_path(session_id))
    await target.create_stream(content_type=JSON)
    if messages:
        before = _snapshot(messages) if rewrites(attempt.prompt) else _of_user(messages[-1])
        said = [encoded(chunk) for chunk in before]
        await target.append_as(ProducerTriple(f"prompt:{attempt.id}", 0, 0), said)
    seq = 0
    # What goes on adds messages: clients take one with a known id for that one.
    suffix = "" if attempt.continues is None else f"-{attempt.id}"
    identity = Identity(f"{attempt.message_id}{suffix}", attempt.id, session_id)
    async with aclosing(told(places, attempt, identity)) as events:
        async for chunks in events:
            if chunks:
                triple = ProducerTriple(f"gen:{attempt.id}", 0, seq)
                await target.append_as(triple, [encoded(chunk) for chunk in chunks])
                seq += 1


async def told(places: Places, attempt: Attempt, identity: Identity) -> AsyncGenerator[list[Chunk], None]:
    """Yield the AG-UI events of each of an attempt's chunks, perhaps none, while it is written, to its end.

    Raises:
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    codec = AguiEvents()
    last: list[dict[str, Any]] = []
    yield codec.begin(identity)
    async with places.stream(attempt.stream).stream(live=True) as response:
        async for chunk in response.iter_json():
            if not isinstance(chunk, dict):
                continue
            last = [*last[-1:], chunk]
            event = event_of(chunk)
            yield [] if event is None else codec.feed(event)
    yield codec.end(ending_of(last) or Ending("lost", reason="lost"))


def _of_user(message: dict[str, Any]) -> list[Chunk]:
    named: Chunk = {"messageId": message["id"]}
    return [
        {"type": names.TEXT_MESSAGE_START, **named, "role": "user"},
        {"type": names.TEXT_MESSAGE_CONTENT, **named, "delta": text_of_message(message)},
        {"type": names.TEXT_MESSAGE_END, **named},
    ]


def _snapshot(messages: Sequence[dict[str, Any]]) -> list[Chunk]:
    """Return the texts of a conversation as the event that replaces what clients have of it."""
    shown = [
        {"id": message["id"], "role": message["role"], "parts": [{"type": "text", "content": text_of_message(message)}]}
        for message in messages
    ]
    return [{"type": names.MESSAGES_SNAPSHOT, "messages": shown}]

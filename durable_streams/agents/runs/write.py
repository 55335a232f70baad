"""The library's front door: ``await write(source, to=stream)``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.errors import UnusableError
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.asked import asked
from durable_streams.agents.runs.conduct import LAST_WORD_S, Conductor
from durable_streams.agents.runs.run import Run
from durable_streams.agents.runs.target import create, target
from durable_streams.agents.sources.base import refusal_of
from durable_streams.agents.sources.given import as_source, refuse_awaited
from durable_streams.agents.sources.iterated import released
from durable_streams.agents.sources.loop import Agent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from durable_streams.agents.codecs import Codec
    from durable_streams.agents.runs.writer import Pace
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.sources.given import Given
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.client import AsyncDurableStream


_CANCELLED: Final = Ending("aborted", reason="cancelled")


@dataclass(frozen=True, slots=True)
class Written:
    """A finished run: how it ended, and the closed stream's tail."""

    ending: Ending
    final_offset: str


async def write(
    source: Given,
    *,
    to: str | AsyncDurableStream,
    codec: Codec | None = None,
    identity: Identity | None = None,
    messages: str | Sequence[Mapping[str, Any]] = (),
    pace: Pace | None = None,
) -> Written:
    """Write one model answer to a stream of its own and close it with how it ended.

    The stream is created if it is missing. Every ending is recorded in it: by itself, by an error of the source (which
    is raised again), by cancelling this call (same). What cannot be used is refused before the stream is touched.

    Args:
        source: a source, a model, text, a list or a generator of text or events, or a model's stream as OpenAI's and
            Anthropic's packages return it; also what returns one of them, if awaited or called.
        to: the stream's URL, or a handle, which is left open.
        codec: ``UiChunks()`` by default.
        identity: ids of message, run and session; made up by default.
        messages: the history, if the source asks for it: AI SDK ``UIMessage`` objects, or ``{"role", "content"}`` as
            OpenAI and Anthropic have it; a text is the user's only message.
        pace: how deltas are gathered.

    Raises:
        UnusableError: what was handed in cannot be used; the sentence says what to change.
        AlreadyWrittenError: the stream holds an earlier attempt.
        RunEndedError: somebody else has closed the stream.
        DurableStreamError, FetchError: the server refused, or could not be reached.
        Exception: the source's own.
    """
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(released, source)
        stream, history, codec = target(to), asked(messages), _usable(codec)
        if stream is not to:
            exits.push_async_callback(stream.aclose)
        ready = as_source(await _settled(source, exits))
        _refuse_unanswerable(ready, history)
        conductor = Conductor(stream, codec, pace=pace)
        identity = identity or _made_up()
        await _begin(conductor, create(stream, codec), identity)
        conductor.start(ready, _ready(Run(identity, history, conductor.writer)))
        try:
            return await _concluded(conductor)
        except BaseException:
            await conductor.release()
            raise


def _usable(codec: Codec | None) -> Codec:
    if isinstance(codec, type):
        raise UnusableError(
            f"the class {codec.__name__} is no codec: make one for each answer, codec={codec.__name__}()"
        )
    return codec or UiChunks()


def _refuse_unanswerable(source: Source, history: Sequence[UIMessage]) -> None:
    users = [message for message in history if message["role"] == "user"]
    why = refusal_of(source, users[-1], {}) if users else None
    if isinstance(source, Agent) and all(message["role"] == "system" for message in history):
        why = "the model is asked nothing: hand in messages=…"
    if why is not None:
        raise UnusableError(why)


async def _settled(source: Any, exits: contextlib.AsyncExitStack) -> Any:  # noqa: ANN401 whatever people hand in
    if not inspect.isawaitable(source):
        return source
    refuse_awaited(source)
    given = await source
    exits.push_async_callback(released, given)
    return given


async def _begin(conductor: Conductor, creation: Coroutine[Any, Any, None], identity: Identity) -> None:
    creating = asyncio.create_task(creation)
    try:
        await asyncio.shield(creating)
    except asyncio.CancelledError:
        # The stream is there, or will be: an open one without an ending is waited for for ever.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LAST_WORD_S):
                await creating
            conductor.writer.begin(identity)
            await conductor.last_word(_CANCELLED)
        raise
    conductor.writer.begin(identity)


async def _concluded(conductor: Conductor) -> Written:
    writer = conductor.writer
    try:
        ended = await conductor.ended()
    except asyncio.CancelledError:
        conductor.stop(_CANCELLED)
        await conductor.last_word(_CANCELLED)
        raise
    if ended.error is not None:
        if ended.error is not writer.failure:
            await conductor.last_word(ended.ending)
        raise ended.error
    result = await writer.end(ended.ending)
    return Written(ended.ending, result.offset)


def _ready(run: Run) -> Callable[[], Awaitable[Run]]:
    async def prepare() -> Run:
        return run

    return prepare


def _made_up() -> Identity:
    run_id = uuid.uuid4().hex
    return Identity(f"msg-{run_id}", run_id, run_id)

"""The library's front door: ``await write(source, to=stream)``."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.conduct import Conductor
from durable_streams.agents.runs.run import Run
from durable_streams.agents.sources.iterated import as_source
from durable_streams.client import AsyncDurableStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from durable_streams.agents.codecs import Codec
    from durable_streams.agents.runs.writer import Pace
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.sources.iterated import Iterated
    from durable_streams.agents.wires.base import UIMessage


@dataclass(frozen=True, slots=True)
class Written:
    """A finished run: how it ended, and the closed stream's tail."""

    ending: Ending
    final_offset: str


async def write(
    source: Source | Iterated,
    *,
    to: str | AsyncDurableStream,
    codec: Codec | None = None,
    identity: Identity | None = None,
    messages: Sequence[UIMessage] = (),
    pace: Pace | None = None,
) -> Written:
    """Write one model answer to a stream of its own and close it with how it ended.

    The stream is created if it is missing. Every ending is recorded in it: by itself, by an error of the source (which
    is raised again), by cancelling this call (same).

    Args:
        source: a source, or any asynchronous iterable of text or events.
        to: the stream's URL, or a handle, which is left open.
        codec: ``UiChunks()`` by default.
        identity: ids of message, run and session; made up by default.
        messages: the history, if the source asks for it.
        pace: how deltas are gathered.

    Raises:
        AlreadyWrittenError: the stream holds an earlier attempt.
        RunEndedError: somebody else has closed the stream.
        DurableStreamError, FetchError: the server refused, or could not be reached.
        Exception: the source's own.
    """
    codec = codec or UiChunks()
    async with contextlib.AsyncExitStack() as exits:
        stream = to if isinstance(to, AsyncDurableStream) else AsyncDurableStream(to)
        if stream is not to:
            exits.push_async_callback(stream.aclose)
        await stream.create_stream(content_type=codec.content_type)
        conductor = Conductor(stream, codec, pace=pace)
        identity = identity or _made_up()
        conductor.writer.begin(identity)
        run = Run(identity, messages, conductor.writer)
        conductor.start(as_source(source), _ready(run))
        try:
            return await _concluded(conductor)
        except BaseException:
            await conductor.release()
            raise


async def _concluded(conductor: Conductor) -> Written:
    writer = conductor.writer
    try:
        ended = await conductor.ended()
    except asyncio.CancelledError:
        ending = Ending("aborted", reason="cancelled")
        conductor.stop(ending)
        await conductor.last_word(ending)
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

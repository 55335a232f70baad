"""The library's front door: ``await write(source, to=stream)``."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.errors import RunEndedError
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.drive import drive
from durable_streams.agents.runs.run import Run
from durable_streams.agents.runs.scope import Scope
from durable_streams.agents.runs.writer import StreamWriter
from durable_streams.agents.sources.iterated import as_source
from durable_streams.client import AsyncDurableStream, DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.codecs import Codec
    from durable_streams.agents.runs.writer import Pace
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.sources.iterated import Iterated
    from durable_streams.agents.wires.base import UIMessage

LAST_WORD_S = 5.0
"""How long a cancelled ``write`` tries to say so in the stream."""


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
        writer = StreamWriter(stream, codec, pace=pace)
        identity = identity or _made_up()
        writer.begin(identity)
        # A task of its own: what ends writing can then cancel the source, wherever it waits, and nothing else.
        scope = Scope()
        run = Run(identity, messages, writer)
        driving = asyncio.create_task(drive(as_source(source), run, writer=writer, scope=scope))
        writer.on_failure = lambda _error: driving.cancel()
        try:
            ending = await driving
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(scope.end(driving)))
            task = asyncio.current_task()
            if writer.failure is not None and task is not None and not task.cancelling():
                raise writer.failure from None
            await _last_word(writer, Ending("aborted", reason="cancelled"))
            raise
        except Exception as error:
            await _last_word(writer, Ending("failed", reason=str(error) or type(error).__name__))
            raise
        result = await writer.end(ending)
        return Written(ending, result.offset)


async def _last_word(writer: StreamWriter, ending: Ending) -> None:
    """Record an ending; the exception on its way is the one to show, whatever comes of this."""
    with contextlib.suppress(TimeoutError, RunEndedError, DurableStreamError, FetchError):
        async with asyncio.timeout(LAST_WORD_S):
            await asyncio.shield(asyncio.ensure_future(writer.end(ending)))


def _made_up() -> Identity:
    run_id = uuid.uuid4().hex
    return Identity(f"msg-{run_id}", run_id, run_id)

"""Runs a source into a writer: the one task that, when cancelled, stops the model.

Invariant: however this ends, the source's generator has been closed, so its upstream is released.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from durable_streams.agents.events import Ending, Finished, Waiting

if TYPE_CHECKING:
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.runs.scope import Scope
    from durable_streams.agents.runs.writer import StreamWriter
    from durable_streams.agents.sources.base import Source


async def drive(source: Source, run: Run, *, writer: StreamWriter, scope: Scope) -> Ending:
    """Write all the source says, and return its ending, which is not written yet; the writer knows the tokens.

    Args:
        source: what to run.
        run: for whom.
        writer: where to.
        scope: cancels what this starts; see there why cancelling this task alone may not.

    Raises:
        RunEndedError: somebody else has ended the run.
        Exception: the source's own.
    """
    scope.enter()
    run.enter()
    ending = Ending("finished")
    async with aclosing(source.open(run)) as events:
        async for event in events:
            writer.put(event)
            if isinstance(event, Finished):
                ending = replace(ending, finish_reason=event.reason, finish_said=event.said)
            elif isinstance(event, Waiting):
                ending = replace(ending, waiting=event.pending)
            await writer.room()
    return ending

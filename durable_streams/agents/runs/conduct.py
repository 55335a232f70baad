"""Conducts one run, for the library and for the service: what starts, what cancels it, and which ending is its own.

The source runs in a task of its own, so that what ends the run can cancel the source wherever it waits, and nothing
else. Three things end a run before its source does: a stop, a writer that cannot write, and another process that has
ended it. Each cancels the source, and none waits until the source has let go.

Invariant: of all endings the first stop counts, then what ended writing, then another process's, then the source's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import RunEndedError, SourceCancelledError
from durable_streams.agents.events import Ending
from durable_streams.agents.runs.drive import drive
from durable_streams.agents.runs.scope import Scope
from durable_streams.agents.runs.writer import StreamWriter
from durable_streams.agents.telling import Teller
from durable_streams.client import DurableStreamError, FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams.agents.codecs.base import Codec
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.runs.writer import Pace
    from durable_streams.agents.sources.base import Source
    from durable_streams.client import AsyncDurableStream

LAST_WORD_S: Final = 5.0
"""How long ``last_word`` tries."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended; not written yet.

    Attributes:
        ending: what to write.
        error: what the source raised, or what ended writing; ``None``: it finished or was stopped.
        stopped: it was stopped, so the ending is not the source's.
    """

    ending: Ending
    error: Exception | None = None
    stopped: bool = False


class Conductor:
    """One run, from its start to the ending that is to be written.

    Args:
        stream: an existing stream of the codec's content type.
        codec: makes chunks of events.
        pace: how deltas are gathered.
        epoch: of the producer, see ``StreamWriter``.
        teller: says in the ending what went wrong.

    Attributes:
        writer: writes the run's stream.
    """

    def __init__(
        self,
        stream: AsyncDurableStream,
        codec: Codec,
        *,
        pace: Pace | None = None,
        epoch: int = 0,
        teller: Teller | None = None,
    ) -> None:
        self.writer = StreamWriter(stream, codec, pace=pace, epoch=epoch, on_failure=self._cancel)
        self._url = stream.url
        self._teller = teller or Teller()
        self._scope = Scope()
        self._stop: Ending | None = None
        self._over = False
        self._cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._driving: asyncio.Task[Ending] | None = None
        self._releasing: asyncio.Task[None] | None = None

    def start(self, source: Source, prepare: Callable[[], Awaitable[Run]]) -> None:
        """Run the source, as soon as ``prepare`` has told for whom. A run that was stopped before is cancelled."""
        self._driving = asyncio.create_task(self._drive(source, prepare))
        if self._cancelled.done():
            self._cancel()

    def stop(self, ending: Ending) -> bool:
        """Cancel the source; this is the run's ending. The first stop counts.

        Returns:
            Whether a stop is the run's ending, as far as this process has a say; ``False``: it had ended before.
        """
        if self._stop is None and not self._over:
            self._stop = ending
            self._cancel()
        return self._stop is not None

    def yield_to_other(self) -> None:
        """Cancel the source, because another process has ended the run."""
        self._cancel()

    async def ended(self) -> Ended:
        """Wait until the run is over, or was cancelled, and return how it ended.

        Raises:
            RunEndedError: somebody else has ended the run.
        """
        driving = self._started()
        either: list[asyncio.Future[Any]] = [driving, self._cancelled]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        self._over = True
        if self._stop is not None:
            return Ended(self._counted(self._stop), stopped=True)
        error = self.writer.failure or self._error_of(driving)
        if isinstance(error, RunEndedError):
            raise error
        if error is not None:
            return Ended(self._counted(Ending("failed", reason=self._teller.of_run(error))), error)
        return Ended(self._counted(driving.result()))

    async def last_word(self, ending: Ending) -> None:
        """Try to write an ending while an exception is on its way, which is the one to show whatever comes of this."""
        with contextlib.suppress(TimeoutError, RunEndedError, DurableStreamError, FetchError):
            async with asyncio.timeout(LAST_WORD_S):
                await asyncio.shield(asyncio.ensure_future(self.writer.end(self._counted(ending))))

    async def release(self) -> None:
        """Write nothing more, and return when the source and all it has started have ended or are given up."""
        self.writer.abandon()
        self._cancel()
        if self._releasing is not None:
            await asyncio.shield(self._releasing)

    async def _drive(self, source: Source, prepare: Callable[[], Awaitable[Run]]) -> Ending:
        self._scope.enter()
        return await drive(source, await prepare(), writer=self.writer, scope=self._scope)

    def _counted(self, ending: Ending) -> Ending:
        """Return the ending with the tokens that the run has taken: they are paid for however it ended."""
        return replace(ending, usage=self.writer.meter.usage)

    def _error_of(self, driving: asyncio.Task[Ending]) -> Exception | None:
        if not driving.done() or driving.cancelled():
            # Without a stop and without a failure: cancelled because of another's ending, or by nobody.
            return RunEndedError(self._url) if self._cancelled.done() else SourceCancelledError()
        error = driving.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return error

    def _started(self) -> asyncio.Task[Ending]:
        if self._driving is None:
            raise AssertionError("the run was not started")
        return self._driving

    def _cancel(self) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result(None)
        if self._driving is not None and self._releasing is None:
            self._releasing = asyncio.create_task(self._scope.end(self._driving))

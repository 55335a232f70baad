"""The interface a framework has to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage


class Source(Protocol):
    """Answers prompts. One object serves any number of runs, also at the same time."""

    def open(self, run: Run) -> AsyncGenerator[Event, None]:
        """Answer ``run.messages``. Closing the generator, or cancelling its task, releases the upstream.

        Raises:
            UpstreamError: the model's side refused, failed, or was cut short.
        """


class Model(Protocol):
    """One call of a model, without tools being run; ``sources.loop.Agent`` makes a source of it."""

    def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Answer once; a tool's call is reported, not run. Closing the generator releases the upstream.

        Args:
            messages: the history.
            tools: what the model may call.
            prefix: begins the names of all parts.

        Raises:
            UpstreamError: as ``Source.open``.
        """

"""The interface a framework has to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage


class Source(Protocol):
    """Answers prompts. One object serves any number of runs, also at the same time.

    One with a true attribute ``resumable`` is also asked to go on with an answer whose owner has died, from the end of
    a step: see ``Run.answer``. It says ``Custom(SAID, …, transient=True)`` when its model has said all of a step that
    another one follows, before it runs what the model has called; ``waits`` in that value are
    the calls that it will wait for, see ``codecs.pending``.

    One with a true attribute ``takes_answers`` goes on with a run that has waited: ``Run.answer`` is the message so far
    with the answers in place, and ``Run.answers`` are they.
    """

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


@runtime_checkable
class Choosy(Protocol):
    """A source or a model that cannot answer everything, and says so before anything is written."""

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered, in a sentence for whoever posts it; ``None`` if it can.

        Args:
            message: the user's new message; ``None`` if another answer to an old one is wanted.
            request: the rest of the prompt's body.
        """


def refusal_of(answers: object, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
    """Return why a prompt cannot be answered by this; what is not choosy is taken to answer everything."""
    return answers.refusal(message, request) if isinstance(answers, Choosy) else None


def adjusted(model: Model, request: Mapping[str, Any]) -> Model:
    """Return the model as one request wants it, if its method ``adjusted`` knows how.

    Raises:
        InvalidOptionsError: it may not want that.
    """
    adjust = getattr(model, "adjusted", None)
    return model if adjust is None else cast("Model", adjust(request))

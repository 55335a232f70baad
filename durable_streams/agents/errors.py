"""What can go wrong between a model and a stream.

Owns: the exceptions of this package. Refusals by the streams server are the client's own exceptions.
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Base of this package's errors.

    Attributes:
        public: whether its text may be shown to whoever reads the stream; of any other error they are told the kind.
    """

    public: ClassVar[bool] = False


class ToolError(AgentError):
    """Raised by a tool: the call's failure, in words for the model and for everybody who reads.

    Of any other exception of a tool, the model and the readers are told that it failed, and the log has the rest.
    """

    public = True


class UnusableError(AgentError, TypeError):
    """What was handed in cannot be used; the sentence says what to change. Nothing has been written."""


class UpstreamError(AgentError):
    """The model's side refused or reported an error.

    Attributes:
        message: what it said.
        status: HTTP status, if it refused the request.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message if status is None else f"{message} (status={status})")
        self.message, self.status = message, status


class UpstreamCutError(UpstreamError):
    """The model's stream ended before it said that it was done: what arrived is not a whole answer."""

    def __init__(self, message: str = "the model's stream was cut short") -> None:
        super().__init__(message)


class NoModelError(UpstreamError):
    """There is no model to ask."""

    public = True


class AlreadyWrittenError(AgentError):
    """The stream holds an earlier attempt's deltas: a second attempt needs a stream of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(f"another attempt has been written to {url}; a retry needs a new stream")
        self.url = url


class RunEndedError(AgentError):
    """Somebody else has ended the run: it was stopped, or its owner was taken for dead. Write no more."""

    def __init__(self, url: str) -> None:
        super().__init__(f"the run at {url} has been ended by somebody else")
        self.url = url


class ToolCancelledError(AgentError):
    """A tool has raised ``CancelledError`` though nobody has stopped the run."""

    public = True

    def __init__(self, tool: str) -> None:
        super().__init__(f"the tool {tool!r} cancelled itself")


class SourceCancelledError(AgentError):
    """A source has raised ``CancelledError`` though nobody has stopped the run."""

    public = True

    def __init__(self) -> None:
        super().__init__("the source cancelled itself")


class MissingExtraError(AgentError):
    """A source needs a package that is not installed.

    Attributes:
        extra: the optional extra that brings it.
    """

    public = True

    def __init__(self, extra: str) -> None:
        super().__init__(f"not installed: pip install 'durable-streams-server[{extra}]'")
        self.extra = extra

"""What readers are told of an error: a sentence by its kind, and the number under which the log has the rest.

Everybody reads what is stored, now and later, and the model is shown it again. So an exception's own text, which may
hold an address, a password or somebody's data, goes to the log alone, unless it was written to be read
(``AgentError.public``).
Invariant: an error has one number, in however many places it is told of.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

import structlog

from durable_streams.agents.errors import AgentError, UpstreamCutError, UpstreamError
from durable_streams.client import DurableStreamError, FetchError

log = structlog.get_logger(__name__)

TOOL_FAILED: Final = "the tool failed"
_NUMBER: Final = "_error_id"


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells of errors.

    Attributes:
        show_errors: tell their own texts. For development: whoever reads the stream reads them too.
    """

    show_errors: bool = False

    def of_run(self, error: Exception) -> str:
        """Return what to say of an error that has ended a run."""
        return self._told(error, _sentence(error), "run_failed")

    def of_tool(self, error: Exception, tool: str) -> str:
        """Return what to say of a tool that has failed; readers and the model are told the same."""
        return self._told(error, TOOL_FAILED, "tool_failed", tool=tool)

    def of_tool_text(self, text: str, call_id: str) -> str:
        """Return what to say of a failure of which only a framework's text is known, which quotes the exception."""
        if self.show_errors:
            return text
        number = _fresh()
        log.warning("tool_failed", error_id=number, call_id=call_id, said=text)
        return f"{TOOL_FAILED} (error {number})"

    def of_request(self, error: Exception, path: str) -> str:
        """Return what to say of an error to whoever has sent the request that it has ended."""
        return self._told(error, _sentence(error), "request_failed", path=path)

    def _told(self, error: Exception, sentence: str, event: str, **named: str) -> str:
        if is_public(error):
            return str(error)
        number = number_of(error)
        if number is None:
            number = vars(error)[_NUMBER] = _fresh()
            log.warning(event, error_id=number, **named, exc_info=error)
        if self.show_errors:
            return str(error) or type(error).__name__
        return f"{sentence} (error {number})"


def is_public(error: BaseException) -> bool:
    """Return whether an error's own text may be shown to everybody."""
    return isinstance(error, AgentError) and error.public


def number_of(error: BaseException) -> str | None:
    """Return the number under which the log has an error, if it has been told of."""
    number = vars(error).get(_NUMBER)
    return number if isinstance(number, str) else None


def _fresh() -> str:
    return secrets.token_hex(4)


def _sentence(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _sentence(error.exceptions[0])
    if isinstance(error, UpstreamCutError):
        return "the model's stream was cut short"
    if isinstance(error, UpstreamError):
        return _of_upstream(error)
    if isinstance(error, FetchError):
        return "the streams server cannot be reached"
    if isinstance(error, DurableStreamError):
        return "the streams server refused"
    return "the agent failed"


def _of_upstream(error: UpstreamError) -> str:
    if error.status is not None:
        return f"the model's provider refused the request ({error.status})"
    if isinstance(error.__cause__, OSError | TimeoutError):
        return "the model's provider cannot be reached"
    return "the model's provider reported an error"

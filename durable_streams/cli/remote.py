"""What every command that talks to a server shares: which server, which stream, for how long, and what its errors mean.

Owns: options of the connection, addresses, exit statuses of the client's errors. Must not know: any command.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import click

from durable_streams.cli.endings import Failure, Status
from durable_streams.cli.options import Header, Whole, option
from durable_streams.client import (
    AsyncDurableStream,
    DurableStreamError,
    FetchError,
    RetentionGoneError,
    RetryPolicy,
    StaleEpochError,
    StreamNotFoundError,
    SubscriptionNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

R = TypeVar("R")
FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")

DEFAULT_URL: Final = "http://127.0.0.1:4437/v1/stream"
FIRST_CONTACT_MS: Final = 2_000
"""How long to try to reach a server that has not answered yet: a wrong address should be said soon."""
PATIENCE_MS: Final = 300_000
"""How long to wait for a server that went away in the middle of something."""
PAUSE_MAX_S: Final = 0.5
"""Longest pause between two attempts: one person waits for one server, which needs no sparing."""
_NOT_FOUND = (StreamNotFoundError, RetentionGoneError, SubscriptionNotFoundError)
_CONFLICT: Final = 409
_OWN_REFUSALS: Final = frozenset({"INVALID_JSON", "EMPTY_BODY"})
"""Codes by which the client refuses what it was given, before any request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The server and how to reach it.

    Attributes:
        url: URL below which streams are named.
        header: sent with every request, in order.
        retry_ms: how long an interruption is borne, in milliseconds; ``None`` is ``FIRST_CONTACT_MS``, and
            ``PATIENCE_MS`` once a server has answered.
    """

    url: str
    header: tuple[tuple[str, str], ...]
    retry_ms: int | None

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name."""
        return dict(self.header)

    @property
    def patience(self) -> RetryPolicy:
        """How long to try once a server has answered."""
        return self._policy(PATIENCE_MS)

    @property
    def first_contact(self) -> RetryPolicy:
        """How long to try before a server has answered."""
        return self._policy(FIRST_CONTACT_MS)

    def _policy(self, default_ms: int) -> RetryPolicy:
        retry_ms = default_ms if self.retry_ms is None else self.retry_ms
        return RetryPolicy(max_s=PAUSE_MAX_S, give_up_after_s=retry_ms / 1000)

    def address(self, stream: str) -> str:
        """Return the URL of a stream given by URL or by its path, which is percent-encoded here.

        Raises:
            click.UsageError: no URL comes of it.
        """
        if "://" not in stream:
            stream = f"{self.url.rstrip('/')}/{quote(stream.lstrip('/'), safe='/')}"
        parts = urlsplit(stream)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise click.UsageError(f"{stream} is not a URL of a stream such as {DEFAULT_URL}/hello")
        return stream

    def handle(self, name: str) -> AsyncDurableStream:
        """Return a handle to the stream, for the first contact's patience."""
        return AsyncDurableStream(self.address(name), headers=self.headers, retry=self.first_contact)


def remote_options(command: FC) -> FC:
    """Declare the options that ``Remote`` holds."""
    for declare in (
        option(
            "--retry-ms",
            type=Whole(min=0),
            show_default=f"{FIRST_CONTACT_MS}, and {PATIENCE_MS} once the server has answered",
            help="Bear interruptions for this long.",
        ),
        option("--header", type=Header(), multiple=True, help="Send this header, 'Name: value'. Repeatable."),
        option("--url", default=DEFAULT_URL, help="URL of the streams' root, for streams named by path."),
    ):
        command = declare(command)
    return command


def carry_out(work: Coroutine[Any, Any, R]) -> R:
    """Run a command's coroutine and return its result.

    Raises:
        Failure: what the client raised, with the exit status for it.
    """
    try:
        return asyncio.run(work)
    except (DurableStreamError, FetchError) as error:
        raise failure_of(error) from error


def failure_of(error: DurableStreamError | FetchError, *, what_is_kept: str = "") -> Failure:
    """Return the ending that a client's error means; ``what_is_kept`` is added to its line."""
    if isinstance(error, FetchError):
        return Failure(f"no answer from {error.url}: {error.message}{what_is_kept}", Status.UNREACHABLE)
    message = _sentence(error) + what_is_kept
    if isinstance(error, _NOT_FOUND):
        return Failure(message, Status.NOT_FOUND)
    if error.status == _CONFLICT or isinstance(error, StaleEpochError):
        return Failure(message, Status.CONFLICT)
    return Failure(message, Status.USAGE if error.code in _OWN_REFUSALS else Status.FAILED)


def _sentence(error: DurableStreamError) -> str:
    """Return the client's sentence, and the server's where it says more."""
    detail = error.details.get("detail") if isinstance(error.details, dict) else None
    return f"{error.message} ({detail})" if detail and str(detail) not in error.message else error.message

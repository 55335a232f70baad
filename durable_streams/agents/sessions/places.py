"""Where a session's streams are, and handles to them over one pool of connections.

What all runs of a process append travels together: one request for each of them took three quarters of its time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from durable_streams.agents.errors import AgentError
from durable_streams.client import AsyncDurableStream, BatchAppender, list_streams
from durable_streams.client.retry import PATIENT

if TYPE_CHECKING:
    from durable_streams.client import RetryPolicy

JSON: Final = "application/json"
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~-]{1,128}", re.ASCII)


class InvalidIdError(AgentError):
    """A session id that could not be part of a path."""

    public = True


def checked_id(given: object) -> str:
    """Return a session id.

    Raises:
        InvalidIdError: not 1 to 128 of letters, digits and ``_.~-``.
    """
    if not isinstance(given, str) or _ID.fullmatch(given) is None:
        raise InvalidIdError("a session id has 1 to 128 of A-Z a-z 0-9 _ . ~ -")
    return given


def session_path(session_id: str) -> str:
    """Return the path of a session's rows."""
    return f"sessions/{session_id}"


def attempt_path(session_id: str, gid: str) -> str:
    """Return the path of one attempt's chunks."""
    return f"sessions/{session_id}/gen/{gid}"


def agui_path(session_id: str) -> str:
    """Return the path of a session's AG-UI events."""
    return f"sessions/{session_id}/agui"


class Places:
    """Handles to streams below one root; ``aclose`` closes their shared session.

    Args:
        root_url: the server's root.
        retry: how long interruptions are borne; ``None``: the client's own patience, 300 s for appends of runs.
    """

    def __init__(self, root_url: str, retry: RetryPolicy | None = None) -> None:
        self.root_url = root_url.rstrip("/")
        self._retry = retry
        self._session: aiohttp.ClientSession | None = None
        self._appender: BatchAppender | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The shared HTTP session, opened at first use."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
            )
        return self._session

    @property
    def appender(self) -> BatchAppender:
        """What carries the appends, opened at first use."""
        if self._appender is None:
            self._appender = BatchAppender(self.root_url, client=self.session, retry=self._retry or PATIENT)
        return self._appender

    def stream(self, path: str, retry: RetryPolicy | None = None) -> AsyncDurableStream:
        """Return a handle to a JSON stream, with a patience of its own if asked; no request is made."""
        url = f"{self.root_url}/{path}"
        return AsyncDurableStream(
            url, content_type=JSON, client=self.session, retry=retry or self._retry, appender=self.appender
        )

    async def items(self, path: str) -> list[Any]:
        """Return everything in a JSON stream."""
        async with self.stream(path).stream(live=False) as response:
            return await response.read_json()

    async def below(self, path: str) -> list[str]:
        """Return the paths of a stream and of all that are below it, the deepest first.

        Raises:
            StreamNotFoundError: the server does not list its streams.
        """
        found = [one.path async for one in list_streams(self.root_url, prefix=path, client=self.session)]
        return [one for one in reversed(found) if one == path or one.startswith(f"{path}/")]

    async def aclose(self) -> None:
        """Close all connections."""
        if self._appender is not None:
            appender, self._appender = self._appender, None
            await appender.aclose()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

"""Plain HTTP to the server under proof: nothing of the client under test, nothing retried behind the caller's back.

Every request of a writer passes the turnstile, so that there are moments in which nobody asks for anything: those in
which the server is down, and those in which all streams are compared with their models.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple, Self

import aiohttp

from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from multidict import CIMultiDictProxy

LARGE_BYTES = 1 << 20


class ProofError(AssertionError):
    """The server broke its word."""


class UnansweredError(Exception):
    """The connection ended without a whole answer: the request may or may not have been obeyed."""


class Answer(NamedTuple):
    """One whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def next_offset(self) -> int:
        """The position that ``Stream-Next-Offset`` names: an offset is a byte position."""
        return int(self.headers["Stream-Next-Offset"])

    @property
    def closed(self) -> bool:
        """Whether the answer says that the stream is closed."""
        return self.headers.get("Stream-Closed") == "true"


class Turnstile:
    """Lets requests begin while it is open, and knows when the last of them has ended."""

    def __init__(self) -> None:
        """Start closed."""
        self._opened = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._inside = 0
        self.tripped = asyncio.Event()
        self.generation = 0

    def open(self) -> None:
        """Let requests begin; ``generation`` counts the openings."""
        self.generation += 1
        self.tripped.clear()
        self._opened.set()

    def close(self) -> None:
        """Let no more begin."""
        self._opened.clear()

    def trip(self) -> None:
        """Close, because a connection broke."""
        self.close()
        self.tripped.set()

    async def idle(self) -> None:
        """Return once nobody is inside."""
        await self._idle.wait()

    async def __aenter__(self) -> None:
        while not self._opened.is_set():
            await self._opened.wait()
        self._inside += 1
        self._idle.clear()

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        if not self._inside:
            self._idle.set()


class Wire:
    """One server's address, and the connections to it. Use as a context manager."""

    def __init__(self, origin: str, turnstile: Turnstile) -> None:
        """Nothing is connected before the first request."""
        self.origin = origin
        self.root = f"{origin}/v1/stream/"
        self.turnstile = turnstile

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=HANG_S),
            auto_decompress=False,
            skip_auto_headers=("Content-Type",),
        )
        # aiohttp sends a DELETE again when its connection breaks; here it must know from us alone what was sent.
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request and return its answer.

        Raises:
            UnansweredError: the connection broke, or there was none.
            ProofError: no answer within ``HANG_S``.
        """
        try:
            # A large body is to be a file for aiohttp.
            sent = BytesIO(body) if body and len(body) > LARGE_BYTES else body
            async with self._session.request(method, self.root + path, headers=headers, data=sent) as response:
                return Answer(response.status, response.headers, await response.read())
        except TimeoutError as timeout:
            raise ProofError(f"no answer to {method} {path} within {HANG_S} s") from timeout
        except (aiohttp.ClientError, ConnectionError) as broken:
            self.turnstile.trip()
            raise UnansweredError(f"{method} {path}: {broken!r}") from broken

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """Yield the body of a GET piece by piece as it arrives, until its end.

        Raises:
            UnansweredError: the connection broke, or ended without a closing event: nobody else ends one this early.
        """
        try:
            async with self._session.get(
                self.root + path, timeout=aiohttp.ClientTimeout(total=None, sock_read=HANG_S)
            ) as response:
                if response.status != 200:
                    raise ProofError(f"GET {path} answered {response.status}")
                while piece := await response.content.readany():
                    yield piece
        except TimeoutError as silent:
            raise ProofError(f"GET {path}: not even a heartbeat for {HANG_S} s") from silent
        except (aiohttp.ClientError, ConnectionError) as broken:
            self.turnstile.trip()
            raise UnansweredError(f"GET {path}: {broken!r}") from broken

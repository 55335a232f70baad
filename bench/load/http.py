"""The smallest HTTP/1.1 client that is fair to every server: raw bytes on uvloop, keep-alive, one request at a time.

Owns: answers cut out of what arrives, with a length or in chunks. Must not know: any workload.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
HEAD_END = b"\r\n\r\n"


class Answer(NamedTuple):
    """Status, fields by lower-case name, and the body, empty if a sink took it."""

    status: int
    fields: dict[str, str]
    body: bytes


def request(method: str, path: str, body: bytes = b"", content_type: str = "", fields: str = "") -> bytes:  # noqa: PLR0917
    """Return one request's bytes. ``fields``: more header lines, each with its line end."""
    typed = f"Content-Type: {content_type}\r\n" if content_type else ""
    length = f"Content-Length: {len(body)}\r\n" if method in {"POST", "PUT"} else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{typed}{length}{fields}\r\n".encode() + body


class AnswerParser:
    """Cuts answers out of a connection's bytes."""

    def __init__(self, sink: Callable[[bytes], None] | None = None) -> None:
        """``sink`` gets the bodies' bytes as they arrive instead of the answers."""
        self._buffer = b""
        self._head: tuple[int, dict[str, str]] | None = None
        self._left = 0
        self._chunked = self._last_chunk = False
        self._body: list[bytes] = []
        self._take = sink or self._body.append

    def feed(self, arrived: bytes) -> list[Answer]:
        """Return the answers that these bytes complete."""
        self._buffer = self._buffer + arrived if self._buffer else arrived
        answers = []
        while self._step():
            if self._head is not None and self._left == 0 and (not self._chunked or self._last_chunk):
                answers.append(Answer(*self._head, b"".join(self._body)))
                self._head, self._last_chunk = None, False
                self._body.clear()
        return answers

    def _step(self) -> bool:
        """Make progress; False if more bytes are needed."""
        if self._head is None:
            return self._start()
        if self._left:
            return self._pass_on()
        return self._chunked and self._start_chunk()

    def _start(self) -> bool:
        end = self._buffer.find(HEAD_END)
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        status = int(first[9:12])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._head = (status, fields)
        bodiless = status in {204, 304}
        self._chunked = not bodiless and fields.get("transfer-encoding", "").lower() == "chunked"
        self._left = 0 if bodiless or self._chunked else int(fields.get("content-length", "0"))
        return True

    def _pass_on(self) -> bool:
        if not self._buffer:
            return False
        taken, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(taken)
        self._take(taken)
        return True

    def _start_chunk(self) -> bool:
        if self._buffer.startswith(b"\r\n"):
            self._buffer = self._buffer[2:]
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        size = int(self._buffer[:end].partition(b";")[0], 16)
        self._buffer = self._buffer[end + 2 :]
        self._left, self._last_chunk = size, size == 0
        if size == 0:  # the empty line behind it; nobody here sends trailers
            self._buffer = self._buffer[2:]
        return True


class Client(asyncio.Protocol):
    """One connection that asks and waits. For what is not hot: set-up, checks, and reads in large pages."""

    def __init__(self, sink: Callable[[bytes], None] | None = None) -> None:
        self._parser = AnswerParser(sink)
        self._waiter: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport
        self._drained = asyncio.Event()
        self._drained.set()

    @classmethod
    async def connect(cls, port: int, sink: Callable[[bytes], None] | None = None) -> Client:
        """Return a connected client."""
        _, client = await asyncio.get_running_loop().create_connection(lambda: cls(sink), HOST, port)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        for answer in self._parser.feed(data):
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._drained.set()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    async def send_on(self, more: bytes) -> None:
        """Send more of a request under way, at the pace the server takes it; lets others run in any case."""
        if self._transport.is_closing():
            return
        self._transport.write(more)
        await asyncio.sleep(0)
        await self._drained.wait()

    def begin(self, raw: bytes) -> asyncio.Future[Answer]:
        """Send a request, or its beginning; return its answer to come."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return self._waiter

    async def ask(self, raw: bytes) -> Answer:
        """Send one request and return its answer."""
        return await self.begin(raw)

    async def expect(self, raw: bytes, *statuses: int) -> Answer:
        """Ask; raise unless the answer has one of these statuses."""
        answer = await self.ask(raw)
        if answer.status not in statuses:
            first_line = raw.partition(b"\r\n")[0].decode()
            raise AssertionError(f"{first_line}: {answer.status} {answer.body[:200]!r}")
        return answer

    def close(self) -> None:
        self._transport.close()

"""A TCP proxy that cuts connections at chosen bytes, and a server that answers from a script.

Both are real sockets on 127.0.0.1: what the client sees is what a network or a proxy in between does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable


@dataclass(frozen=True, slots=True)
class Cut:
    """How one connection ends.

    Attributes:
        request_bytes: forward so many bytes of the requests, then cut; `None`: all.
        answer_bytes: forward so many bytes of the answers, then cut; `None`: all. 0 loses the answer to a request that
            the server has had in full.
        is_silent: forward nothing, and stay open: a connection that a network has lost.
    """

    request_bytes: int | None = None
    answer_bytes: int | None = None
    is_silent: bool = False


class CuttingProxy:
    """Forwards every connection to one server; the first ones are cut as planned, the others not.

    Attributes:
        answers: what was forwarded of each connection's answers, in the order in which they were opened.
        asked: set at the first connection.
    """

    def __init__(self, target_url: str, cuts: Iterable[Cut] = ()) -> None:
        self._target = urlsplit(target_url)
        self.cuts = deque(cuts)
        self.answers: list[bytearray] = []
        self.requests: list[bytearray] = []
        self.asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._target.path}"

    @property
    def connection_count(self) -> int:
        return len(self.answers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio would log the cancelling of one that it had made for a coroutine.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = self.cuts.popleft() if self.cuts else Cut()
        requests, answers = bytearray(), bytearray()
        self.requests.append(requests)
        self.answers.append(answers)
        self.asked.set()
        ends = [writer]
        try:
            if cut.is_silent:
                await asyncio.Event().wait()
            up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            ends.append(up_writer)
            await _either(
                _forward(reader, up_writer, cut.request_bytes, seen=requests),
                _forward(up_reader, writer, cut.answer_bytes, seen=answers),
            )
        except OSError:
            pass  # the server is down, or one end has gone: the other is told by closing it
        finally:
            for end in ends:
                end.close()


async def _either(*coroutines: Coroutine[None, None, None]) -> None:
    """Run both until one ends, and end the other."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None, *, seen: bytearray
) -> None:
    while received := await reader.read(65536):
        room = len(received) if limit is None else max(0, limit - len(seen))
        seen += received[:room]
        writer.write(received[:room])
        await writer.drain()
        if limit is not None and len(seen) >= limit:
            return


@dataclass
class ScriptedServer:
    """Answers the n-th request with the n-th script line, raw bytes, and closes the connection behind it.

    The last line answers all further requests. `requests` keeps what was asked: (head, body); `asked`
    is set at the first.
    """

    script: list[bytes]
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/stream"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(v) for k, _, v in _fields(head) if k.lower() == "content-length"), 0)
            body = await reader.readexactly(length)
            line = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append((head, body))
            self.asked.set()
            writer.write(line)
            await writer.drain()
        writer.close()


def _fields(head: str) -> list[tuple[str, str, str]]:
    return [line.partition(": ") for line in head.split("\r\n")[1:] if line]


def answer(status: int, body: bytes = b"", **fields: str) -> bytes:
    """Return a raw HTTP answer; underscores in field names stand for hyphens."""
    head = f"HTTP/1.1 {status} Whatever\r\nConnection: close\r\n"
    if status != 204:
        head += f"Content-Length: {len(body)}\r\n"
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body

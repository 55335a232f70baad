"""HTTP/1.1 on bare sockets: what the model test sends is what stands here, and it sees every header that comes back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "model.localhost"
BODILESS = frozenset({204, 304})


@dataclass(frozen=True)
class Request:
    """`path` is root-relative and already percent-encoded."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """One keep-alive connection; one request at a time, or one sent now and answered later."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._method = ""

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: Request) -> Reply:
        self.send(request)
        return await self.receive()

    def send(self, request: Request) -> None:
        self._method = request.method
        query = f"?{urlencode(request.query)}" if request.query else ""
        lines = [f"{request.method} /v1/stream/{request.path}{query} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body or request.method in {"PUT", "POST"}:
            lines.append(f"Content-Length: {len(request.body)}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + request.body)

    async def receive(self) -> Reply:
        """Raises `asyncio.IncompleteReadError` or `ConnectionError` if the server goes away instead."""
        async with asyncio.timeout(HANG_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head[:-4].split("\r\n")
            fields = [line.split(":", 1) for line in lines]
            headers = {name.strip().lower(): value.strip() for name, value in fields}
            assert len(headers) == len(fields), f"a header came twice: {lines}"
            status = int(status_line.split(" ", 2)[1])
            assert "transfer-encoding" not in headers
            size = 0 if status in BODILESS or self._method == "HEAD" else int(headers["content-length"])
            return Reply(status, headers, await self._reader.readexactly(size))

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

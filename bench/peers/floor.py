"""The floor: hand-written asyncio on uvloop that stores nothing. ``python -m bench.peers.floor PORT``.

Answers every POST 204 and every PUT 201 with a fixed offset, and writes each body to everybody who asked for
``live=sse``: what is left when a server does nothing but sockets.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

POSTED = b"HTTP/1.1 204 No Content\r\nStream-Next-Offset: 0000000000000000_0000000000000000\r\n\r\n"
PUT = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
FOLLOWED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b'event: control\ndata:{"upToDate":true}\n\n'
)
HEAD_END = b"\r\n\r\n"


class Floor(asyncio.Protocol):
    """One connection."""

    followers: dict[str, list[asyncio.Transport]] = {}  # noqa: RUF012 shared by all connections

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(HEAD_END)) >= 0:
            head = self._buffer[:end]
            at = head.find(b"Content-Length: ")
            length = int(head[at + 16 :].partition(b"\r\n")[0]) if at >= 0 else 0
            total = end + 4 + length
            if len(self._buffer) < total:
                return
            body, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
            self._answer(head, body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's
        for followers in self.followers.values():
            if self._transport in followers:
                followers.remove(self._transport)

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        name = path.partition(b"?")[0].decode()
        if method == b"POST":
            self._transport.write(POSTED)
            event = b"event: data\ndata:" + body + b'\n\nevent: control\ndata:{"upToDate":true}\n\n'
            for follower in self.followers.get(name, ()):
                follower.write(event)
        elif method == b"PUT":
            self._transport.write(PUT)
        else:
            self._transport.write(FOLLOWED)
            self.followers.setdefault(name, []).append(self._transport)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", int(sys.argv[1]), backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

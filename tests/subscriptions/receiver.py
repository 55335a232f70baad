"""A webhook receiver on a real socket that answers as a test tells it: well, badly, slowly, or not at all."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


@dataclass(frozen=True)
class Delivery:
    """One request: header fields by lower-case name, the exact body, and what it says."""

    headers: Mapping[str, str]
    raw: bytes
    wake: dict[str, Any]


def answer(
    status: int, body: bytes = b"{}", **fields: str
) -> Callable[[Delivery, asyncio.StreamWriter], Awaitable[None]]:
    """Return a behaviour that answers so."""

    async def behave(_delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
        head += [f"{name}: {value}" for name, value in fields.items()]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return behave


OK = answer(200)
DONE = answer(200, b'{"done": true}')


async def hang(_delivery: Delivery, writer: asyncio.StreamWriter) -> None:
    """Answer nothing, until the other side goes."""
    while not writer.transport.is_closing():  # a closed peer is no event of a writer
        await pause(0.005)


async def cut(_delivery: Delivery, writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.transport.abort()


class Receiver:
    """``behave`` is how the next requests are answered; ``deliveries`` what came."""

    def __init__(self) -> None:
        self.behave: Callable[[Delivery, asyncio.StreamWriter], Awaitable[None]] = OK
        self.deliveries: list[Delivery] = []
        self.connections = 0
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        # Room for all that a server sends at once, so that no connection has to be tried again.
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        self.port, self.url = port, f"http://127.0.0.1:{port}/hook"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()

    async def delivery(self, number: int) -> Delivery:
        """Return the delivery of this number, from 1, when it has come."""
        async with asyncio.timeout(HANG_S):
            while len(self.deliveries) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return self.deliveries[number - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, _, value in fields}
            raw = await reader.readexactly(int(headers["content-length"]))
            delivery = Delivery(headers, raw, json.loads(raw))
            self.deliveries.append(delivery)
            self._arrived.set()
            await self.behave(delivery, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

"""A refusal can be read by a client that goes on sending what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.http.site import Site

PIECE = b"x" * 65_536
PIECES = 128
TYPED = "Host: h\r\nContent-Type: text/plain\r\n"
REFUSED = {
    "no method": ("G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    "a head that is too large": ("GET / HTTP/1.1\r\nHost: h\r\nA: " + "a" * 20_000, 431),
    "a body that is too large": (f"POST /v1/stream/s HTTP/1.1\r\n{TYPED}Content-Length: 60000000\r\n\r\n", 413),
    "no chunk": (f"POST /v1/stream/s HTTP/1.1\r\n{TYPED}Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "an unknown coding": (
        f"POST /v1/stream/s HTTP/1.1\r\n{TYPED}Transfer-Encoding: x, chunked\r\n\r\nfffffff\r\n",
        501,
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
async def test_a_refusal_is_readable_while_more_comes(fronted: Site, refused: str) -> None:
    head, status = REFUSED[refused]
    async with fronted.client.wire() as wire:
        await wire.send(head.encode())
        for _ in range(PIECES):
            await wire.send(PIECE)
        assert (await wire.reply("POST")).status == status
        assert await wire.rest() == b""


async def test_who_leaves_nothing_open_is_not_waited_for(fronted: Site) -> None:
    """The connection ends when the client has shut its side."""
    front = fronted.server._front
    async with fronted.client.wire() as wire:
        await wire.send(b"G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await wire.reply()).status == 400
        assert await wire.rest() == b""
        assert len(front.lingering) == 1
    while front.lingering:
        await fronted.client.send("GET", "/healthz")


async def test_a_server_that_shuts_down_does_not_linger(fronted: Site) -> None:
    front = fronted.server._front
    async with fronted.client.wire() as wire:
        await wire.send(b"G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await wire.reply()).status == 400
        await front.shutdown(1.0)
        assert await wire.rest() == b""
        while front.lingering:
            await fronted.client.send("GET", "/healthz")

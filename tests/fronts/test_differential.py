"""The lane answers exactly as aiohttp's front does: the same requests to both, the same bytes back."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
from typing import TYPE_CHECKING

import pytest

from tests.fronts.requests import Maker, Raw
from tests.http.site import bounded, running
from tests.patience import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.site import Site

SEEDS = int(os.environ.get("DIFFERENTIAL_SEEDS", "20"))
REQUESTS = 500
SHUT_SHARE = 0.3
KEPT_COUNT = 8
"""Requests on one connection to the lane: the first odd one makes the connection aiohttp's for good."""
BOUNDS = bounded(long_poll_timeout_ms=1, half_closed_probe_ms=60_000, page_bytes=100)
_VARIABLE = [
    (re.compile(rb"\r\nDate: [^\r]*"), b"\r\nDate: -"),
    (re.compile(rb'"[0-9a-f]{8,}:(\d+:\d+(?::[cu])?)"'), rb'"sid:\1"'),
    (re.compile(rb"\r\nStream-Cursor: (\d+)\d{6}\r"), rb"\r\nStream-Cursor: \1\r"),  # the mark of an incarnation
    (re.compile(rb"internal error [0-9a-f]{8}"), b"internal error -"),
]
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


class Line:
    """One connection to one front, opened anew whenever the front has closed it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask_all(self, raws: list[Raw], cuts: list[int], *, shut: bool) -> list[bytes]:
        """Send requests back to back, in pieces cut anywhere, and shut our side or not; return the answers."""
        reader, writer = await self._connected()
        whole = b"".join(raw.bytes for raw in raws)
        for start, end in itertools.pairwise([0, *cuts, len(whole)]):
            writer.write(whole[start:end])
            await writer.drain()
        if shut:
            writer.write_eof()
        found = [_comparable(await self._answer(reader, raw)) for raw in raws]
        if shut:
            async with asyncio.timeout(HANG_S):
                found.append(await reader.read() + b"<closed>")
            self.close()
        return found

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            host, port = self._site.client.origin.removeprefix("http://").split(":")
            self._streams = await asyncio.open_connection(host, int(port))
        return self._streams

    async def ask(self, raw: Raw) -> bytes:
        """Return the answer, made comparable, and whether the connection stays open."""
        reader, writer = await self._connected()
        writer.write(raw.bytes)
        answer = await self._answer(reader, raw)
        if _closes(answer):
            async with asyncio.timeout(HANG_S):
                answer += await reader.read()
            writer.close()
            self._streams = None
            answer += b"<closed>"
        return _comparable(answer)

    async def _answer(self, reader: asyncio.StreamReader, raw: Raw) -> bytes:
        head = b""
        try:
            async with asyncio.timeout(HANG_S):
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 100"):
                    head += await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return b""
        except TimeoutError:
            pytest.fail(f"no answer to {raw.bytes!r}")
        length = _LENGTH.search(head)
        if length is None or raw.method == "HEAD":
            return head
        return head + await reader.readexactly(int(length[1]))

    def close(self) -> None:
        """Leave; the next request goes over a new connection, which begins on the front's own path again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _comparable(answer: bytes) -> bytes:
    for pattern, replacement in _VARIABLE:
        answer = pattern.sub(replacement, answer)
    return answer


def _closes(answer: bytes) -> bool:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return not answer or b"\r\nconnection: close" in head or head.startswith(b"http/1.0")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_both_fronts_answer_alike(tmp_path: Path, seed: int) -> None:
    maker = Maker(seed)
    async with (
        running(tmp_path / "lane", bounds=BOUNDS, lane=True) as lane_site,
        running(tmp_path / "aiohttp", bounds=BOUNDS, lane=False) as aiohttp_site,
    ):
        lane, aiohttp = Line(lane_site), Line(aiohttp_site)
        for number in range(REQUESTS):
            raw = maker.request()
            if number % KEPT_COUNT == 0:
                lane.close()
            on_lane, on_aiohttp = await lane.ask(raw), await aiohttp.ask(raw)
            assert on_lane == on_aiohttp, f"request {number} of seed {seed}: {raw.bytes!r}"
        lane.close()
        aiohttp.close()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_pipelined_requests_are_answered_alike_and_in_order(tmp_path: Path, seed: int) -> None:
    maker, chance = Maker(seed), random.Random(seed)
    async with (
        running(tmp_path / "lane", bounds=BOUNDS, lane=True) as lane_site,
        running(tmp_path / "aiohttp", bounds=BOUNDS, lane=False) as aiohttp_site,
    ):
        lane, aiohttp = Line(lane_site), Line(aiohttp_site)
        for _ in range(10):
            raws = [maker.usual() for _ in range(chance.randint(2, 30))]
            size = sum(len(raw.bytes) for raw in raws)
            cuts = sorted(chance.sample(range(1, size), chance.randint(0, 8)))
            shut = chance.random() < SHUT_SHARE
            ask_all = (lane.ask_all(raws, cuts, shut=shut), aiohttp.ask_all(raws, cuts, shut=shut))
            assert await ask_all[0] == await ask_all[1], f"seed {seed}"
        lane.close()
        aiohttp.close()

"""Runs share requests and nothing else: what becomes of one of them is not felt by the others."""

from __future__ import annotations

import asyncio

from durable_streams.agents.runs.scope import Scope
from durable_streams.agents.sessions.places import Places
from durable_streams.client import ProducerTriple
from tests.client.proxy import answer

OUTCOMES = answer(200, b'{"status":200,"next_offset":"1"}\n{"status":200,"next_offset":"2"}\n')


async def test_a_cancelled_run_does_not_take_along_the_request_it_began() -> None:
    asked, told = asyncio.Event(), asyncio.Event()
    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await told.wait()
        writer.write(OUTCOMES)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        places = Places(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream")
        claim, scope = ProducerTriple("gen", 0, 0), Scope()

        async def run() -> None:
            scope.enter()
            await places.stream("a").append_as(claim, [b"1"])

        first = asyncio.create_task(run())
        second = asyncio.create_task(places.stream("b").append_as(claim, [b"2"]))
        await asked.wait()
        await scope.end(first)
        told.set()
        assert (await second).offset == "2"
        await places.aclose()
    assert (first.cancelled(), len(accepted)) == (True, 1)

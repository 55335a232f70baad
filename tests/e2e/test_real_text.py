"""A real text through the real command line, the real server, killed again and again, and the official client."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.e2e.corpus import LINES_MIN, real_lines, standard_library
from tests.e2e.processes import Feeding, Following

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving import ServerProcess

KILLS = 3
PIECES = 64


@pytest.fixture(scope="module")
def text() -> list[str]:
    _, lines = real_lines()
    return lines


@pytest.mark.slow
def test_any_machine_has_enough_lines() -> None:
    assert sum(1 for _ in islice(standard_library(), LINES_MIN)) == LINES_MIN


@pytest.mark.slow
async def test_every_line_arrives_once_through_kills(server: ServerProcess, text: list[str], tmp_path: Path) -> None:
    url = server.stream_url("text")
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, headers={"Content-Type": "application/json"}) as created,
    ):
        assert created.status == 201
    # Between two gates the server is killed: no line behind the second one is written before it is back.
    gates = {PIECES * (2 * kill + 2) // (2 * KILLS + 2): threading.Event() for kill in range(KILLS)}
    with ExitStack() as processes:
        feeding = processes.enter_context(Feeding(url, _pieces(text), gates))
        followers = [processes.enter_context(Following(url, live, tmp_path / live)) for live in ("sse", "long-poll")]
        for kill, gate in enumerate(gates.values()):
            for follower in followers:
                follower.wait_for(len(text) * (2 * kill + 1) // (2 * KILLS + 2))
            assert feeding.process.poll() is None, "all was appended before the kill"
            server.restart()
            gate.set()
        outcome = feeding.outcome()
        for follower in followers:
            follower.wait()
    assert outcome["message_count"] == len(text)
    expected = "".join(f"{line}\n" for line in text).encode()
    for follower in followers:
        assert follower.output.read_bytes() == expected, follower.interruptions


def _pieces(text: list[str]) -> list[bytes]:
    """The text as NDJSON, one JSON string per line, cut into pieces of about the same number of lines."""
    step = -(-len(text) // PIECES)
    return [
        b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in text[at : at + step])
        for at in range(0, len(text), step)
    ]

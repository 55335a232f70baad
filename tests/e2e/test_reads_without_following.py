"""Who reads once, and does not follow, gets everything: the official client, ours, and the command line."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from durable_streams.client import astream
from tests.conformance.suite import JS
from tests.http.wire import Client
from tests.patience import HANG_S

if TYPE_CHECKING:
    from tests.conftest import Serve
    from tests.serving import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MESSAGES = [f'{{"n":{number},"pad":"{"x" * (number % 60)}"}}' for number in range(60_000)]
TEXT = "".join(f"{number:07d}: äöü\n" for number in range(150_000))
BYTES = random.Random(9).randbytes(3 * 1024 * 1024)


class Filled(NamedTuple):
    """A server whose streams `json`, `text` and `bytes` hold several pages each."""

    process: ServerProcess
    urls: tuple[str, str, str]


@pytest.fixture(params=["lane", "aiohttp"])
async def filled(serve: Serve, request: pytest.FixtureRequest) -> Filled:
    process = serve(arguments=["--lane" if request.param == "lane" else "--no-lane"])
    client = Client(process.url)
    for path, content_type, body in (
        ("json", "application/json", f"[{','.join(MESSAGES)}]".encode()),
        ("text", "text/plain", TEXT.encode()),
        ("bytes", "application/octet-stream", BYTES),
    ):
        assert (await client.put(path, content_type)).status == 201
        assert (await client.post(path, body, content_type)).status == 204
        assert len(body) > 2 * 1024 * 1024
    return Filled(process, (process.stream_url("json"), process.stream_url("text"), process.stream_url("bytes")))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_the_official_client(filled: Filled) -> None:
    """It takes the first answer for all there is where it does not follow."""
    finished = await asyncio.to_thread(
        subprocess.run, ["node", "read.mjs", *filled.urls], cwd=JS, capture_output=True, timeout=HANG_S, check=False
    )

    assert finished.returncode == 0, finished.stderr.decode()
    assert json.loads(finished.stdout) == {
        "json": len(MESSAGES),
        "json_sha256": sha256("".join(f"{message}\n" for message in MESSAGES).encode()),
        "text": len(TEXT),
        "text_sha256": sha256(TEXT.encode()),
        "body": len(BYTES),
        "body_sha256": sha256(BYTES),
    }


async def test_our_client(filled: Filled) -> None:
    messages, text, content = filled.urls
    async with astream(messages, live=False) as response:
        assert await response.read_json() == [orjson.loads(message) for message in MESSAGES]
    async with astream(text, live=False) as response:
        assert await response.read_text() == TEXT
    async with astream(content, live=False) as response:
        assert await response.read_bytes() == BYTES


async def test_the_command_line(filled: Filled) -> None:
    expected = ("".join(f"{message}\n" for message in MESSAGES).encode(), TEXT.encode(), BYTES)
    for url, content in zip(filled.urls, expected, strict=True):
        command = [sys.executable, "-m", "durable_streams", "read", url]
        finished = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=HANG_S, check=False)
        assert (finished.returncode, finished.stderr) == (0, b"")
        assert finished.stdout == content

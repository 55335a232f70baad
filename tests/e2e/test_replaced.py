"""The official client, on a stream that is deleted and created anew under it: it is told, and skips nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conformance.suite import JS
from tests.patience import HANG_S

if TYPE_CHECKING:
    from tests.serving import ServerProcess


@pytest.mark.slow
@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_it_ends_with_an_error_and_gets_nothing_of_the_new_stream(server: ServerProcess, live: str) -> None:
    url = server.stream_url("s")
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as http:
        (await http.put(url, data=b"[1]")).raise_for_status()
        client = await asyncio.create_subprocess_exec(
            "node", "watch.mjs", url, live, cwd=JS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said = await told(client)
        seen = said["items"]
        (await http.post(url, data=b"2")).raise_for_status()
        # Until a batch has come live, so that the client has a cursor as well as an offset.
        while 2 not in seen or not said["cursor"]:
            said = await told(client)
            seen += said["items"]
        (await http.delete(url)).raise_for_status()
        (await http.put(url, data=b"[1,2,3,4]")).raise_for_status()
        while "ended" not in (said := await told(client)):
            seen += said["items"]
    await client.wait()
    assert seen == [1, 2]
    assert said["ended"] in {404, 410}


async def told(client: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return what the client says next."""
    assert client.stdout is not None
    async with asyncio.timeout(HANG_S):
        line = await client.stdout.readline()
    assert line, (await client.stderr.read()).decode() if client.stderr else ""
    said = json.loads(line)
    assert isinstance(said, dict)
    return said

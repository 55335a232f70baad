"""A browser's own ``EventSource`` follows a stream through a crash of the server, and learns when it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.browser.cdp import Browser
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

FOLLOW = """(() => {
  const source = window.source = new EventSource('%s?offset=%s&live=sse');
  Object.assign(window, { seen: [], controls: 0, opened: 0, gone: null });
  source.onopen = () => { opened += 1; };
  source.addEventListener('data', (event) => { seen.push(...JSON.parse(event.data)); });
  source.addEventListener('control', () => { controls += 1; });
  source.addEventListener('gone', (event) => { gone = JSON.parse(event.data).code; });
})()"""


@pytest.mark.parametrize("offset", ["-1", "now"])
async def test_it_goes_on_where_it_was_and_is_told_of_the_end(
    browser: Browser, server: ServerProcess, offset: str
) -> None:
    url, json = server.stream_url("s"), {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=json, connector=aiohttp.TCPConnector(force_close=True)) as http:
        (await http.put(url, data=b"[1,2]")).raise_for_status()
        page = await (await browser.profile()).open(f"{server.url}/_ui")
        await page.run(FOLLOW % (url, offset))
        await page.until("controls === 1")
        (await http.post(url, data=b"3")).raise_for_status()
        await page.until("controls === 2")

        server.restart()
        (await http.post(url, data=b"4")).raise_for_status()
        await page.until("opened === 2 && seen.includes(4)")
        (await http.post(url, data=b"5")).raise_for_status()
        await page.until("seen.includes(5)")
        assert await page.run("seen") == ([1, 2, 3, 4, 5] if offset == "-1" else [3, 4, 5])

        (await http.delete(url)).raise_for_status()
        (await http.put(url, data=b"[6,7,8,9,10,11]")).raise_for_status()
        assert await page.until("gone") == "not-found"
        await page.until("source.readyState === EventSource.CLOSED")
        assert 6 not in await page.run("seen")

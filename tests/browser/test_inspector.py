"""The inspector at ``/_ui``, in a real browser against the real server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest

from tests.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.cdp import Browser, Page
    from tests.conftest import Serve
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
MANY = 100_000
AT_ONCE = 50
EVIL = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


async def put(server: ServerProcess, path: str, body: object = None, *, headers: dict[str, str] = JSON) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.put(
            server.stream_url(quote(path)), data=None if body is None else json.dumps(body), headers=headers
        ) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def send(server: ServerProcess, path: str, body: bytes, *, headers: dict[str, str]) -> str:
    """Append and return the new tail."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(server.stream_url(quote(path)), data=body, headers=headers) as answer,
    ):
        assert answer.status == 204, await answer.text()
        return answer.headers["Stream-Next-Offset"]


async def post(server: ServerProcess, path: str, body: object) -> str:
    return await send(server, path, json.dumps(body).encode(), headers=JSON)


async def inspector(browser: Browser, server: ServerProcess, path: str = "") -> Page:
    return await (await browser.profile()).open(f"{server.url}/_ui#{quote(path, safe='')}")


ROWS = "[...document.querySelectorAll('.row')].map((row) => row.dataset.path)"
MESSAGES = "[...document.querySelectorAll('.message pre')].map((one) => one.textContent)"
OFFSETS = "[...document.querySelectorAll('.message .offset')].map((one) => one.textContent)"
IS_LIVE = "document.querySelector('#state').textContent === 'live'"


async def test_a_stream_is_watched_appended_to_forked_and_closed(
    server: ServerProcess, browser: Browser, pictures: Path
) -> None:
    await put(server, "chat/été 1", [{"n": 1, "big": 123456789012345678901}, ["ü, [}"], "text"])
    await put(server, "chat/2")
    await put(server, "other", headers=TEXT)
    page = await inspector(browser, server)
    await page.until(f"{ROWS}.length === 3")
    await page.type("#prefix", "chat/")
    await page.until(f"{ROWS}.length === 2")
    await page.run("[...document.querySelectorAll('.row')].find((row) => row.dataset.path.includes('1')).click()")
    await page.until(IS_LIVE)
    assert await page.until(f"{MESSAGES}.length === 3 && {MESSAGES}") == [
        '{"n": 1, "big": 123456789012345678901}',
        '["\\u00fc, [}"]',
        '"text"',
    ]

    tail = await post(server, "chat/été 1", {"live": EVIL})
    shown = await page.until(f"{MESSAGES}.length === 4 && {MESSAGES}")
    assert json.loads(shown[3]) == {"live": EVIL}
    assert await page.until(f"document.querySelector('#facts').innerText.includes({json.dumps(tail)})")

    # Every offset is one that the server takes: reading from it gives this message first.
    offsets = await page.run(OFFSETS)
    async with aiohttp.ClientSession() as http:
        for offset, text in zip(offsets, shown, strict=True):
            address = f"{server.stream_url(quote('chat/été 1'))}?offset={offset}"
            async with http.get(address) as answer:
                assert (await answer.json())[0] == json.loads(text)
    await page.run("document.querySelector('.message pre').click()")
    assert "\n" in await page.text(".message pre")
    await page.run("document.querySelector('.message pre').click()")

    await page.click("#append")
    await page.type("dialog textarea", "[1,")
    await page.click("dialog button[type=submit]")
    assert await page.until("document.querySelector('.refusal').textContent")
    await page.run("document.querySelector('dialog textarea').value = ''")
    await page.type("dialog textarea", '[{"by": "hand"}, 2]')
    await page.picture(pictures / "inspector-append.png")
    await page.click("dialog button[type=submit]")
    shown = await page.until(f"{MESSAGES}.length === 6 && {MESSAGES}")
    assert shown[4:] == ['{"by": "hand"}', "2"]
    assert await page.until("Number(document.querySelector('#message-rate').textContent) > 0")
    await page.picture(pictures / "inspector.png")

    await page.run("document.querySelectorAll('.message .offset')[2].click()")
    await page.click("dialog button[type=submit]")
    await page.until("document.querySelector('#path').textContent === 'chat/été 1-fork'")
    assert await page.until(f"{MESSAGES}.length === 2 && {MESSAGES}") == shown[:2]
    assert "chat/été 1" in await page.text("#facts")

    await page.click("#close")
    await page.click("dialog button[type=submit]")
    await page.until("document.querySelector('#state').textContent === 'closed'")
    assert await page.run("document.querySelector('#append').disabled")
    assert await page.run("document.title") == "chat/été 1-fork · Streams"
    assert page.complaints == []


async def test_text_bytes_and_a_restart_of_the_server(server: ServerProcess, browser: Browser) -> None:
    await put(server, "log", headers=TEXT)
    page = await inspector(browser, server, "log")
    await page.until(IS_LIVE)
    await send(server, "log", "línea 1\n".encode(), headers=TEXT)
    assert await page.until(f"{MESSAGES}.length === 1 && {MESSAGES}") == ["línea 1\n"]
    server.kill()
    await page.until("document.querySelector('#state').classList.contains('broken')")
    server.start()
    await send(server, "log", "línea 2\n".encode(), headers=TEXT)
    assert await page.until(f"{MESSAGES}.length === 2 && {MESSAGES}") == ["línea 1\n", "línea 2\n"]
    await page.until(IS_LIVE)

    octets = {"Content-Type": "application/octet-stream"}
    await put(server, "bytes", headers=octets)
    await send(server, "bytes", bytes(range(20)), headers=octets)
    await page.run("location.hash = '#bytes'")
    assert (await page.until(f"{MESSAGES}.length === 1 && {MESSAGES}"))[0].startswith("00 01 02")


async def test_a_long_stream_is_read_as_it_is_scrolled(server: ServerProcess, browser: Browser) -> None:
    await put(server, "long", list(range(90_000)))
    await post(server, "long", list(range(90_000, 180_000)))
    page = await inspector(browser, server, "long")
    shown = await page.until(f"{MESSAGES}.length === 200 && {MESSAGES}")
    assert shown[-1] == "179999"
    await page.until(IS_LIVE)
    await page.click("#from-start")
    assert (await page.until(f"{MESSAGES}.length >= 200 && {MESSAGES}"))[0] == "0"
    await page.until(f"{MESSAGES}.length < 3000")
    await page.run("document.querySelector('#messages').scrollTop = 1e9")
    await page.until(f"{MESSAGES}.length > 450")
    assert await page.run(f"{MESSAGES}.every((text, n, all) => n === 0 || Number(text) === Number(all[n - 1]) + 1)")
    largest = "Math.max(...performance.getEntriesByType('resource').map((one) => one.decodedBodySize))"
    assert 0 < await page.run(largest) <= 1 + (1 << 20), "it reads page by page, however long the stream"


async def test_a_hundred_thousand_streams(serve: Serve, browser: Browser, pictures: Path) -> None:
    server = serve(engine="memory")
    await create_many(server)
    page = await inspector(browser, server)
    await page.until(f"{ROWS}.includes('many/000000')")
    assert await page.run("document.querySelectorAll('.row').length") < 100

    # To the very end, as fast as the list can be dragged: no step of the page adds more than what is seen at once.
    await page.run("""(() => {
      window.most = 0;
      new MutationObserver((seen) => {
        window.most = Math.max(window.most, seen.reduce((count, one) => count + one.addedNodes.length, 0));
      }).observe(document.querySelector('#list'), { childList: true, subtree: true });
    })()""")
    await page.run("""(async () => {
      const list = document.querySelector('#list');
      while (!document.querySelector('#counted').textContent.startsWith('100,000 streams')
          || document.querySelector('#counted').textContent.includes('more')) {
        list.scrollTop = list.scrollHeight;
        await new Promise(requestAnimationFrame);
      }
      list.scrollTop = list.scrollHeight;
    })()""")
    await page.until(f"{ROWS}.includes('many/099999')")
    assert await page.run("document.querySelectorAll('.row').length") < 100
    assert 0 < await page.run("window.most") < 500
    await page.type("#prefix", "many/0777")
    await page.until(f"{ROWS}[0] === 'many/077700' && document.querySelector('#counted').textContent === '100 streams'")
    await page.picture(pictures / "inspector-many.png")


async def create_many(server: ServerProcess) -> None:
    """Create streams over a few connections, each request right behind the last."""
    share = MANY // AT_ONCE

    async def work(first: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        for number in range(first, first + share):
            head = f"PUT /v1/stream/many/{number:06} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n\r\n"
            writer.write(head.encode())
        left = share
        while left:
            left -= (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work(first) for first in range(0, MANY, share)))

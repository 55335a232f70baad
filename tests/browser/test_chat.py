"""The chat page in a real browser, with the real adapter, the real server and a model that follows a script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.agents.conftest import shows
from tests.agents.provider_cases import sse
from tests.agents.provider_cases.chat import delta
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Said, Text
from tests.browser.chat import Person
from tests.patience import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents.serving import AdapterProcess
    from tests.browser.cdp import Browser
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

WORDS: list[Said] = [Text(f"w{n} ") for n in range(20_000)]
"""More than is said before somebody stops it, however long everybody takes."""
TAGS = "a blockquote code div em h1 li ol p pre span strong table tbody td th thead tr ul"
MARKDOWN = """\
# Sorting, briefly

Use **`sorted`** for a *new* list, see <b>docs</b> & [the manual](https://docs.python.org/3/).

```python
def top(rows: list[dict], n: int = 3) -> list[dict]:
    return sorted(rows, key=lambda row: -row["score"])[:n]
```

1. Stable: equal keys keep their order
2. Linear in memory
   - unlike `list.sort`

| name | score |
|:-----|------:|
| Ann  |    42 |
| Bob  |     7 |

> Measure first. [A trap](javascript:alert(1)) <img src=x onerror="document.title='owned'">
"""


async def rows(server: ServerProcess, session_id: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(server.stream_url(f"sessions/{session_id}")) as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


async def test_one_session_for_two_tabs_and_another_profile(  # noqa: PLR0917 one argument per real thing
    server: ServerProcess, adapter: AdapterProcess, upstream: ScriptedUpstream, browser: Browser, pictures: Path
) -> None:
    upstream.scripts = {"words": Script(WORDS, delay_s=0.02), "quick": Script()}
    home = await browser.profile()
    ann = await Person.arrive(home, adapter.url, "Ann")
    await ann.say("quick")
    await ann.sees("Hello world")
    session_id = await ann.session()
    shared = f"{adapter.url}/#{session_id}"
    tab = await Person.arrive(home, shared, "Ann")
    bob = await Person.arrive(await browser.profile(), shared, "Bob")
    everybody = [ann, tab, bob]
    for one in everybody:
        await one.sees("Hello world")
        await one.done()

    # Presence and typing.
    await ann.page.until("document.querySelector('#people [title=Bob]')")
    await bob.page.until("document.querySelector('#people [title=Ann]')")
    await bob.page.type("#prompt", "let me")
    await ann.sees("Bob is typing", within="#typing")
    await bob.page.run("document.querySelector('#prompt').value = ''")

    # A turn that is started in one tab appears in all.
    await ann.say("words")
    for one in everybody:
        await one.sees("w3 ")
    assert (await upstream.arrived(2)).end is None, "while it is being said, and without a look back"
    await bob.page.picture(pictures / "chat-answering.png")

    # Reload mid-answer.
    await tab.page.reload()
    await tab.sees("w3 ")
    await tab.connection("Live")

    # The server is killed and started again mid-answer.
    server.kill()
    for one in everybody:
        await one.connection("Reconnecting…")
    await bob.page.picture(pictures / "chat-server-gone.png")
    server.start()
    for one in everybody:
        await one.connection("Live")
    at_restart = int((await bob.texts())[-1].split()[-1][1:])
    await bob.sees(f"w{at_restart + 20} ")

    # Stopped from the other profile.
    await bob.page.click("#stop")
    for one in everybody:
        await one.sees("Stopped by Bob")
        await one.done()
    assert (await upstream.arrived(2)).end == "disconnected"
    shown = [await one.messages() for one in everybody]
    assert shown[0] == shown[1] == shown[2]
    text = shown[0][-1]["text"].split()
    assert text == [f"w{n}" for n in range(len(text))]
    stored = [row["value"] for row in await rows(server, session_id) if row["type"] == "message"][-1]
    assert "".join(part.get("text", "") for part in stored["parts"]).split() == text
    await bob.page.picture(pictures / "chat-stopped.png")
    for one in everybody:
        assert one.page.complaints == []


async def test_every_file_of_the_page_is_asked_for_anew(adapter: AdapterProcess) -> None:
    async with aiohttp.ClientSession() as http:
        for name in ("", "page/app.js", "page/style.css"):
            async with http.get(f"{adapter.url}/{name}") as answer:
                assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")


async def test_another_answer_and_the_list_of_chats(
    adapter: AdapterProcess, upstream: ScriptedUpstream, browser: Browser
) -> None:
    upstream.scripts = {"one": Script([Text("first")]), "two": Script([Text("second")])}
    ann = await Person.arrive(await browser.profile(), adapter.url, "Ann")
    await ann.say("one")
    await ann.sees("first")
    await ann.done()
    first = await ann.session()
    upstream.scripts["one"] = Script([Text("better")])
    await ann.page.click(".message:last-child .foot button")
    await ann.sees("better")
    assert await ann.texts() == ["one", "better"]

    await ann.page.click("#new")
    await ann.page.until("location.hash === '' && !document.querySelector('.message')")
    await ann.say("two")
    await ann.sees("second")
    links = "[...document.querySelectorAll('#sessions a')].map((link) => link.textContent)"
    assert await ann.page.until(f"{links}.length === 2 && {links}") == ["two", "one"]
    await ann.page.run("document.querySelectorAll('#sessions a')[1].click()")
    await ann.sees("better")
    assert await ann.session() == first
    assert await ann.texts() == ["one", "better"]


async def test_an_empty_chat_has_nothing_to_scroll_whatever_its_address(
    adapter: AdapterProcess, browser: Browser
) -> None:
    ann = await Person.arrive(await browser.profile(), f"{adapter.url}/#%E0%A4%A", "Ann")
    scrolls = "document.querySelector('#scroll').scrollHeight > document.querySelector('#scroll').clientHeight"
    assert not await ann.page.run(scrolls)
    await ann.say("quick")
    await ann.sees("Hello world")
    assert await ann.page.run("location.hash.length") == 25
    assert ann.page.complaints == []


async def test_offline_and_back(adapter: AdapterProcess, upstream: ScriptedUpstream, browser: Browser) -> None:
    upstream.scripts = {"quick": Script(), "later": Script([Text("as promised")])}
    ann = await Person.arrive(await browser.profile(), adapter.url, "Ann")
    await ann.say("quick")
    await ann.sees("Hello world")
    await ann.done()
    bob = await Person.arrive(await browser.profile(), f"{adapter.url}/#{await ann.session()}", "Bob")
    await ann.page.offline(offline=True)
    await ann.connection("Offline")
    await ann.say("later")
    await ann.sees("Not sent yet")
    await bob.say("quick")
    await bob.page.until("document.querySelectorAll('.message').length === 4")
    await bob.done()
    await ann.page.offline(offline=False)
    await ann.connection("Live")
    for one in (ann, bob):
        await one.sees("as promised")
        await one.done()
        assert await one.texts() == ["quick", "Hello world", "quick", "Hello world", "later", "as promised"]


@pytest.mark.parametrize("adapter_arguments", [["--presence-ms", "2000"]])
async def test_who_is_alone_adds_nothing_to_the_session(
    server: ServerProcess, adapter: AdapterProcess, browser: Browser
) -> None:
    def times_told(session: list[dict[str, Any]], name: str) -> int:
        values = [row.get("value", {}) for row in session if row["type"] == "presence"]
        return [value.get("name") for value in values].count(name)

    ann = await Person.arrive(await browser.profile(), adapter.url, "Ann")
    await ann.say("quick")
    await ann.sees("Hello world")
    await ann.done()
    session_id = await ann.session()
    assert times_told(await rows(server, session_id), "Ann") == 1
    # It goes on asking whether the service is there; meanwhile what it told the session runs out.
    asked = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/api/config')).length"
    before = await ann.page.run(asked)
    await ann.page.until(f"{asked} >= {before + 4}")
    assert times_told(await rows(server, session_id), "Ann") == 1
    bob = await Person.arrive(await browser.profile(), f"{adapter.url}/#{session_id}", "Bob")
    await bob.page.until("document.querySelector('#people [title=Ann]')")
    await ann.page.until("document.querySelector('#people [title=Bob]')")
    async with asyncio.timeout(HANG_S):
        session = server.stream_url(f"sessions/{session_id}")
        await shows(session, lambda told: times_told(told, "Ann") >= 4 and times_told(told, "Bob") >= 3)


async def test_a_failing_model_says_so(adapter: AdapterProcess, upstream: ScriptedUpstream, browser: Browser) -> None:
    upstream.scripts = {"broken": Script([Text("half")], error_after=2)}
    ann = await Person.arrive(await browser.profile(), adapter.url, "Ann")
    await ann.say("broken")
    await ann.sees("The model failed: ")
    assert "the model's provider reported an error (error " in (await ann.messages())[-1]["foot"]
    upstream.scripts = {"broken": Script([Text("whole")])}
    await ann.page.click(".message:last-child .foot button")
    await ann.sees("whole")


async def test_half_an_answer_says_so(adapter: AdapterProcess, upstream: ScriptedUpstream, browser: Browser) -> None:
    upstream.scripts["half"] = Script(raw=[[sse(delta(content="half of it")), sse(delta("length")), sse("[DONE]")]])
    ann = await Person.arrive(await browser.profile(), adapter.url, "Ann")
    await ann.say("half")
    await ann.sees("Cut off: the model reached its limit of length", within=".message:last-child .foot")
    await ann.sees("Try again", within=".message:last-child .foot")


async def test_markdown_is_shown_and_markup_is_not(  # noqa: PLR0917 as above
    adapter: AdapterProcess, upstream: ScriptedUpstream, browser: Browser, pictures: Path
) -> None:
    parts: list[Said] = [Text(MARKDOWN[at : at + 7]) for at in range(0, len(MARKDOWN), 7)]
    upstream.scripts = {"How do I sort?": Script(parts, delay_s=0.002)}
    home = await browser.profile()
    ann = await Person.arrive(home, adapter.url, "Ann")
    await ann.say("How do I sort?")
    await ann.sees("Measure first")
    await ann.done()
    tags = "[...new Set([...document.querySelectorAll('.assistant .text *')].map((one) => one.localName))].sort()"
    assert " ".join(await ann.page.run(tags)) == TAGS
    links = "[...document.querySelectorAll('.assistant .text a')].map((one) => one.getAttribute('href'))"
    assert await ann.page.run(links) == ["https://docs.python.org/3/"]
    assert "<img src=x" in (await ann.texts())[-1]
    assert await ann.page.run("document.title") == "How do I sort?"
    await ann.page.picture(pictures / "chat.png")
    await ann.page.dark()
    await ann.page.picture(pictures / "chat-dark.png")
    phone = await Person.arrive(home, f"{adapter.url}/#{await ann.session()}", "Ann", size=(390, 760))
    await phone.sees("Measure first")
    await phone.page.picture(pictures / "chat-phone.png")
    assert await phone.page.run("document.documentElement.scrollWidth") <= 390
    listing = "getComputedStyle(document.querySelector('#side')).display !== 'none'"
    assert not await phone.page.run(listing)
    await phone.page.click("#menu")
    assert await phone.page.run(listing)
    await phone.page.picture(pictures / "chat-phone-list.png")
    await phone.page.run("document.elementFromPoint(380, 400).click()")
    assert not await phone.page.run(listing)
    assert ann.page.complaints == []

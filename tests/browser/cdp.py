"""A real Chromium, driven over its own DevTools protocol: profiles, pages, and waiting for what a page shows.

Nothing here sleeps: a page is asked for a promise that is kept when its document has become as expected.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from tests.patience import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

CLOSE_S = 5.0
"""What a browser gets to close; then it is killed, and nothing depends on which it was."""
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    # All pages count as being looked at: a hidden one may draw once a second.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

_UNTIL = """new Promise((kept, broken) => {
  const check = () => { let value; try { value = (%s); } catch (error) { value = null; } return value; };
  const now = check();
  if (now) { kept(now); return; }
  let timer, watcher;
  const look = () => {
    const value = check();
    if (value) { clearInterval(timer); watcher.disconnect(); kept(value); }
  };
  watcher = new MutationObserver(look);
  watcher.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  timer = setInterval(look, 50);
})"""


class PageError(AssertionError):
    """A script in a page threw, or what was waited for did not come."""


class Browser:
    """One Chromium; ``async with`` runs it. ``directory`` keeps its profile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def __aenter__(self) -> Self:
        assert CHROMIUM is not None, "Chromium is missing: run `make environment`"
        self._process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *ARGUMENTS,
            f"--user-data-dir={self._directory}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"HOME": str(self._directory)},
        )
        async with asyncio.timeout(HANG_S):
            address = await self._address()
        self._log = asyncio.create_task(self._drain())
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(address, max_msg_size=0)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        with contextlib.suppress(ConnectionError, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.call("Browser.close")
        await self._socket.close()
        await self._reading
        await self._http.close()
        try:
            await asyncio.wait_for(self._process.wait(), CLOSE_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._log

    async def profile(self) -> Profile:
        """Open a profile of its own: nothing is shared with another's."""
        context = await self.call("Target.createBrowserContext", {"disposeOnDetach": True})
        return Profile(self, context["browserContextId"])

    async def call(
        self, method: str, params: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._ids)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        sent: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            sent["sessionId"] = session
        await self._socket.send_str(json.dumps(sent))
        answer = await future
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def add(self, page: Page) -> None:
        """Let a page hear its events."""
        self._pages[page.session] = page

    async def _address(self) -> str:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            if b"DevTools listening on " in line:
                return line.partition(b"listening on ")[2].strip().decode()
        raise AssertionError("Chromium did not start")

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while await self._process.stderr.read(65_536):
            pass

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                future = self._answers.pop(told["id"])
                if not future.done():
                    future.set_result(told)
            elif told.get("sessionId") in self._pages:
                self._pages[told["sessionId"]].hear(told["method"], told["params"])


class Profile:
    """Its own storage, as another person's browser has it."""

    def __init__(self, browser: Browser, context: str) -> None:
        self._browser, self._context = browser, context

    async def open(self, url: str, *, before: str = "", size: tuple[int, int] = (1200, 800)) -> Page:
        """Open a page in a window of its own: a tab behind another one is not drawn.

        Args:
            url: its address.
            before: a script that runs in each document before the document's own.
            size: of its window, in pixels.
        """
        width, height = size
        target = await self._browser.call(
            "Target.createTarget",
            {"url": "about:blank", "browserContextId": self._context, "newWindow": True},
        )
        attached = await self._browser.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        page = Page(self._browser, attached["sessionId"], target["targetId"])
        self._browser.add(page)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await page.call("Emulation.setDeviceMetricsOverride", screen)
        await page.call("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        await page.call("Page.navigate", {"url": url})
        return page


class Page:
    """One tab. ``complaints`` are the errors its console has shown."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self.session, self._target = browser, session, target
        self.complaints: list[str] = []

    def hear(self, event: str, told: dict[str, Any]) -> None:
        """Keep errors."""
        if event == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error" and told["entry"]["source"] != "network":
            self.complaints.append(told["entry"]["text"])

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call a method of the protocol on this page."""
        return await self._browser.call(method, params, self.session)

    async def run(self, script: str, *, as_user: bool = False) -> Any:  # noqa: ANN401 whatever the script gives
        """Return the value of an expression; a promise's is waited for."""
        given = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": as_user}
        result = await self.call("Runtime.evaluate", given)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    async def until(self, condition: str) -> Any:  # noqa: ANN401 as above
        """Wait until an expression is truthy, and return it. It may be asked of several documents, as pages reload."""
        try:
            async with asyncio.timeout(HANG_S):
                while True:
                    try:
                        return await self.run(_UNTIL % condition)
                    except PageError as error:
                        if "context" not in str(error) and "navigated" not in str(error):
                            raise
        except TimeoutError:
            seen = await self.run("document.body.innerText")
            raise PageError(f"never came: {condition}\n{self.complaints}\n{seen}") from None

    async def text(self, selector: str) -> str:
        """Return an element's text, as it is shown."""
        found: str = await self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return found

    async def click(self, selector: str) -> None:
        """Wait for an element that can be clicked, and click it."""
        chosen = json.dumps(selector)
        await self.until(f"document.querySelector({chosen}) && !document.querySelector({chosen}).disabled")
        await self.run(f"document.querySelector({chosen}).click()", as_user=True)

    async def type(self, selector: str, text: str) -> None:
        """Put the caret into a field and type, as a keyboard does."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", {"text": text})

    async def press(self, key: str, code: int) -> None:
        """Press a key, by its name and number."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": "\r" if key == "Enter" else ""}
        await self.call("Input.dispatchKeyEvent", {"type": "keyDown", **pressed})
        await self.call("Input.dispatchKeyEvent", {"type": "keyUp", **pressed})

    async def offline(self, *, offline: bool) -> None:
        """Cut the page off from the network, or let it back."""
        conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await self.call("Network.emulateNetworkConditions", conditions)

    async def dark(self) -> None:
        """Prefer dark colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        await self.call("Emulation.setEmulatedMedia", {"features": features})

    async def reload(self) -> None:
        """Load the page again."""
        await self.call("Page.reload")

    async def close(self) -> None:
        """Close the tab."""
        await self._browser.call("Target.closeTarget", {"targetId": self._target})

    async def picture(self, file: Path) -> None:
        """Keep what the page looks like."""
        shot = await self.call("Page.captureScreenshot", {"format": "png"})
        await asyncio.to_thread(_keep, file, base64.b64decode(shot["data"]))


def _keep(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)

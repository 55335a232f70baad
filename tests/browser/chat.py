"""A person at the chat page: what they do, and what they see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.browser.cdp import Page, Profile

ENTER = 13

_MESSAGES = """[...document.querySelectorAll('.message')].map((item) => ({
  id: item.dataset.id,
  role: item.classList.contains('user') ? 'user' : 'assistant',
  text: item.querySelector('.parts').innerText.trim(),
  foot: item.querySelector('.foot span')?.textContent ?? '',
}))"""


class Person:
    """One tab of somebody at the chat page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    async def arrive(cls, profile: Profile, url: str, name: str, *, size: tuple[int, int] = (1200, 800)) -> Person:
        """Open the page under a name; wait until it is connected."""
        before = f"if (location.protocol === 'http:') localStorage.setItem('name', {json.dumps(name)});"
        person = cls(await profile.open(url, before=before, size=size))
        await person.connection("Live")
        return person

    async def say(self, text: str) -> None:
        """Write a message and press Enter."""
        await self.page.type("#prompt", text)
        await self.page.press("Enter", ENTER)

    async def connection(self, said: str) -> None:
        """Wait until the page says so of its connection."""
        await self.page.until(f"document.querySelector('#connection').textContent === {json.dumps(said)}")

    async def sees(self, text: str, *, within: str = ".message:last-child") -> None:
        """Wait until a text is shown."""
        await self.page.until(f"document.querySelector('{within}').innerText.includes({json.dumps(text)})")

    async def messages(self) -> list[dict[str, Any]]:
        """Return what is shown: id, role, text and foot of each message."""
        shown: list[dict[str, Any]] = await self.page.run(_MESSAGES)
        return shown

    async def texts(self) -> list[str]:
        return [message["text"] for message in await self.messages()]

    async def done(self) -> None:
        """Wait until nothing is being written and nothing is on its way."""
        await self.page.until(
            "document.querySelector('#stop').hidden && !document.querySelector('.message.live, .message.pending')"
            " && document.querySelector('.message:last-child').classList.contains('assistant')"
        )

    async def session(self) -> str:
        """Wait until the chat has an address, and return its session."""
        session_id: str = await self.page.until("location.hash.slice(1)")
        return session_id

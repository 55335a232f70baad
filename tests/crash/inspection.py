"""Looking at everything that stands, while nobody else asks for anything."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.crash.ledger import Sight
from tests.crash.model import LIVE, Status, stored_form
from tests.crash.wire import ProofError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.crash.wire import Wire

AT_ONCE = 16
LIST_LIMIT = 1_000
UNLISTED = "ttl/"
"""Streams that come and go with time."""


async def look_at_all(wire: Wire, paths: Iterable[str]) -> dict[str, Sight]:
    """Return what stands at each path, all of its bytes included.

    Raises:
        ProofError: answers about one stream contradict each other.
        UnansweredError: the server has gone.
    """
    permits = asyncio.Semaphore(AT_ONCE)

    async def look(path: str) -> Sight:
        async with permits:
            return await _look(wire, path)

    ordered = list(paths)
    return dict(zip(ordered, await asyncio.gather(*map(look, ordered)), strict=True))


async def check_listing(wire: Wire, sights: dict[str, Sight]) -> None:
    """Hold the list of all streams against what was seen: none hidden, none too many, none back from the dead."""
    listed: dict[str, tuple[int, bool]] = {}
    after: str | None = ""
    while after is not None:
        answer = await wire.send("GET", f"__ds/streams?limit={LIST_LIMIT}&after={quote(after, safe='')}")
        page = json.loads(answer.body)
        listed |= {row["path"]: (int(row["next_offset"]), row["closed"]) for row in page["streams"]}
        after = page["next_after"]
    listed = {path: row for path, row in listed.items() if not path.startswith(UNLISTED)}
    seen = {
        path: (len(sight.content), sight.status is Status.CLOSED)
        for path, sight in sights.items()
        if sight.status in LIVE
    }
    if listed != seen:
        raise ProofError(f"listed and not seen, or seen and not listed: {sorted(listed.items() ^ seen.items())}")


async def _look(wire: Wire, path: str) -> Sight:
    head = await wire.send("HEAD", path)
    if head.status != 200:
        read = await wire.send("GET", path)
        if read.status != head.status:
            raise ProofError(f"{path}: HEAD answers {head.status}, GET {read.status}")
        return Sight(Status(head.status))
    content_type = head.headers["Content-Type"]
    content, closed = await _read(wire, path, content_type)
    if (len(content), closed) != (head.next_offset, head.closed):
        told = (head.next_offset, head.closed)
        raise ProofError(f"{path}: HEAD tells {told}, and reading it {(len(content), closed)}")
    status = Status.CLOSED if closed else Status.OPEN
    return Sight(status, content, content_type, head.headers.get("Stream-TTL"))


async def _read(wire: Wire, path: str, content_type: str) -> tuple[bytes, bool]:
    pages: list[bytes] = []
    position = 0
    while True:
        answer = await wire.send("GET", f"{path}?offset={position:016d}")
        if answer.status != 200:
            raise ProofError(f"{path} at {position}: {answer}")
        pages.append(stored_form(content_type, answer.body))
        position += len(pages[-1])
        if answer.next_offset != position:
            raise ProofError(f"{path}: a page up to {position} says that it ends at {answer.next_offset}")
        if "Stream-Up-To-Date" in answer.headers:
            return b"".join(pages), answer.closed
        if not pages[-1]:
            raise ProofError(f"{path}: an empty page at {position}, and not up to date")

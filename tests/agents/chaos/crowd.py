"""People who ask, open pages, read along and stop, and who try again when a process does not answer.

Owns: what people were told: which process took a prompt, and that a stop has stopped something.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from durable_streams.client import astream
from durable_streams.client.retry import PATIENT
from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    import random

    from tests.agents.chaos.fleet import Fleet, Incarnation
    from tests.agents.chaos.prompts import Asked
    from tests.agents.upstream import Request, ScriptedUpstream

AGAIN_S = 0.2
_AWAY = (aiohttp.ClientError, ConnectionError)


@dataclass
class Told:
    """What people were told in a round.

    Attributes:
        taken: by the generation's id, the prompt, and the process that said that it has taken it.
        stopped: the attempts of which somebody was told that a stop has stopped them.
        asked_to_stop: all who ever asked, by the generation's id.
        read: by the stream's address, what somebody read live.
        cancel_ms: how long it took from a stop to the model's server seeing it, while the streams server was away.
    """

    taken: dict[str, tuple[Asked, Incarnation]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    asked_to_stop: dict[str, set[str]] = field(default_factory=dict)
    read: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cancel_ms: list[float] = field(default_factory=list)


class Crowd:
    """All people of a round."""

    def __init__(self, fleet: Fleet, upstream: ScriptedUpstream, asked: list[Asked]) -> None:
        self._fleet, self._upstream, self._asked = fleet, upstream, asked
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
        )
        self.told = Told()
        self._reading: list[asyncio.Task[None]] = []

    async def ask(self, chance: random.Random, asked: Asked) -> None:
        """Post a prompt until it is taken; a few read the answer live."""
        message = {"id": asked.message_id, "role": "user", "parts": [{"type": "text", "text": asked.text}]}
        body = {"id": asked.session_id, "messages": [message]}
        is_reader = chance.random() < 0.3
        while True:
            one = self._fleet.any(chance)
            answer = await self._post(one, "/api/chat", body)
            if answer is not None and answer[0] in {200, 201}:
                break
            await pause(AGAIN_S)
        status, said = answer
        if status == 201:
            self.told.taken[said["generationId"]] = asked, one
        if is_reader:
            self._reading.append(asyncio.create_task(self._read(said["streamUrl"])))

    async def open_pages(self, chance: random.Random) -> None:
        """Open pages of sessions, one after the other, for ever: each has its process look whether a run is lost."""
        while True:
            asked, one = chance.choice(self._asked), self._fleet.any(chance)
            await asyncio.gather(self._get(one, f"/api/chat/{asked.session_id}/stream"), pause(AGAIN_S))

    async def stop(self, one: Incarnation, asked: Asked, gid: str, *, by: str) -> None:
        """Stop a run at a process, which may not answer."""
        self.told.asked_to_stop.setdefault(gid, set()).add(by)
        answer = await self._post(one, f"/api/chat/{asked.session_id}/stop", {"by": by, "generationId": gid})
        if answer is not None and answer[1].get("stopped"):
            self.told.stopped.add(gid)

    def under_way(self, asked: Asked) -> Request | None:
        """Return the model's request that answers a prompt now, once it has begun to say something."""
        for request in self._upstream.requests:
            if request.end is None and request.sent and _asked_for(request, asked.text):
                return request
        return None

    async def readers(self) -> None:
        """Wait until all who read have read to the end."""
        await asyncio.wait_for(asyncio.gather(*self._reading), HANG_S)

    async def close(self) -> None:
        """Send everybody away."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._http.close()

    async def _read(self, url: str) -> None:
        async with astream(url, retry=PATIENT) as response:
            self.told.read[url] = [chunk async for chunk in response.iter_json()]

    async def _post(self, one: Incarnation, path: str, body: object) -> tuple[int, dict[str, Any]] | None:
        try:
            async with self._http.post(f"{one.process.url}{path}", json=body) as answer:
                return answer.status, await answer.json()
        except _AWAY:
            return None

    async def _get(self, one: Incarnation, path: str) -> None:
        try:
            async with self._http.get(f"{one.process.url}{path}") as answer:
                await answer.read()
        except _AWAY:
            pass


def _asked_for(request: Request, text: str) -> bool:
    said = [message["content"] for message in request.body["messages"] if message["role"] == "user"]
    return bool(said) and said[-1] == text

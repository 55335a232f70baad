"""Live readers: they keep what they were shown, and it must all be there afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
from random import Random
from typing import TYPE_CHECKING

from tests.crash.model import stored_form
from tests.crash.payloads import BYTES
from tests.crash.wire import ProofError, UnansweredError

if TYPE_CHECKING:
    from tests.crash.actor import Stage
    from tests.crash.model import Stream


class Follower:
    """Reads one stream from its beginning, by long-poll or server-sent events, through all crashes.

    position: up to where the server told it to go on. It is moved by nothing else.
    """

    def __init__(self, stage: Stage, name: str, stream: Stream) -> None:
        """``stream`` exists and stays."""
        self._wire, self._stream, self.path = stage.wire, stream, stream.path
        self._rng = Random(f"{stage.seed}/{name}")
        self._name = name
        self.position = 0
        self._shown: list[tuple[int, bytes]] = []
        self._shown_bytes = 0
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with self._wire.turnstile:
                    await (self._events() if self._rng.random() < 0.6 else self._polls())
            except UnansweredError:
                continue

    async def reach(self, position: int) -> None:
        """Return once everything up to a position was shown."""
        while self.position < position:
            self._moved.clear()
            await self._moved.wait()

    def check(self, content: bytes) -> None:
        """Find everything that was shown where it was shown.

        Raises:
            ProofError: a crash took back what a reader had seen, or a reader was shown something else.
        """
        for start, seen in self._shown:
            if content[start : start + len(seen)] != seen:
                raise ProofError(
                    f"{self._name} was shown {len(seen)} bytes at {start} of {self._stream.path}: gone now"
                )
        self._shown.clear()

    async def _polls(self) -> None:
        for _ in range(self._rng.randint(1, 50)):
            answer = await self._wire.send("GET", f"{self._stream.path}?offset={self.position:016d}&live=long-poll")
            if answer.status == 200:
                self._show(stored_form(self._stream.content_type, answer.body))
            elif answer.status != 204:
                raise ProofError(f"{self._name}: {answer}")
            self._go_on(answer.next_offset)

    async def _events(self) -> None:
        self._shown_bytes = 0  # what came without its control event is shown again
        held = b""
        async for piece in self._wire.stream(f"{self._stream.path}?offset={self.position:016d}&live=sse"):
            *events, held = (held + piece).split(b"\n\n")
            for event in events:
                self._take(event)
        raise UnansweredError

    def _take(self, event: bytes) -> None:
        fields = [line.partition(b":")[::2] for line in event.split(b"\n")]
        kind = b"".join(value.strip() for name, value in fields if name == b"event")
        text = b"\n".join(value.removeprefix(b" ") for name, value in fields if name == b"data")
        if kind == b"data":
            payload = base64.b64decode(text) if self._stream.content_type == BYTES else text
            self._show(stored_form(self._stream.content_type, payload))
        elif kind == b"control":
            self._go_on(int(json.loads(text)["streamNextOffset"]))

    def _show(self, seen: bytes) -> None:
        self._shown.append((self.position, seen))
        self._shown_bytes = len(seen)

    def _go_on(self, position: int) -> None:
        if position != self.position + self._shown_bytes:
            raise ProofError(f"{self._name} at {self.position} was shown {self._shown_bytes} and sent on to {position}")
        self.position, self._shown_bytes = position, 0
        self._moved.set()

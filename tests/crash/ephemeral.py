"""Streams with a short TTL: they outlive any crash, and die on time, no sooner and no later."""

from __future__ import annotations

import time

from tests.crash.actor import Actor
from tests.crash.payloads import BYTES
from tests.crash.wire import Answer, ProofError, UnansweredError
from tests.patience import pause

TICK_S = 0.002
"""Clocks here and there are one clock, but the server's counts whole milliseconds."""
LOOK_S = 0.03


class Ephemeral(Actor):
    """Creates a stream that lives a second or two, keeps it alive for a while, and watches it die.

    The stream must be there until ``_safe_until``: its TTL after the sending of the last write that was acknowledged.
    It must be gone from ``_dead_from`` on: its TTL after the last moment at which any write can have been obeyed.
    """

    async def turn(self) -> None:
        """One life."""
        self._number += 1
        self._path, self._ttl_s = f"ttl/{self.name}/{self._number % 3}", self.rng.choice((1, 2))
        self._safe_until = self._dead_from = 0.0
        await self._create()
        for _ in range(self.rng.randrange(4)):
            await pause(self.rng.uniform(0, 0.7) * self._ttl_s)  # a TTL is about time that passes
            await self._touch()
        while await self._lives():  # nothing else tells when a stream is gone
            await pause(LOOK_S)

    async def _create(self) -> None:
        first_sent_s = None
        while True:
            sent_s, answer = await self._send("PUT", {"Content-Type": BYTES, "Stream-TTL": str(self._ttl_s)})
            first_sent_s = first_sent_s or sent_s
            if answer is None:
                continue
            expected = {201} if first_sent_s == sent_s else {200, 201}
            if answer.status not in expected:
                raise ProofError(f"{self._path}: created again after its end, and got {answer}")
            created_s = sent_s if answer.status == 201 else first_sent_s
            self._safe_until = created_s + self._ttl_s
            return

    async def _touch(self) -> None:
        sent_s, answer = await self._send("POST", {"Content-Type": BYTES}, b"still here\n")
        if answer is None:
            return
        if answer.status == 204:
            self._safe_until = max(self._safe_until, sent_s + self._ttl_s)
        else:
            self._check_gone(answer, time.time())

    async def _lives(self) -> bool:
        sent_s, answer = await self._send("HEAD", {})
        if answer is None:
            return True
        if answer.status != 200:
            self._check_gone(answer, time.time())
            return False
        if sent_s > self._dead_from + TICK_S:
            raise ProofError(f"{self._path} still stands {sent_s - self._dead_from:.3f} s after its end")
        return True

    def _check_gone(self, answer: Answer, answered_s: float) -> None:
        if answer.status != 404:
            raise ProofError(f"{self._path}: {answer}")
        if answered_s < self._safe_until - TICK_S:
            raise ProofError(f"{self._path} is gone {self._safe_until - answered_s:.3f} s too early")

    async def _send(
        self, method: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[float, Answer | None]:
        async with self.wire.turnstile:
            sent_s = time.time()
            try:
                answer = await self.wire.send(method, self._path, headers=headers, body=body)
            except UnansweredError:
                answer = None
        if method != "HEAD" and (answer is None or answer.status < 300):
            self._dead_from = max(self._dead_from, time.time() + self._ttl_s)
        return sent_s, answer

"""Which webhooks are under way: each wake once at a time, a bounded number at once.

Owns: the queue of waking subscriptions, and the tasks. Must not know: the wire, the states.
Invariant: a wake offered is sent, or its subscription comes back by its deadline; being forgotten here loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.protocol.errors import StreamError
from durable_streams.protocol.subscription_config import PREFIX

if TYPE_CHECKING:
    from durable_streams.delivery.webhooks import WebhookClient
    from durable_streams.protocol.subscription import Event
    from durable_streams.subscriptions.service import Subscriptions
    from durable_streams.subscriptions.wake_commands import Attempt

DELIVERIES_MAX: Final = 128
"""Webhooks under way at once; others wait."""
_log = structlog.get_logger(__name__)


class Dispatcher:
    """Delivers wakes. The loop's thread only."""

    def __init__(self, subscriptions: Subscriptions, client: WebhookClient) -> None:
        self._subscriptions, self._client = subscriptions, client
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._under_way: set[tuple[str, int, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def offer(self, path: str) -> None:
        """A subscription is waking; does nothing if it is queued already."""
        if path in self._queued or self._closed:
            return
        self._queued.add(path)
        self._queue.append(path)
        self._start_more()

    async def close(self) -> None:
        """Cut what is under way; it is still waking in the store and will be delivered after the next start."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._client.close()

    def _start_more(self) -> None:
        while self._queue and len(self._tasks) < DELIVERIES_MAX:
            path = self._queue.popleft()
            self._queued.discard(path)
            task = asyncio.get_running_loop().create_task(self._deliver(path))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("a delivery failed in an unforeseen way", exc_info=fault)
        if not self._closed:
            self._start_more()

    async def _deliver(self, path: str) -> None:
        found = self._subscriptions.attempt(path)
        if found is None:
            return
        subscription, attempt = found
        key = (path, attempt.sid, attempt.generation)
        if key in self._under_way:
            return
        self._under_way.add(key)
        try:
            event = await self._client.send(path.removeprefix(PREFIX), subscription, attempt)
            await self._report(path, attempt, event)
        finally:
            self._under_way.discard(key)

    async def _report(self, path: str, attempt: Attempt, event: Event) -> None:
        settled: asyncio.Future[bool | StreamError] = asyncio.get_running_loop().create_future()

        def settle(outcome: bool | StreamError) -> None:  # noqa: FBT001 what the command settles with
            if not settled.done():
                settled.set_result(outcome)

        self._subscriptions.submit_report(path, attempt, event, settle=settle)
        outcome = await settled
        if isinstance(outcome, StreamError):
            _log.warning("a delivery could not be noted", subscription=path.removeprefix(PREFIX), error=str(outcome))

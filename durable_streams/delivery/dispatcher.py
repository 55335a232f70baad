"""Which webhooks are under way: each wake once at a time, a bounded number at once, of each host and in all.

Owns: the tasks. Must not know: the wire, the states.
Invariants: a wake taken is sent, or its subscription comes back by its deadline; being forgotten here loses nothing. No
fault of ours ends deliveries.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.protocol.errors import StreamError
from durable_streams.protocol.subscription import Event
from durable_streams.protocol.subscription_config import PREFIX

if TYPE_CHECKING:
    from durable_streams.delivery.webhooks import WebhookClient
    from durable_streams.subscriptions.service import Subscriptions
    from durable_streams.subscriptions.wake_commands import Attempt
    from durable_streams.subscriptions.waking import Wake, WakingQueue

DELIVERIES_MAX: Final = 512
"""Webhooks under way at once; others wait."""
AGAIN_S: Final = 0.1
"""After a fault of ours, wakes are taken again so much later: one that stays must not keep the loop busy."""
_log = structlog.get_logger(__name__)


class Dispatcher:
    """Delivers wakes once started. The loop's thread only."""

    def __init__(self, waking: WakingQueue, subscriptions: Subscriptions, client: WebhookClient) -> None:
        self._waking, self._subscriptions, self._client = waking, subscriptions, client
        self._slots = asyncio.Semaphore(DELIVERIES_MAX)
        self._under_way: set[tuple[str, int, int]] = set()
        self._tasks: set[asyncio.Task[Event | None]] = set()
        self._taking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Deliver from now on, in a task of its own."""
        self._taking = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Cut what is under way; it is still waking in the store and will be delivered after the next start."""
        ending = {*self._tasks, *([self._taking] if self._taking is not None else [])}
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        await self._client.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._take()
            except Exception:  # noqa: BLE001 whatever it is, deliveries go on
                _log.critical("taking wakes failed; it is begun anew", exc_info=True)
                await asyncio.sleep(AGAIN_S)

    async def _take(self) -> None:
        """Begin one delivery after another, each with a slot of its own."""
        while True:
            await self._slots.acquire()
            try:
                wake = await self._waking.take()
            except BaseException:
                self._slots.release()
                raise
            task = asyncio.get_running_loop().create_task(self._deliver(wake.path))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, wake))

    def _ended(self, wake: Wake, task: asyncio.Task[Event | None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        event = None
        if not task.cancelled():
            fault = task.exception()
            event = None if fault is not None else task.result()
            if fault is not None:
                _log.error("a delivery failed in an unforeseen way", exc_info=fault)
        self._waking.give_back(wake, failed=None if event is None else event is Event.FAILED)

    async def _deliver(self, path: str) -> Event | None:
        """Send what is due now, and return how it went; ``None`` for nothing to send.

        What is under way already is not sent beside itself, and its report decides.
        """
        found = self._subscriptions.attempt(path)
        if found is None:
            return None
        subscription, attempt = found
        key = (path, attempt.sid, attempt.generation)
        if key in self._under_way:
            return None
        self._under_way.add(key)
        try:
            event = await self._client.send(path.removeprefix(PREFIX), subscription, attempt)
            await self._report(path, attempt, event)
        finally:
            self._under_way.discard(key)
        return event

    async def _report(self, path: str, attempt: Attempt, event: Event) -> None:
        settled: asyncio.Future[bool | StreamError] = asyncio.get_running_loop().create_future()

        def settle(outcome: bool | StreamError) -> None:  # noqa: FBT001 what the command settles with
            if not settled.done():
                settled.set_result(outcome)

        self._subscriptions.submit_report(path, attempt, event, settle=settle)
        outcome = await settled
        if isinstance(outcome, StreamError):
            _log.warning("a delivery could not be noted", subscription=path.removeprefix(PREFIX), error=str(outcome))

"""Webhook subscriptions that are waking, between the commit that woke them and whoever delivers.

Owns: the order of waiting, and how many go to one host at once. Must not know: the wire. Invariant: a path waits at
most once; being forgotten here loses nothing, for its subscription comes back by its deadline.

A receiver that does not answer holds its slot until its time is over. So each host has slots of its own, and who failed
at its last attempt waits in a line of its own, of which only some go at once: the others pass by it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final, NamedTuple

HOST_MAX: Final = 64
"""Deliveries to one host at once."""
FAILING_MAX: Final = 64
"""Deliveries at once of those that failed at their last attempt, over all hosts."""
FAILED_MAX: Final = 16_384
"""Subscriptions whose failure is remembered; of more, the one that failed longest ago is taken for sound."""


class Wake(NamedTuple):
    """A path that was taken, and the slot that it holds. failing: it failed at its last attempt."""

    path: str
    host: str
    failing: bool


class _Line:
    """Paths that wait, by host, and the hosts that have a slot for one of them: each host in its turn."""

    def __init__(self) -> None:
        self.paths: dict[str, deque[str]] = {}
        self.ready: OrderedDict[str, None] = OrderedDict()

    def add(self, host: str, path: str, *, has_slot: bool) -> None:
        self.paths.setdefault(host, deque()).append(path)
        if has_slot:
            self.ready.setdefault(host)

    def take(self) -> tuple[str, str]:
        host, _ = self.ready.popitem(last=False)
        path = self.paths[host].popleft()
        if not self.paths[host]:
            del self.paths[host]
        return path, host

    def refresh(self, host: str, *, has_slot: bool) -> None:
        """A host has one slot more or less than before."""
        if host not in self.paths or not has_slot:
            self.ready.pop(host, None)
        else:
            self.ready.setdefault(host)


class WakingQueue:
    """The loop's thread only."""

    def __init__(self) -> None:
        self._sound, self._failing = _Line(), _Line()
        self._waiting: set[str] = set()
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._under_way: dict[str, int] = {}
        self._failing_count = 0
        self._changed = asyncio.Event()

    def offer(self, path: str, host: str = "") -> None:
        """Put a path at the end of its line; does nothing if it waits already.

        Args:
            path: the subscription's.
            host: that its webhooks go to.
        """
        if path not in self._waiting:
            self._waiting.add(path)
            line = self._failing if path in self._failed else self._sound
            line.add(host, path, has_slot=self._has_slot(host))
            self._changed.set()

    async def take(self) -> Wake:
        """Wait for a path whose host has a slot, sound ones first, and remove it. Cancellation loses none."""
        while (line := self._next()) is None:
            self._changed.clear()
            await self._changed.wait()
        path, host = line.take()
        self._waiting.discard(path)
        self._under_way[host] = self._under_way.get(host, 0) + 1
        failing = line is self._failing
        self._failing_count += failing
        self._refresh(host)
        return Wake(path, host, failing)

    def give_back(self, wake: Wake, *, failed: bool | None) -> None:
        """A delivery is over, and its slot free. ``failed``: how it ended, ``None`` if it says nothing of the host."""
        if failed is not None:
            self._failed.pop(wake.path, None)
        if failed:
            self._failed[wake.path] = None
            if len(self._failed) > FAILED_MAX:
                self._failed.popitem(last=False)
        self._under_way[wake.host] -= 1
        if not self._under_way[wake.host]:
            del self._under_way[wake.host]
        self._failing_count -= wake.failing
        self._refresh(wake.host)
        self._changed.set()

    def _next(self) -> _Line | None:
        if self._sound.ready:
            return self._sound
        return self._failing if self._failing.ready and self._failing_count < FAILING_MAX else None

    def _has_slot(self, host: str) -> bool:
        return self._under_way.get(host, 0) < HOST_MAX

    def _refresh(self, host: str) -> None:
        for line in (self._sound, self._failing):
            line.refresh(host, has_slot=self._has_slot(host))

"""Webhook subscriptions that are waking, between the commit that woke them and whoever delivers.

Owns: the order of waiting. Must not know: the wire. Invariant: a path waits at most once; being forgotten here loses
nothing, for its subscription comes back by its deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque


class WakingQueue:
    """Paths of waking subscriptions, first come, first served. The loop's thread only."""

    def __init__(self) -> None:
        self._paths: deque[str] = deque()
        self._waiting: set[str] = set()
        self._filled = asyncio.Event()

    def offer(self, path: str) -> None:
        """Put a path at the end; does nothing if it waits already."""
        if path not in self._waiting:
            self._waiting.add(path)
            self._paths.append(path)
            self._filled.set()

    async def take(self) -> str:
        """Wait for the first path and remove it. Cancellation loses none."""
        while not self._paths:
            self._filled.clear()
            await self._filled.wait()
        path = self._paths.popleft()
        self._waiting.discard(path)
        return path

"""Messages that say when they were sent, and how they are found again in whatever a server makes of them.

``@t`` + 16 digits of microseconds (the system-wide monotonic clock) + ``n`` + 9 digits of a number: plain characters,
so that every encoding of text and JSON leaves them as they are.
"""

from __future__ import annotations

import time
from typing import NamedTuple

MARK = b"@t"
STAMP_BYTES = 28


def now_us() -> int:
    return time.monotonic_ns() // 1000


def stamp(number: int) -> str:
    return f"@t{now_us():016}n{number:09}"


class Arrivals:
    """Counts the stamps that one reader receives. ``total``: sum of their numbers, to tell loss from doubling."""

    __slots__ = ("_carry", "count", "total")

    def __init__(self) -> None:
        self._carry = b""
        self.count = self.total = 0

    def feed(self, arrived: bytes, latencies_ms: list[float]) -> int:
        """Take bytes; return how many messages they completed."""
        buffer = self._carry + arrived if self._carry else arrived
        at, found = buffer.find(MARK), 0
        received_us = 0
        while at >= 0 and at + STAMP_BYTES <= len(buffer):
            received_us = received_us or now_us()
            latencies_ms.append((received_us - int(buffer[at + 2 : at + 18])) / 1000)
            self.total += int(buffer[at + 19 : at + 28])
            found += 1
            at = buffer.find(MARK, at + STAMP_BYTES)
        self._carry = buffer[at:] if at >= 0 else buffer[-1:]
        self.count += found
        return found


class Expected(NamedTuple):
    """What every reader must have received in the end: ``count`` messages numbered from 0."""

    count: int

    @property
    def total(self) -> int:
        return self.count * (self.count - 1) // 2

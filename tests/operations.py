"""Counting what a piece of code does, where somebody might have measured how long it takes.

A count is the same on every machine and at every load. Functions of the interpreter's own modules count as one, however
long they run: what they are given has to be bounded beside it.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@dataclass
class Count:
    """``calls``: of functions in Python and in C, and generators resumed, by this thread since the block began."""

    calls: int = 0


@contextmanager
def counted_calls() -> Iterator[Count]:
    """Count the calls that this thread makes until the block ends."""
    count = Count()

    def on_event(_frame: FrameType, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            count.calls += 1

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        yield count
    finally:
        sys.setprofile(before)


@dataclass
class Room:
    """``peak_bytes``: the most memory that Python's allocators held at once for what the block did."""

    peak_bytes: int = 0


@contextmanager
def watched_room() -> Iterator[Room]:
    """Watch how much memory the block needs: a parser that makes objects of values needs many times its input."""
    room = Room()
    tracemalloc.start()
    try:
        yield room
    finally:
        room.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@dataclass
class Effort:
    """``thread_s``: processor time of this thread. Good for one thing: another effort in the same run, by a factor."""

    thread_s: float = 0.0


@contextmanager
def effort() -> Iterator[Effort]:
    """Measure a block, to be compared with a smaller input's where no count sees the work: copies of bytes, say."""
    spent = Effort()
    began_s = time.thread_time()
    try:
        yield spent
    finally:
        spent.thread_s = time.thread_time() - began_s

"""The model of the whole server: what stands at every path, and which requests are still unanswered.

A request that changes something is entered before it is sent. After a crash, when nobody asks for anything, every
stream is looked at, and each unanswered request must turn out obeyed, in all it asked for, or not obeyed, in all of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tests.crash.model import LIVE, Fate, Status
from tests.crash.wire import ProofError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.crash.model import Stream, Write
    from tests.crash.wire import Answer


@dataclass(eq=False, slots=True)
class Op:
    """One request of a writer, and what must come of it.

    fresh: the statuses of its first answer.
    again: the status when it is sent again after it was obeyed and not answered; ``None`` if it must not be sent again.
    after: what stands at which path once it was obeyed.
    write: what it appends; refused for good by an answer of 400 or more.
    closes: the stream that it closes.
    predecessor: the request of the same producer before it; a gap may be reported only until that one is answered.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    fresh: frozenset[int] = frozenset()
    again: int | None = None
    after: Mapping[str, Status] = field(default_factory=dict)
    write: Write | None = None
    closes: Stream | None = None
    predecessor: asyncio.Future[None] | None = None


class Sight(NamedTuple):
    """What was seen at a path. ``content`` is empty unless the stream is live."""

    status: Status
    content: bytes = b""
    content_type: str = ""
    ttl: str | None = None


@dataclass(slots=True)
class Tally:
    """How much was proved: rounds begun, requests and how they ended, deaths of a fault before its round."""

    rounds: int = 0
    answered: int = 0
    obeyed_unanswered: int = 0
    lost_unanswered: int = 0
    early_deaths: int = 0


class Ledger:
    """Streams, what stands where, and requests under way."""

    def __init__(self) -> None:
        """Nothing stands."""
        self.streams: dict[str, Stream] = {}
        self.world: dict[str, Status] = {}
        self.tally = Tally()
        self._under_way: dict[Op, asyncio.Future[bool]] = {}
        self._settled = asyncio.Event()

    def begin(self, op: Op) -> asyncio.Future[bool]:
        """Enter a request that is about to be sent; the future tells after a crash whether it was obeyed."""
        for path in op.after:
            self.world.setdefault(path, Status.ABSENT)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._under_way[op] = future
        return future

    def postpone(self, op: Op) -> None:
        """Take back a request that was refused for the time being."""
        del self._under_way[op]

    def settle(self, op: Op, answer: Answer, *, obeyed: bool) -> None:
        """Take the answer for a fact. ``obeyed``: an earlier sending of the request was seen to be obeyed."""
        del self._under_way[op]
        self.tally.answered += 1
        self._settled.set()
        refused = answer.status >= 400 and not obeyed
        if op.write is not None and op.write.fate is not Fate.STANDS:
            op.write.fate = Fate.NEVER if refused else Fate.STANDS
            op.write.end = None if refused else answer.next_offset
        if refused:
            return
        self.world.update(op.after)
        if op.closes is not None:
            op.closes.final = answer.next_offset

    async def answers(self, count: int) -> None:
        """Return once so many requests have been answered."""
        while self.tally.answered < count:
            self._settled.clear()
            await self._settled.wait()

    def observe(self, sights: Mapping[str, Sight]) -> None:
        """Hold what is seen at every path against the model, and decide all requests under way.

        Raises:
            ProofError: the two do not agree.
        """
        for path, sight in sights.items():
            allowed = {self.world[path], *(op.after[path] for op in self._under_way if path in op.after)}
            if sight.status not in allowed:
                raise ProofError(f"{path} is {sight.status.name}, expected {[status.name for status in allowed]}")
            if sight.status in LIVE:
                self._compare(self.streams[path], sight)
        for op, future in self._under_way.items():
            future.set_result(self._decide(op, sights))
        self._under_way.clear()

    def _compare(self, stream: Stream, sight: Sight) -> None:
        expected = (stream.content_type, None if stream.ttl_s is None else str(stream.ttl_s))
        if (sight.content_type, sight.ttl) != expected:
            raise ProofError(f"{stream.path} is a {sight.content_type} with TTL {sight.ttl}, expected {expected}")
        stream.compare(sight.content)

    def _decide(self, op: Op, sights: Mapping[str, Sight]) -> bool:
        """Return whether an unanswered request was obeyed: everything it asked for says so, or nothing does."""
        signs = [sights[path].status is status for path, status in op.after.items() if self.world[path] is not status]
        if op.write is not None:
            signs.append(op.write.fate is Fate.STANDS)
        if len(set(signs)) > 1:
            raise ProofError(f"half obeyed: {op.method} {op.path} {dict(op.headers)}, {signs}")
        obeyed = any(signs)
        if signs and obeyed:
            self.tally.obeyed_unanswered += 1
            self.world.update(op.after)
        elif signs:
            self.tally.lost_unanswered += 1
            if op.write is not None and op.again is None:
                op.write.fate = Fate.NEVER
        return obeyed

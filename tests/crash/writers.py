"""Writers to streams that stay: producers, plain appenders, and those who use ``Stream-Seq``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.crash.actor import CLOSING, DUPLICATE, Actor, Session
from tests.crash.ledger import Op
from tests.crash.model import Status, Stream
from tests.crash.payloads import CONTENT_TYPES, JSON

if TYPE_CHECKING:
    from tests.crash.actor import Stage

WINDOW = 8
"""Requests that a pipelining producer has under way at a time."""
DIED_SHARE = 0.3
"""How often a producer that meets a crash is one that died with it."""


class Plain(Actor):
    """Appends without any triple to one shared stream."""

    def __init__(self, stage: Stage, name: str, stream: Stream) -> None:
        """``stream`` exists and stays open."""
        super().__init__(stage, name)
        self.stream = stream

    async def turn(self) -> None:
        """Append once."""
        await self.act(self.append(self.stream))


class Producer(Actor):
    """An idempotent producer with one request at a time; some die in a crash and come back in a new epoch."""

    def __init__(self, stage: Stage, name: str, stream: Stream) -> None:
        """``stream`` exists and stays open."""
        super().__init__(stage, name)
        self.session = Session(self, stream)

    async def turn(self) -> None:
        """Append once, and after a crash perhaps start anew."""
        generation = self.wire.turnstile.generation
        op = self.session.append()
        if self.rng.random() < DIED_SHARE:
            op.again = None
        died = await self.act(op) is None
        if died or (self.wire.turnstile.generation != generation and self.rng.random() < DIED_SHARE):
            await self._start_anew()
        elif self.rng.random() < 0.02:
            await self._send_out_of_turn()

    async def _start_anew(self) -> None:
        stale = self.session.triple()
        self.session.restart()
        await self.act(self.session.append())
        await self.act(self._refused(stale, 403))

    async def _send_out_of_turn(self) -> None:
        """Leave a gap: refused, with nothing written and nothing remembered."""
        skipped = self.session.seq + 1
        await self.act(self._refused(self.session.triple() | {"Producer-Seq": str(skipped)}, 409))
        self.session.seq -= 1

    def _refused(self, triple: dict[str, str], status: int) -> Op:
        write = self.next_write(self.session.stream)
        return Op("POST", self.session.stream.path, triple, write.payload.body, fresh=frozenset({status}), write=write)


class Pipeliner(Actor):
    """An idempotent producer with several requests under way, over connections that may overtake one another."""

    def __init__(self, stage: Stage, name: str, stream: Stream) -> None:
        """``stream`` exists and stays open."""
        super().__init__(stage, name)
        self.session = Session(self, stream)

    async def turn(self) -> None:
        """Send a window of appends at once, and wait for all of them."""
        before: asyncio.Future[None] | None = None
        async with asyncio.TaskGroup() as group:
            for _ in range(self.rng.randint(2, WINDOW)):
                op = self.session.append()
                op.predecessor, before = before, asyncio.get_running_loop().create_future()
                group.create_task(self._send(op, before))

    async def _send(self, op: Op, done: asyncio.Future[None]) -> None:
        await self.act(op)
        done.set_result(None)


class Sequencer(Actor):
    """Appends under ``Stream-Seq`` to a stream of its own: a copy that was obeyed is refused the second time."""

    async def run(self) -> None:
        """Create the stream first."""
        self.stream = Stream(f"seq/{self.name}", JSON)
        await self.act(self.creation(self.stream, with_body=True))
        await super().run()

    async def turn(self) -> None:
        """Append under the next sequence number."""
        op = self.append(self.stream)
        op.headers = {**op.headers, "Stream-Seq": f"{self._number:012d}"}
        op.again = 409
        await self.act(op)


class Creator(Actor):
    """Creates one stream after another, writes to all of them, and deletes the oldest."""

    KEPT = 40

    async def run(self) -> None:
        """Keep the streams that stand."""
        self.kept: list[Stream] = []
        await super().run()

    async def turn(self) -> None:
        """Create, append or delete."""
        if not self.kept or self.rng.random() < 0.4:
            await self._create()
        await self.act(self.append(self.rng.choice(self.kept)))
        if len(self.kept) > self.KEPT:
            await self.act(self.deletion(self.kept.pop(0)))

    async def _create(self) -> None:
        ttl_s = self.rng.choice((None, None, 86_400))
        stream = Stream(f"many/{self.name}/{self._number}", self.rng.choice(CONTENT_TYPES), ttl_s)
        await self.act(self.creation(stream, with_body=self.rng.random() < 0.5))
        self.kept.append(stream)


class Closer(Actor):
    """Ends one stream after another with a last append: both or neither must stand."""

    async def turn(self) -> None:
        """Create a stream, end it, and mostly delete it."""
        self._number += 1
        stream = Stream(f"closed/{self.name}/{self._number}", self.rng.choice(CONTENT_TYPES))
        await self.act(self.creation(stream))
        if self.rng.random() < 0.5:
            last = Session(self, stream).append(close=True)
        else:
            last = self.append(stream)
            last.headers, last.again = {**last.headers, **CLOSING}, 409
            last.after, last.closes = {stream.path: Status.CLOSED}, stream
        await self.act(last)
        if self.rng.random() < 0.8:
            await self.act(self.deletion(stream))


class CloseRace(Actor):
    """Closes a stream while others append to it: what was acknowledged stands before the end, the rest is refused."""

    RIVALS = 5

    def __init__(self, stage: Stage, name: str) -> None:
        """Each rival is a writer of its own: nothing orders requests that are under way together."""
        super().__init__(stage, name)
        self.rivals = [Actor(stage, f"{name}{k}") for k in range(self.RIVALS)]

    async def turn(self) -> None:
        """Create, let all rivals run into the close, and find the end where it was announced."""
        self._number += 1
        stream = Stream(f"race/{self.name}/{self._number}", self.rng.choice(CONTENT_TYPES))
        await self.act(self.creation(stream))
        close = Op(
            "POST",
            stream.path,
            {"Stream-Closed": "true"},
            fresh=frozenset({DUPLICATE}),
            again=DUPLICATE,
            after={stream.path: Status.CLOSED},
            closes=stream,
        )
        async with asyncio.TaskGroup() as group:
            for rival in self.rivals:
                append = rival.append(stream)
                append.fresh = frozenset({204, 409})
                group.create_task(rival.act(append))
            group.create_task(self.act(close))
        late = self.append(stream)
        late.fresh = frozenset({409})
        await self.act(late)

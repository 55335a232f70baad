"""What all rules stand on: one server, one model, requests compared, long-polls in waiting, and lifetimes settled."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from durable_streams.runtime.clock import ManualClock
from tests.model.expected import PAGE_MAX_BYTES, Expected, Judge, refused
from tests.model.model import Model
from tests.model.serving import NEVER_MS, Served
from tests.model.strategies import PATHS
from tests.model.streams import Life
from tests.model.wire import Request

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from tests.model.streams import Body, Stream
    from tests.model.wire import Reply, Wire

T = TypeVar("T")
SHORT_POLL_MS = 5


@dataclass(frozen=True)
class Poll:
    """A long-poll that waits at a tail. `relative`: it asked for `now`."""

    wire: Wire
    stream: Stream
    position: int
    echoed: str
    relative: bool


class Harness(RuleBasedStateMachine):
    """Drives one server and one model. Subclasses name the engine."""

    engine: Literal["lmdb", "memory"]
    restartable = False

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._directory = Path(tempfile.mkdtemp(prefix="durable-streams-model-"))
        self.clock = ManualClock()
        self.model = Model(self.clock)
        self.judge = Judge()
        self.polls: list[Poll] = []
        self.served: Served | None = None

    def serve(self, *, patient: bool, lane: bool) -> None:
        """A patient server's polls end only by what happens to the stream; an impatient one's also by time."""
        self.patient = patient
        timeout_ms = NEVER_MS if patient else SHORT_POLL_MS
        self.served = Served(
            self.engine, self._directory / "data", self.clock, lane=lane, long_poll_timeout_ms=timeout_ms
        )
        self.run(self.served.start())

    def teardown(self) -> None:
        """Read every stream to its end, drain, and check the store; after a failure only clean up."""
        try:
            if self.served is not None and sys.exc_info()[0] is None:
                for path in sorted(self.model.streams):
                    self.read_to_the_end(path)
                self.stop()
                self.served.check()
        finally:
            if self.served is not None and self.served.running:
                self.run(self.served.stop())
            for poll in self.polls:
                self.run(poll.wire.close())
            self._runner.close()
            shutil.rmtree(self._directory)

    # --- asking ---

    @property
    def server(self) -> Served:
        assert self.served is not None
        return self.served

    def path(self, place: int) -> str:
        """Return the path that a `PLACES` number means now: of a stream, or, for the highest numbers, any."""
        known = sorted(self.model.streams)
        return known[place % len(known)] if known and place < 20 else PATHS[place % len(PATHS)]

    def free_path(self, place: int) -> str:
        """Return the path that a `PLACES` number means now: of no stream, or, for the highest numbers, any."""
        free = [path for path in PATHS if path not in self.model.streams]
        return free[place % len(free)] if free and place < 21 else PATHS[place % len(PATHS)]

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(what)

    def ask(self, request: Request, expected: Expected) -> Reply:
        reply = self.run(self.server.wire.ask(request))
        self.check(reply, expected)
        return reply

    def check(self, reply: Reply, expected: Expected) -> None:
        self.judge.check(reply, expected, now_ms=self.model.now_ms)

    def fitting(self, path: str, body: tuple[Body, Body]) -> tuple[Body, str]:
        """Return the one of the two bodies that the stream takes, and the content type to send it with."""
        stream = self.model.living(path)
        if stream is None:
            return body[1], "text/plain"
        return body[0 if stream.is_json else 1], stream.content_type

    def read_to_the_end(self, path: str) -> None:
        """Everything in one answer, and by pages from the beginning, every one compared."""
        self.ask(Request("GET", path), self.model.read(path, 0))
        expected, offset = self.model.read(path, 0, max_bytes=PAGE_MAX_BYTES), "-1"
        while True:
            query = {"offset": offset, "max-bytes": str(PAGE_MAX_BYTES)}
            reply = self.ask(Request("GET", path, query=query), expected)
            if reply.status != 200 or "stream-up-to-date" in reply.headers:
                return
            offset = reply.headers["stream-next-offset"]
            position = self.model.streams[path].tokens.position(offset)
            assert position is not None
            expected = self.model.read(path, position, max_bytes=PAGE_MAX_BYTES)

    def read_the_last(self, path: str, count: int) -> None:
        """An extension: `?tail=N` starts at the last N messages, and only messages can be counted."""
        stream = self.model.living(path)
        if stream is not None and not stream.is_json:
            expected = refused(400)
        else:
            tail = stream.tail if stream else 0
            expected = self.model.read(path, max(0, tail - count), relative=True)
        self.ask(Request("GET", path, query={"tail": str(count)}), expected)

    # --- long-polls in waiting ---

    def wait_with(self, poll: Poll) -> None:
        """Return once the server has the poll waiting."""
        poll.stream.followers += 1
        self.polls.append(poll)
        self.run(self.server.waiting(len(self.polls)))

    def wake(self, stream: Stream | None) -> None:
        """Collect the answers of those who waited at this tail, if something has happened there."""
        for poll in [poll for poll in self.polls if poll.stream is stream]:
            expected = self._answer_to(poll)
            if expected is not None:
                self._end(poll, expected)

    def _answer_to(self, poll: Poll) -> Expected | None:
        stream = poll.stream
        if self.model.living(stream.path) is not stream:
            return refused(404, 410)
        if stream.tail > poll.position:
            return self.model.poll_brings(stream, poll.position, poll.echoed, relative=poll.relative)
        return self.model.poll_ends_empty(stream, poll.echoed) if stream.closed else None

    def _end(self, poll: Poll, expected: Expected) -> None:
        self.polls.remove(poll)
        poll.stream.followers -= 1
        poll.stream.maybe_touched(self.model.now_ms)
        self.check(self.run(poll.wire.receive()), expected)
        self.run(poll.wire.close())

    # --- stopping ---

    def stop(self) -> None:
        """Drain: those who wait are answered as if their time were up."""
        self.run(self.server.stop())
        self._end_all()

    def crash(self) -> None:
        """Lose what is only in memory: the last touches by reads."""
        # Within a second of any read, upkeep has looked at whether its touch is worth writing down.
        self.run(self.server.upkeep())
        self.run(self.server.crash())
        self._end_all()
        for stream in self.model.streams.values():
            stream.crash()

    def _end_all(self) -> None:
        for poll in list(self.polls):
            self._end(poll, self.model.poll_ends_empty(poll.stream, poll.echoed))

    # --- lifetimes ---

    def settle_lifetimes(self) -> None:
        """End in the model what is over; ask, where a crash may have cost a touch."""
        over = [stream for stream in list(self.model.streams.values()) if self._is_over(stream)]
        for stream in over:
            self.model.remove(stream)
        # Until it is swept, an expired fork holds its source (§4.2: clean-up may be asynchronous), and an expired
        # stream the polls that wait at its tail.
        if any(stream.fork_of or stream.followers for stream in over):
            self.run(self.server.upkeep())
        for stream in over:
            self.wake(stream)

    def look_at_every_path(self) -> None:
        """Does not slide a TTL, so it changes nothing."""
        for path in PATHS:
            self.ask(Request("HEAD", path), self.model.head(path))

    def _is_over(self, stream: Stream) -> bool:
        life = self.model.life(stream)
        if life is Life.UNSURE:
            reply = self.run(self.server.wire.ask(Request("HEAD", stream.path)))
            life = Life.ALIVE if reply.status == 200 else Life.OVER
            if life is Life.ALIVE:
                stream.proved_alive(self.model.now_ms)
        return life is Life.OVER


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")

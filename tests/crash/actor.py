"""What all writers share: sending a request until its end is known, and the requests themselves."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.crash.ledger import Op
from tests.crash.model import Status, Stream
from tests.crash.payloads import compose
from tests.crash.wire import ProofError, UnansweredError

if TYPE_CHECKING:
    from tests.crash.ledger import Ledger
    from tests.crash.model import Write
    from tests.crash.payloads import Payload
    from tests.crash.wire import Answer, Wire

CREATED, AGAIN = frozenset({201}), 200
APPENDED = frozenset({204})
PRODUCED = frozenset({200})
DUPLICATE = 204
CLOSING = {"Stream-Closed": "true"}


class Stage:
    """What one campaign's writers have in common. ``over``: no new request is to be thought of."""

    def __init__(self, wire: Wire, ledger: Ledger, seed: int) -> None:
        """``seed`` decides what everybody does, and only the kills decide how far they come."""
        self.wire, self.ledger, self.seed = wire, ledger, seed
        self.over = False


class Actor:
    """One writer: does one thing after another until the stage is over."""

    def __init__(self, stage: Stage, name: str) -> None:
        """``name`` is letters and a number, and tags all payloads."""
        self.stage, self.name = stage, name
        self.wire, self.ledger = stage.wire, stage.ledger
        self.rng = Random(f"{stage.seed}/{name}")
        self._number = 0

    async def run(self) -> None:
        """Act until the stage is over."""
        while not self.stage.over:
            await self.turn()

    async def turn(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    async def act(self, op: Op) -> Answer | None:
        """Send a request, and again after every crash, until it is answered as it must be.

        Returns: the answer; ``None`` if there was none and it must not be sent again.

        Raises:
            ProofError: the answer is not the one that follows from what was answered and seen before.
        """
        obeyed = False
        while True:
            async with self.wire.turnstile:
                future = self.ledger.begin(op)
                answer = await self._answer(op)
            if answer is None:
                obeyed = await future or obeyed
                if op.again is None:
                    return None
            elif answer.status == 409 and not obeyed and "Producer-Expected-Seq" in answer.headers and op.predecessor:
                self.ledger.postpone(op)
                await op.predecessor
                op.predecessor = None
            else:
                self.accept(op, answer, obeyed=obeyed)
                return answer

    def accept(self, op: Op, answer: Answer, *, obeyed: bool) -> None:
        """Hold an answer against what must come. ``obeyed``: as the request was seen to be, unanswered, before.

        Raises:
            ProofError: it is another one.
        """
        if answer.status != op.again if obeyed else answer.status not in op.fresh:
            was = "obeyed" if obeyed else "not obeyed"
            raise ProofError(f"{self.name}: {op.method} {op.path} {dict(op.headers)}, so far {was}: {answer}")
        self.ledger.settle(op, answer, obeyed=obeyed)

    async def _answer(self, op: Op) -> Answer | None:
        try:
            return await self.wire.send(op.method, op.path, headers=op.headers, body=op.body)
        except UnansweredError:
            return None

    def payload(self, stream: Stream, message_count: int = 1) -> tuple[int, Payload]:
        """Return the next payload of this writer, and its number."""
        self._number += 1
        return self._number, compose(
            self.rng, stream.content_type, tag=(self.name, self._number), message_count=message_count
        )

    def next_write(self, stream: Stream, message_count: int = 1, *, is_produced: bool = False) -> Write:
        """Return the next write of this writer, entered in the stream's model."""
        number, payload = self.payload(stream, message_count)
        return stream.write(self.name, number, payload, is_produced=is_produced)

    def creation(self, stream: Stream, *, with_body: bool = False, closed: bool = False) -> Op:
        """Return the request that creates a stream which is no fork; its model takes the path over."""
        self.ledger.streams[stream.path] = stream
        headers = {"Content-Type": stream.content_type} | (CLOSING if closed else {})
        if stream.ttl_s is not None:
            headers["Stream-TTL"] = str(stream.ttl_s)
        write = self.next_write(stream, self.message_count(stream)) if with_body else None
        return Op(
            "PUT",
            stream.path,
            headers,
            write.payload.body if write else None,
            fresh=CREATED,
            again=AGAIN,
            after={stream.path: Status.CLOSED if closed else Status.OPEN},
            write=write,
            closes=stream if closed else None,
        )

    def deletion(self, stream: Stream) -> Op:
        """Return the request that deletes a stream that has no forks and is none."""
        gone = {stream.path: Status.ABSENT}
        return Op("DELETE", stream.path, {}, fresh=frozenset({204}), again=404, after=gone)

    def append(self, stream: Stream) -> Op:
        """Return a plain append: at most one copy, whatever happens, so it is never sent again."""
        write = self.next_write(stream, self.message_count(stream))
        return Op(
            "POST", stream.path, {"Content-Type": stream.content_type}, write.payload.body, fresh=APPENDED, write=write
        )

    def message_count(self, stream: Stream) -> int:
        """Return how many messages the next request carries."""
        return self.rng.choice((1, 1, 2, 7, 40)) if stream.content_type.endswith("json") else 1


class Session:
    """One idempotent producer: its id, epoch and next seq on one stream."""

    def __init__(self, actor: Actor, stream: Stream) -> None:
        """Begin at epoch 0, seq 0; the producer's id is the actor's name."""
        self.actor, self.stream = actor, stream
        self.epoch = self.seq = 0

    def restart(self) -> None:
        """Go to the next epoch, as a producer that was started again."""
        self.epoch, self.seq = self.epoch + 1, 0

    def triple(self) -> dict[str, str]:
        """Return the headers of the next request."""
        headers = {
            "Producer-Id": self.actor.name,
            "Producer-Epoch": str(self.epoch),
            "Producer-Seq": str(self.seq),
            "Content-Type": self.stream.content_type,
        }
        self.seq += 1
        return headers

    def append(self, *, close: bool = False) -> Op:
        """Return the next append: exactly one copy, however often it is sent."""
        write = self.actor.next_write(self.stream, self.actor.message_count(self.stream), is_produced=True)
        return Op(
            "POST",
            self.stream.path,
            self.triple() | (CLOSING if close else {}),
            write.payload.body,
            fresh=PRODUCED,
            again=DUPLICATE,
            after={self.stream.path: Status.CLOSED} if close else {},
            write=write,
            closes=self.stream if close else None,
        )

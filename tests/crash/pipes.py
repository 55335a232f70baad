"""Requests sent one behind the other on one connection, before any is answered (RFC 9112 §9.3.2): order must hold."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from tests.crash.actor import Actor, Session
from tests.crash.wire import Answer, ProofError
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.crash.actor import Stage
    from tests.crash.ledger import Op
    from tests.crash.model import Stream
    from tests.crash.wire import Wire

WINDOW = 12


class Piper(Actor):
    """Sends a window of appends in one go: all as a producer, or all without a claim."""

    def __init__(self, stage: Stage, name: str, stream: Stream) -> None:
        """``stream`` exists and stays open."""
        super().__init__(stage, name)
        self.session = Session(self, stream)

    async def turn(self) -> None:
        """Send a window, and what was not answered again, where it may be sent again."""
        produced = self.rng.random() < 0.5
        count = self.rng.randint(2, WINDOW)
        left = [self.session.append() if produced else self.append(self.session.stream) for _ in range(count)]
        obeyed: set[Op] = set()
        while left:
            async with self.wire.turnstile:
                futures = [self.ledger.begin(op) for op in left]
                answers = await send_all(self.wire, left)
            for op, future, answer in zip(left, futures, answers, strict=True):
                if answer is not None:
                    self.accept(op, answer, obeyed=op in obeyed)
                elif await future:
                    obeyed.add(op)
            left = [op for op, answer in zip(left, answers, strict=True) if answer is None and op.again is not None]


async def send_all(wire: Wire, ops: Sequence[Op]) -> list[Answer | None]:
    """Send requests on a connection of their own and return their answers; ``None`` from where it broke.

    Raises:
        ProofError: an answer is missing after ``HANG_S``.
    """
    answers: list[Answer | None] = []
    host = urlsplit(wire.origin)
    try:
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        try:
            writer.write(b"".join(_encoded(wire, op) for op in ops))
            async with asyncio.timeout(HANG_S):
                for _ in ops:
                    answers.append(await _read_answer(reader))  # noqa: PERF401 those read so far must survive the break
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    except TimeoutError as timeout:
        raise ProofError(f"only {len(answers)} of {len(ops)} answers to {ops[0].path}") from timeout
    except (OSError, asyncio.IncompleteReadError):
        wire.turnstile.trip()
    return [*answers, *[None] * (len(ops) - len(answers))]


def _encoded(wire: Wire, op: Op) -> bytes:
    body = op.body or b""
    target = urlsplit(wire.root + op.path)
    fields = {"Host": target.netloc, "Content-Length": str(len(body)), **op.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{op.method} {target.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status_line, *lines = head.rstrip().split("\r\n")
    headers = CIMultiDict([(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
    body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return Answer(int(status_line.split(" ")[1]), CIMultiDictProxy(headers), body)

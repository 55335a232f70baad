"""What an append costs this program, stage by stage, without sockets: ``python bench/append_costs.py [DIRECTORY]``.

Each round puts one append of 100 bytes into every stream, through the lane or as the lines of one batch append, and
commits them together with fsync on. Printed: the median microseconds of an append in each stage. ``sync`` is LMDB's
commit, which runs beside the loop; the other stages share the interpreter, so their sum is the least that one process
can spend on an append. What the kernel takes for the sockets comes on top; the bench's ``floor: asyncio`` shows it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from durable_streams.engine.base import Mutation
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.http.extensions.batch_append import post_batch
from durable_streams.http.messages import Request
from durable_streams.protocol.head import Head, Record, encode_record
from durable_streams.runtime.config import ServerConfig
from durable_streams.runtime.logs import configure_logs
from durable_streams.runtime.turns import Turns
from durable_streams.server import GC_YOUNG_COUNT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.commit.committer import Committer

PAYLOAD = b"x" * 100
TYPE = "text/plain"
ROUNDS = 200


class SilentTransport(asyncio.Transport):
    """Takes answers and forgets them."""

    def write(self, data: object) -> None:
        """Take."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever held."""

    def is_reading(self) -> bool:
        """Always."""
        return True


class Stages:
    """Microseconds of each stage, by its name, for one append."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken_us: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start_s = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start_s)

    def add(self, name: str, taken_s: float) -> None:
        self._taken_us[name].append(taken_s * 1e6 / self._count)

    def line(self) -> str:
        medians = {name: statistics.median(taken) for name, taken in self._taken_us.items()}
        total = sum(median for name, median in medians.items() if name != "sync")
        return "  ".join([*(f"{name} {median:.1f}" for name, median in medians.items()), f"= {total:.1f} without sync"])


class Held:
    """Stands in for the writer: the round commits by hand, on the loop's thread, to time each part."""

    def __init__(self, committer: Committer, engine: LmdbEngine, stages: Stages) -> None:
        self._committer, self._engine, self._stages = committer, engine, stages
        committer._busy = True  # noqa: SLF001 never kicked by itself

    def commit(self) -> None:
        committer, stages = self._committer, self._stages
        with stages.stage("decide"):
            flight = committer._decide(committer._take())  # noqa: SLF001
        start_s = written_s = time.perf_counter()

        def written() -> None:
            nonlocal written_s
            written_s = time.perf_counter()

        version = committer._chance.version  # noqa: SLF001
        flight.mutations = [[slot.mutation(version()) for slot in group] for group in flight.groups]
        outcomes = self._engine.commit(flight.mutations, on_written=written)
        stages.add("write rows", written_s - start_s)
        stages.add("sync", time.perf_counter() - written_s)
        committer._kick = lambda: None  # type: ignore[method-assign] # noqa: SLF001
        with stages.stage("answer"):
            committer._finish(flight, list(outcomes))  # noqa: SLF001


def fill(engine: LmdbEngine, names: list[str]) -> None:
    now_ms = int(time.time() * 1000)
    record = encode_record(Record(TYPE))
    heads = [Head(name, (now_ms << 20) + number, 1, 0, 0, now_ms, 0, 0, record) for number, name in enumerate(names)]
    engine.commit([[Mutation(head.path, None, head)] for head in heads])


async def measure(directory: Path, *, connections: int, streams: int) -> str:
    """Return one line for ``connections`` appends over ``streams``; 0 connections: one batch append of all streams."""
    engine = LmdbEngine(directory / f"{connections}-{streams}")
    server = Server(ServerConfig(data_dir=directory, port=0), engine)
    await server.start()
    names = [f"s/{number}" for number in range(streams)]
    fill(engine, names)
    stages = Stages(connections or streams)
    held = Held(server.committer, engine, stages)
    raws = [
        f"POST /v1/stream/{names[number % streams]} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {TYPE}\r\n"
        f"Content-Length: {len(PAYLOAD)}\r\n\r\n".encode()
        + PAYLOAD
        for number in range(connections)
    ]
    lanes = [server._lane.connect() for _ in raws] if server._lane else []  # noqa: SLF001
    for lane in lanes:
        lane.connection_made(SilentTransport())
    body = b"\n".join(b'{"path":"%b","content_type":"text/plain","body":"%b"}' % (n.encode(), PAYLOAD) for n in names)
    gc.freeze()
    gc.set_threshold(GC_YOUNG_COUNT, 20, 50)
    turns = Turns()
    for _ in range(ROUNDS):
        with stages.stage("receive"):
            if connections:
                for lane, raw in zip(lanes, raws, strict=True):
                    lane.data_received(raw)
            else:
                request = Request("POST", "/__ds/batch", (), {}, body, "http://localhost")
                post_batch(server.streams, request, searches=turns, settle=lambda _answer: None)
                while not server.committer._queue:  # noqa: ASYNC110, SLF001 it is read a slice a turn
                    await asyncio.sleep(0)
        held.commit()
    gc.unfreeze()
    return stages.line()


def main() -> None:
    configure_logs("logfmt")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        for connections, streams in ((64, 1), (256, 1), (64, 64), (0, 1_000)):
            line = uvloop.run(measure(Path(directory), connections=connections, streams=streams))
            kind = f"{connections} connections" if connections else "a batch append"
            print(f"{kind:15} {streams:5} streams: {line}")


if __name__ == "__main__":
    main()

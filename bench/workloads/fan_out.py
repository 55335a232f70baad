"""Live readers: server-sent events to many, tokens of many streams each to its own, long-polls, idle ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.fleet import Fleet, run_load
from bench.workloads.base import JSON, Measurement, Meter, Usual, create, fresh_name, measured

if TYPE_CHECKING:
    from bench.load.base import Task
    from bench.process import RunningServer

PER_S = 50
MESSAGE_BYTES = 100
READERS_PER_GENERATOR = 1_000
GENERATORS_MAX = 2


def follow_tasks(server: RunningServer, paths: list[str], readers: int) -> list[Task]:
    """Return the tasks of the generators that together follow these streams with so many readers."""
    generators = min(GENERATORS_MAX, -(-readers // READERS_PER_GENERATOR))
    # A floor's readers are at the tail from the start and get an event that says so, like all the others'.
    return [
        {"port": server.port, "paths": paths[part::generators] or paths, "readers": share, "needs_event": True}
        for part in range(generators)
        if (share := readers // generators + (part < readers % generators))
    ]


def write_task(server: RunningServer, paths: list[str], seconds: float, *, lanes: int) -> Task:
    return {
        "port": server.port,
        "paths": paths,
        "per_s": PER_S,
        "seconds": seconds,
        "lanes": lanes,
        "body_bytes": MESSAGE_BYTES,
    }


class SseFanOut(Usual):
    """One stream, many readers, 50 messages a second.

    Args:
        readers: how many. held: messages that the stream already holds. quick: part of the quick run.
    """

    unit, family = "deliveries/s", "sse"

    def __init__(self, readers: int, held: int = 0, *, quick: bool = False) -> None:
        self._readers, self._held, self.quick = readers, held, quick
        self.once = readers != 1_000
        self.name = f"sse-{readers}" + (f"-after-{held}" if held else "")
        self.title = f"SSE to {readers:,} readers at {PER_S}/s" + (f", stream holds {held:,} messages" if held else "")
        self.family = "sse" if not held else "sse-held"

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("s"), content_type=JSON)
        if self._held:
            body = "[" + ",".join('"' + "x" * 98 + '"' for _ in range(100)) + "]"
            fill = {"port": server.port, "paths": [path], "connections": 1, "seconds": 60, "count": self._held // 100}
            run_load("append", {**fill, "body": body, "content_type": JSON})
        before_kib = server.anon_kib()
        with Fleet("follow", *follow_tasks(server, [path], self._readers)) as readers:
            readers.ready()
            each_kib = (server.anon_kib() - before_kib) / self._readers
            seconds = 2.0 if quick else 4.0
            with Fleet("write", write_task(server, [path], seconds, lanes=4)) as writer:
                writer.ready()
                meter = Meter(server)
                readers.go()
                written = writer.go().result()
                result = readers.stop({"count": written["count"]}).result()
                measurement = measured(result, meter, result["count"] / max(result["elapsed_s"], seconds - 1 / PER_S))
        measurement.more |= {"kib_a_reader": each_kib, "append_p99_ms": written["latencies_ms"][-1]}
        return measurement


class Tokens(Usual):
    """Many model answers at once: 200 streams, 50 tokens a second into each, each with a reader of its own."""

    name, title = "tokens", "200 streams of 50 tokens/s, a reader each"
    unit, family = "tokens/s", "tokens"
    quick = True
    streams = 200

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        paths = create(server, *(fresh_name("t") for _ in range(self.streams)), content_type=JSON)
        seconds = 2.0 if quick else 4.0
        with (
            Fleet("follow", *follow_tasks(server, paths, self.streams)) as readers,
            Fleet("write", write_task(server, paths, seconds, lanes=1)) as writer,
        ):
            readers.ready()
            writer.ready()
            meter = Meter(server)
            readers.go()
            written = writer.go().result()
            result = readers.stop({"count": written["count"] // self.streams}).result()
            measurement = measured(result, meter, result["count"] / max(result["elapsed_s"], seconds - 1 / PER_S))
        measurement.share = max(measurement.share, written["share"])
        measurement.more["append_p99_ms"] = written["latencies_ms"][int(len(written["latencies_ms"]) * 0.99)]
        return measurement


class LongPolls(Usual):
    """500 readers by long-poll; the next message is appended when all have the one before."""

    name, title = "long-poll-500", "Long-poll to 500 readers, closed loop"
    unit, family = "deliveries/s", "poll"
    quick = True

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("lp"), content_type=JSON)
        task = {"port": server.port, "paths": [path], "readers": 500, "seconds": 1.5 if quick else 3.0}
        with Fleet("poll", {**task, "body_bytes": MESSAGE_BYTES}) as pollers:
            pollers.ready()
            meter = Meter(server)
            result = pollers.go().result()
            return measured(result, meter, result["count"] / result["elapsed_s"])


class IdleReaders(Usual):
    """1,000 readers of a stream to which nothing comes."""

    name, title = "idle-1000", "1,000 idle SSE readers"
    unit, family = "KiB a reader", "idle"
    more_is_better = False
    once = True
    readers = 1_000

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (path,) = create(server, fresh_name("i"), content_type=JSON)
        before_kib = server.anon_kib()
        with Fleet("follow", *follow_tasks(server, [path], self.readers)) as readers:
            readers.ready()
            each_kib = (server.anon_kib() - before_kib) / self.readers
            seconds = 3.0 if quick else 5.0
            meter = Meter(server)
            time.sleep(seconds)
            core_percent = meter.used_s() / seconds * 100
            result = readers.go().stop({"count": 0}).result()
        faults = list(result["faults"])
        return Measurement(each_kib, count=self.readers, faults=faults, more={"core_percent": core_percent})

"""Time commits of the LMDB engine on this disk, alone and beside a busy thread.

Run: ``python bench/engine_commits.py [DIRECTORY]``. One commit appends one chunk of 100 bytes to each of N streams;
printed are the median and 99th percentile of a commit, in microseconds. ``busy`` has another thread run Python all the
while, as a loaded event loop does: each of the engine's LMDB calls hands over the interpreter lock, and gets it back
after up to one switch interval. That is the worst case, for an event loop lets go of the lock with every system call.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from durable_streams.engine.base import Chunk, Mutation, Outcome
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.protocol.head import Head, Record, encode_record
from durable_streams.runtime.logs import configure_logs

PAYLOAD = bytes(100)
RECORD = encode_record(Record("application/octet-stream"))
SWITCH_INTERVALS_S = (None, 0.005, 0.0005, 0.0001, 0.00002)
"""``None``: no busy thread. 5 ms is Python's default."""


def append_to(head: Head) -> Mutation:
    """Return the mutation that appends one payload."""
    new = head._replace(version=head.version + 1, tail=head.tail + len(PAYLOAD))
    return Mutation(head.path, (head.sid, head.version), new, [Chunk(head.tail, PAYLOAD)])


def time_commits(engine: LmdbEngine, heads: list[Head], count: int) -> list[float]:
    """Append to every stream ``count`` times; return the microseconds of each commit."""
    taken_us = []
    for _ in range(count):
        groups = [[append_to(head)] for head in heads]
        start = time.perf_counter()
        outcomes = engine.commit(groups)
        taken_us.append((time.perf_counter() - start) * 1e6)
        if set(outcomes) != {Outcome.APPLIED}:
            raise AssertionError(outcomes)
        heads = [group[0].head for group in groups if group[0].head]
    return taken_us


def spin(stop: threading.Event) -> None:
    """Run Python until told to stop."""
    while not stop.is_set():
        pass


def measure(directory: Path, stream_count: int, switch_interval_s: float | None) -> None:
    """Print one line: what a commit over so many streams takes."""
    engine = LmdbEngine(directory / f"{stream_count}-{switch_interval_s}")
    engine.open()
    heads = [Head(f"agents/session/{n:08}", n * 7919, 1, 0, 0, 0, 0, 0, RECORD) for n in range(1, stream_count + 1)]
    engine.commit([[Mutation(head.path, None, head)] for head in heads])
    stop = threading.Event()
    if switch_interval_s is not None:
        sys.setswitchinterval(switch_interval_s)
        threading.Thread(target=spin, args=(stop,)).start()
    result: list[float] = []
    commit_count = 1000 if switch_interval_s is None else 50
    writer = threading.Thread(target=lambda: result.extend(time_commits(engine, heads, commit_count)))
    writer.start()
    writer.join()
    stop.set()
    engine.close()
    beside = "alone" if switch_interval_s is None else f"busy, switch interval {switch_interval_s * 1e6:.0f} us"
    p50, p99 = statistics.median(result), statistics.quantiles(result, n=100)[98]
    print(f"{stream_count:4} streams  p50 {p50:7.0f} us  p99 {p99:7.0f} us  {beside}")


def main() -> None:
    configure_logs("logfmt")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        for switch_interval_s in SWITCH_INTERVALS_S:
            for stream_count in (1, 8, 64):
                measure(Path(directory), stream_count, switch_interval_s)


if __name__ == "__main__":
    main()

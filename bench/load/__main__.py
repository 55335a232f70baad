"""One generator process: ``python -m bench.load KIND``, with the task as its first line of input."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import uvloop

from bench.load import KINDS

if TYPE_CHECKING:
    from bench.load.base import Load


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def listen(loop: asyncio.AbstractEventLoop, load: Load, started: asyncio.Event) -> None:
    """Pass on what the bench says. In a thread: a pipe is no socket."""
    for line in sys.stdin:
        if line.strip() == "go":
            loop.call_soon_threadsafe(started.set)
        elif line.strip():
            loop.call_soon_threadsafe(load.stop, json.loads(line)["stop"])


async def work(kind: str) -> None:
    task = json.loads(sys.stdin.readline())
    load = KINDS[kind](task)
    started = asyncio.Event()
    prepared = await load.prepare()
    threading.Thread(target=listen, args=(asyncio.get_running_loop(), load, started), daemon=True).start()
    say({"ready": prepared})
    await started.wait()
    gc.disable()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = await load.run()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    say({"result": {"wall_s": wall_s, "cpu_s": cpu_s, **result}})


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))

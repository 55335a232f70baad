"""A worker as a process of its own, to be killed: ``python -m tests.subscriptions.worker_process ROOT_URL ID LOG``.

Appends one line of JSON to LOG for each page when it begins to process it, and one when its ack has been answered.
Lines are written by one system call each, so that a kill leaves whole lines.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

import orjson

from durable_streams.client import Worker
from tests.patience import pause

WORK_MAX_S = 0.01


async def main(root_url: str, subscription_id: str, log_path: str) -> None:
    """Work until killed."""
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    chance = random.Random(os.getpid())

    def note(what: str, **facts: object) -> None:
        os.write(log, orjson.dumps({"what": what, "pid": os.getpid(), **facts}) + b"\n")

    async with Worker(root_url, subscription_id, name=f"pid {os.getpid()}") as worker:
        before = None
        async for work in worker:
            if before is not None and not before.lost.is_set():
                note("acked", generation=before.generation, path=before.path, to=int(before.next_offset))
            before = work
            span = {"start": int(work.offset), "end": int(work.next_offset)}
            note("begun", generation=work.generation, path=work.path, items=work.items, **span)
            await pause(chance.random() * WORK_MAX_S)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

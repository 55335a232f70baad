"""An LMDB engine in a process of its own, told what to do line by line; answers each line with one.

Run: ``python -m tests.engine.child DATA_DIR [FAULT_POINT]``. With a fault point, the process kills itself there in the
commit of ``append``, as a crash would.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from durable_streams.engine.base import Chunk, EngineError, ProducerRow
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.runtime.logs import configure_logs
from tests.engine.heads import create, head, read_bytes, replace


def main(data_dir: str, fault_point: str = "") -> None:
    """Open the engine and obey ``create``, ``append BYTES``, ``read``, ``probe`` until the input ends."""
    armed = False

    def crash(point: str) -> None:
        if armed and point == fault_point:
            os.kill(os.getpid(), signal.SIGKILL)

    configure_logs("logfmt")  # on stderr: stdout is for answers
    engine = LmdbEngine(Path(data_dir), fault=crash)
    try:
        engine.open()
    except EngineError as error:
        _say(repr(error))
        return
    _say("open")
    for line in sys.stdin:
        armed = line.startswith("append")
        try:
            _say(_obey(engine, *line.split()))
        except EngineError as error:
            _say(type(error).__name__)
    engine.close()


def _obey(engine: LmdbEngine, command: str, size: str = "0") -> str:
    if command == "create":
        return str(engine.commit([[create(head("a"))]]))
    if command == "append":
        return _append(engine, int(size))
    if command == "read":
        return str(len(read_bytes(engine, 1)))
    engine.probe()
    return "probed"


def _append(engine: LmdbEngine, size_bytes: int) -> str:
    [old] = engine.load(["a"])
    if old is None:
        raise AssertionError("create first")
    new = old._replace(version=old.version + 1, tail=old.tail + size_bytes)
    producers = [ProducerRow("p", 0, new.version)]
    [outcome] = engine.commit([[replace(old, new, Chunk(old.tail, bytes(size_bytes)), producers=producers)]])
    return outcome.value


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A recording: everything that a real server did to its files, in order, and when a client had which answer.

Owns: building the recorder, running a server under it, reading what it wrote. Knows nothing of disks.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.crash.calls import TEXT, Caller, claim
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = Path(__file__).parent / "recorder.c"
WRITERS: Final = 4
ROUNDS: Final = 24
SIZES: Final = (10, 10, 10, 200, 3_000, 3_000, 70_000)
_HEAD: Final = struct.Struct("<BQQI")


class Op(NamedTuple):
    """One call. kind, handle, number: as ``recorder.c`` says. content: a path, or data."""

    kind: str
    handle: int
    number: int
    content: bytes


@dataclass
class Stream:
    """What one client did to one stream, one request after the other.

    sent: payloads, each by its place in the sequence. acks: for each, where the log was when its answer had come.
    created: the same for its creation; ``None``: never answered.
    """

    path: str
    created: int | None = None
    sent: list[bytes] = field(default_factory=list)
    acks: list[int] = field(default_factory=list)


@dataclass
class Recording:
    """ops: in order, with the place in the log where each ends. root: the directory that was watched."""

    root: str
    ops: list[Op]
    ends: list[int]
    streams: list[Stream]


def can_record() -> bool:
    """Whether there is a compiler, and a system that preloads."""
    return shutil.which("cc") is not None and Path("/proc/self").exists()


def build(directory: Path) -> Path:
    """Compile the recorder; return the library."""
    library = directory / "recorder.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


def record(directory: Path, seed: int) -> Recording:
    """Run a server from its very first start, append to it from several clients, kill it, start it again, and go on."""
    watched, log = directory / "watched", directory / "log"
    watched.mkdir()
    log.touch()
    environment = {
        "LD_PRELOAD": str(build(directory)),
        "RECORDER_ROOT": str(watched),
        "RECORDER_LOG": str(log),
    }
    chance = random.Random(seed)
    streams = [Stream(f"s{number}") for number in range(WRITERS)]
    server = ServerProcess(watched, environment=environment, arguments=["--sweep-interval-ms", "20"])
    with server.start():
        for _ in range(2):
            _write_at_once(server, streams, log, seed=chance.getrandbits(32))
            server.restart()
    ops, ends = [], []
    for op, end in _read(log.read_bytes()):
        ops.append(op)
        ends.append(end)
    return Recording(str(watched), ops, ends, streams)


def _write_at_once(server: ServerProcess, streams: list[Stream], log: Path, *, seed: int) -> None:
    threads = [
        threading.Thread(target=_write, args=(Caller(server), stream, log), kwargs={"seed": seed + number})
        for number, stream in enumerate(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _write(caller: Caller, stream: Stream, log: Path, *, seed: int) -> None:
    """Create the stream if it is not there, and append as a producer, each time when the last answer has come."""
    chance = random.Random(seed)
    if stream.created is None:
        assert caller.status("PUT", stream.path, TEXT) == 201
        stream.created = log.stat().st_size
    for _ in range(ROUNDS):
        number = len(stream.sent)
        payload = b"%s:%06d:" % (stream.path.encode(), number) + chance.randbytes(chance.choice(SIZES)).hex().encode()
        stream.sent.append(payload)
        assert caller.status("POST", stream.path, TEXT | claim(number), body=payload) == 200
        stream.acks.append(log.stat().st_size)


def _read(log: bytes) -> Iterator[tuple[Op, int]]:
    position = 0
    while position < len(log):
        kind, handle, number, length = _HEAD.unpack_from(log, position)
        end = position + _HEAD.size + length
        yield Op(chr(kind), handle, number, log[position + _HEAD.size : end]), end
        position = end

"""Cut the power again and again, and see what a store says afterwards.

Owns: what an acknowledgement promises, as a check of one image.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Final

from durable_streams.engine.base import EngineError
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.protocol.errors import StreamError
from durable_streams.runtime.clock import ManualClock
from durable_streams.subscriptions.keys import KEY_FILE, Keyring
from tests.engine.heads import read_bytes
from tests.power.disk import Disk

if TYPE_CHECKING:
    from tests.power.recording import Recording, Stream

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 images are written and thrown away by the thousand
FIRST_START_SHARE: Final = 0.3


def cut(recording: Recording, count: int, seed: int, *, lies: str = "") -> list[str]:
    """Look at so many images; return what is wrong with them, one line each, with what repeats it."""
    chance = random.Random(seed)
    last = len(recording.ops)
    first_ack = min(stream.created or last for stream in recording.streams)
    first_start = max(1, bisect_right(recording.ends, first_ack))
    moments = sorted(
        chance.randrange(first_start if chance.random() < FIRST_START_SHARE else last) for _ in range(count)
    )
    disk, played, found = Disk(recording.root, lies), 0, []
    parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        for number, moment in enumerate(moments):
            while played < moment:
                disk.play(recording.ops[played])
                played += 1
            disk.begin(recording.ops[moment])
            image = Path(directory) / str(number)
            image.mkdir()
            disk.image(image, random.Random(f"{seed}/{number}"))
            done = recording.ends[moment - 1] if moment else 0
            where = f"image {number} of seed {seed}, cut at call {moment}"
            found += [f"{where}: {what}" for what in wrong(image, recording, done)]
            shutil.rmtree(image)
    return found


def wrong(image: Path, recording: Recording, done: int) -> list[str]:
    """Return what is wrong with one image: what it holds against what was acknowledged when the log was so long."""
    data_dir = image / "data"
    engine = LmdbEngine(data_dir)
    try:
        engine.open()
        Keyring(data_dir / KEY_FILE, ManualClock()).open()
        found = [what for stream in recording.streams if (what := _wrong_with(engine, stream, done)) is not None]
    except (EngineError, StreamError) as refusal:
        return [f"does not start, or is damaged: {refusal}"]
    finally:
        engine.close()
    return found + [f"{problem.where}: {problem.what}" for problem in check_data_dir(data_dir).problems]


def _wrong_with(engine: LmdbEngine, stream: Stream, done: int) -> str | None:
    (head,) = engine.load([stream.path])
    acknowledged = bisect_right(stream.acks, done)
    if head is None:
        created = stream.created is not None and stream.created <= done
        return f"{stream.path} was acknowledged and is lost" if created else None
    content = read_bytes(engine, head.sid)
    count, length = 0, 0
    for payload in stream.sent:
        if length >= len(content):
            break
        length += len(payload)
        count += 1
    if content != b"".join(stream.sent[:count]) or len(content) != head.tail:
        return f"{stream.path} is torn, doubled or out of order after {count} appends"
    if not acknowledged <= count <= acknowledged + 1:
        return f"{stream.path} has {count} appends, {acknowledged} were acknowledged"
    (row,) = engine.load_producers([(head.sid, "p")])
    fenced = -1 if row is None else row.seq
    return None if fenced == count - 1 else f"{stream.path} has {count} appends, its producer is at {fenced}"

"""Flipped bits and cut files: whatever is served is what was stored, and what is not can be told from it."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import Chunk, EngineError, ProducerRow
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.datadir import DATA_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.extent import extent_of
from durable_streams.protocol.errors import StreamError
from tests.engine.heads import create, head, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flips")]

FLIPS = int(os.environ.get("POWER_FLIPS", "150"))
CUTS = 30
SEED = 42
STREAMS = 60
SAME, TOLD, WRONG = range(3)


def content(number: int) -> bytes:
    return random.Random(number).randbytes((40, 700, 5_000, 90_000)[number % 4])


def heads() -> list[tuple[str, int]]:
    return [(f"s{number:02}", number + 1) for number in range(STREAMS)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store, every page of which but a few is in use."""
    path = tmp_path_factory.mktemp("flips") / "store"
    engine = LmdbEngine(path)
    engine.open()
    for number, (name, sid) in enumerate(heads()):
        payload = content(number)
        pieces = [Chunk(at, payload[at : at + 20_000]) for at in range(0, len(payload), 20_000)]
        rows = [ProducerRow("p", 0, number)]
        engine.commit([[create(head(name, sid, tail=len(payload)), *pieces, producers=rows)]])
    engine.close()
    os.truncate(path / DATA_FILE, extent_of(path / DATA_FILE).wanted)
    return path


def in_a_child(look: Callable[[], int]) -> int:
    """Return what a forked process found; a process that was ended by the system has told enough."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(look())
        finally:
            os._exit(WRONG)
    _, status = os.waitpid(pid, 0)
    return TOLD if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def served(path: Path) -> int:
    """Read everything that was stored: is it the same, or does somebody tell?"""
    engine = LmdbEngine(path)
    told = False
    try:
        engine.open()
    except EngineError:
        return TOLD
    for number, (name, sid) in enumerate(heads()):
        try:
            (found,) = engine.load([name])
            (row,) = engine.load_producers([(sid, "p")])
            stored = read_bytes(engine, sid)
        except (StreamError, EngineError):
            told = True
            continue
        if found is None or row is None or len(stored) < found.tail:
            told = True  # 404, or bytes that are missing: not what was stored, but nothing else either
        elif (found.sid, row.seq, stored) != (sid, number, content(number)):
            return WRONG
    return TOLD if told else SAME


def checked(path: Path) -> int:
    return SAME if check_data_dir(path).sound else TOLD


def changed(store: Path, chance: random.Random, change: Callable[[Path], None]) -> tuple[int, int]:
    """Return what serving and checking say of a copy that was changed."""
    copy = store.with_name(f"copy-{chance.getrandbits(32)}")
    shutil.copytree(store, copy)
    change(copy / DATA_FILE)
    said = in_a_child(lambda: checked(copy)), in_a_child(lambda: served(copy))
    shutil.rmtree(copy)
    return said


def test_a_flipped_bit_is_never_served(store: Path) -> None:
    chance = random.Random(SEED)
    size_bytes = (store / DATA_FILE).stat().st_size
    unnoticed, told = [], 0
    for _ in range(FLIPS):
        at, bit = chance.randrange(size_bytes), 1 << chance.randrange(8)

        def flip(data_file: Path, at: int = at, bit: int = bit) -> None:
            with data_file.open("r+b") as file:
                file.seek(at)
                old = file.read(1)[0]
                file.seek(at)
                file.write(bytes((old ^ bit,)))

        by_check, by_server = changed(store, chance, flip)
        assert WRONG not in {by_check, by_server}, f"bit {bit} at {at}"
        told += by_server == TOLD
        if by_server == TOLD and by_check == SAME:
            unnoticed.append((at, bit))
    assert told > FLIPS // 3
    assert unnoticed == [], "check calls these sound"


def test_a_cut_file_is_never_served_from(store: Path) -> None:
    chance = random.Random(SEED)
    size_bytes = (store / DATA_FILE).stat().st_size
    for _ in range(CUTS):
        end = chance.randrange(1, size_bytes)
        by_check, by_server = changed(store, chance, lambda data_file, end=end: os.truncate(data_file, end))  # type: ignore[misc]
        assert (by_check, by_server) == (TOLD, TOLD), end

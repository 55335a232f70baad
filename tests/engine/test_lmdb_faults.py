"""Full maps and disks, broken writes, and crashes: what the LMDB engine says and what it still has afterwards."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from pathlib import Path

import lmdb
import pytest

from durable_streams.engine.base import Chunk, EngineFailedError, Outcome, ProducerRow, StorageFullError, Touch
from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.engine import FAULT_POINTS, LmdbEngine
from durable_streams.engine.lmdb.faults import is_no_room
from durable_streams.engine.lmdb.keys import LayoutError
from tests.engine.children import Child
from tests.engine.heads import create, head, read_bytes, replace

MIB = 1 << 20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="uses prlimit or /proc")


def fill(engine: LmdbEngine, payload: bytes) -> int:
    """Create streams 1, 2, … until the engine is full; return how many fitted."""
    for sid in range(1, 100_000):
        try:
            engine.commit([[create(head(f"s{sid}", sid, tail=len(payload)), Chunk(0, payload))]])
        except StorageFullError:
            return sid - 1
    raise AssertionError("it never got full")


class TestFullMap:
    def test_nothing_is_applied_and_everything_else_goes_on(self, tmp_path: Path) -> None:
        engine = LmdbEngine(tmp_path / "store", map_size_bytes=MIB)
        engine.open()
        count = fill(engine, bytes(5_000))
        assert count > 50
        with pytest.raises(StorageFullError):
            engine.probe()
        with pytest.raises(StorageFullError):
            engine.commit([[create(head("x", 9_001))], [create(head("y", 9_002), Chunk(0, bytes(500_000)))]])
        assert engine.load(["x", "y", f"s{count + 1}"]) == [None, None, None]
        assert read_bytes(engine, count) == bytes(5_000)
        engine.close()
        assert check_data_dir(tmp_path / "store").problems == ()

    def test_writes_work_again_when_streams_are_removed(self, tmp_path: Path) -> None:
        engine = LmdbEngine(tmp_path / "store", map_size_bytes=MIB)
        engine.open()
        payload = bytes(5_000)
        count = fill(engine, payload)
        for sid in range(1, 31):
            assert engine.commit([[replace(head(f"s{sid}", sid), None)]]) == [Outcome.APPLIED]
            engine.collect(10)
        engine.probe()
        engine.commit([[create(head(f"n{sid}", 9_000 + sid, tail=5_000), Chunk(0, payload))] for sid in range(10)])
        assert read_bytes(engine, 9_009) == read_bytes(engine, count) == payload
        engine.close()
        # Looking for room in a nearly full map means writing; nothing of it may stay.
        assert check_data_dir(tmp_path / "store").sound is True

    def test_writes_work_again_with_a_larger_map(self, tmp_path: Path) -> None:
        engine = LmdbEngine(tmp_path / "store", map_size_bytes=MIB)
        engine.open()
        count = fill(engine, bytes(5_000))
        engine.close()
        engine = LmdbEngine(tmp_path / "store", map_size_bytes=2 * MIB)
        engine.open()
        assert engine.commit([[create(head("new", 9_000), Chunk(0, bytes(500_000)))]]) == [Outcome.APPLIED]
        assert read_bytes(engine, count) == bytes(5_000)
        engine.close()


@linux_only
@pytest.mark.slow
class TestFullDisk:
    """RLIMIT_FSIZE stands in for the disk: a write that reaches the limit is cut short, the next refused with EFBIG."""

    # At these sizes beyond the limit a write is cut short (which LMDB reports as EIO) or refused at once.
    @pytest.mark.parametrize("slack_bytes", [0, 1, 4_096, 6_000, 40_000])
    def test_it_is_full_reads_go_on_and_writes_work_again_with_room(self, tmp_path: Path, slack_bytes: int) -> None:
        with Child(tmp_path / "store") as child:
            child.ask("create")
            assert child.ask("append 50000") == "applied"
            size_bytes = (tmp_path / "store" / "data.mdb").stat().st_size
            unlimited = resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (size_bytes + slack_bytes, unlimited[1]))
            for _ in range(3):
                assert child.ask("append 9000000") == "StorageFullError"
            assert child.ask("read") == "50000"
            resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, unlimited)
            assert child.ask("append 9000000") == "applied"
            assert child.ask("read") == "9050000"
        assert check_data_dir(tmp_path / "store").problems == ()


@linux_only
class TestBrokenDisk:
    @pytest.fixture
    def engine(self, tmp_path: Path) -> LmdbEngine:
        """Return an engine with one stream whose file can no longer be written: each descriptor of it is read-only."""
        engine = LmdbEngine(tmp_path / "store")
        engine.open()
        engine.commit([[create(head("a"), Chunk(0, b"kept"))]])
        data_file = str(tmp_path / "store" / "data.mdb")
        read_only = os.open(data_file, os.O_RDONLY)
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink() and str(link.readlink()) == data_file and int(link.name) != read_only:
                os.dup2(read_only, int(link.name))
        os.close(read_only)
        return engine

    def test_a_failed_write_stops_the_engine_for_good(self, engine: LmdbEngine, tmp_path: Path) -> None:
        with pytest.raises(EngineFailedError, match="has failed"):
            engine.commit([[create(head("b", 2))]])
        for call in (
            lambda: engine.commit([]),
            lambda: engine.load(["a"]),
            lambda: engine.load_producers([(1, "p")]),
            lambda: engine.read(1, 0, 4, 4),
            lambda: engine.read_before(1, 4),
            lambda: engine.touch([Touch("a", 1, 1 << 50)]),
            lambda: engine.scan("", "", 1),
            lambda: engine.due(1, 1),
            lambda: engine.collect(1),
            engine.probe,
        ):
            with pytest.raises(EngineFailedError, match="has failed"):
                call()
        engine.close()
        again = LmdbEngine(tmp_path / "store")
        again.open()
        assert again.load(["a", "b"]) == [head("a"), None]
        assert read_bytes(again, 1) == b"kept"
        again.close()

    def test_a_commit_that_changes_nothing_writes_nothing(self, engine: LmdbEngine) -> None:
        old = head("a")
        assert engine.commit([[create(old)], [replace(head("a", version=9), None)]]) == [Outcome.CONFLICT] * 2
        engine.touch([Touch("a", 1, 1), Touch("b", 1, 1 << 50)])
        assert engine.collect(9) == 0
        engine.close()


def lmdb_error(code: int) -> lmdb.Error:
    """Return the error as the binding raises it: its C part sets ``code`` on the instance."""
    error = lmdb.Error("mdb_txn_commit")
    error.__dict__["code"] = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lmdb.MapFullError("put"), True),
        (lmdb_error(errno.ENOSPC), True),
        (lmdb_error(errno.EDQUOT), True),
        (lmdb_error(errno.EFBIG), True),
        (OSError(errno.ENOSPC, "no space"), True),
        # There is room on this disk, so an input/output error is one.
        (lmdb_error(errno.EIO), False),
        (OSError(errno.EIO, "broken"), False),
        (lmdb.PanicError("commit"), False),
        (lmdb.Error("no code"), False),
    ],
)
def test_which_errors_say_that_there_is_no_room(tmp_path: Path, error: Exception, *, expected: bool) -> None:
    LmdbEngine(tmp_path / "store").open()
    assert is_no_room(error, tmp_path / "store") is expected


class TestMisuse:
    def test_calls_on_an_engine_that_is_not_open_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EngineFailedError, match="not open"):
            LmdbEngine(tmp_path / "store").load(["a"])

    def test_a_key_too_long_refuses_the_commit_and_nothing_else(self, tmp_path: Path) -> None:
        engine = LmdbEngine(tmp_path / "store")
        engine.open()
        for refused in (create(head("p" * 512)), create(head("b", 2), producers=[ProducerRow("i" * 504, 0, 0)])):
            with pytest.raises(LayoutError):
                engine.commit([[create(head("a"))], [refused]])
        assert engine.load(["a"]) == [None]
        assert engine.commit([[create(head("a"))]]) == [Outcome.APPLIED]
        engine.close()

    def test_probe_notices_that_the_directory_is_gone(self, tmp_path: Path) -> None:
        engine = LmdbEngine(tmp_path / "store")
        engine.open()
        (tmp_path / "store").rename(tmp_path / "elsewhere")
        with pytest.raises(EngineFailedError, match="removed or replaced"):
            engine.probe()
        (tmp_path / "store").mkdir()
        with pytest.raises(EngineFailedError, match="removed or replaced"):
            engine.probe()
        engine.close()


@pytest.mark.slow
class TestCrash:
    @pytest.mark.parametrize("point", FAULT_POINTS)
    def test_a_killed_commit_is_there_whole_or_not_at_all(self, tmp_path: Path, point: str) -> None:
        with Child(tmp_path / "store", point) as child:
            child.ask("create")
            assert child.ask("append 7000") == ""
        assert child.process.returncode == -signal.SIGKILL
        assert check_data_dir(tmp_path / "store").problems == ()
        engine = LmdbEngine(tmp_path / "store")
        engine.open()
        [found] = engine.load(["a"])
        assert found is not None
        committed = point == "after-commit"
        assert (found.version, found.tail) == ((2, 7_000) if committed else (1, 0))
        assert len(read_bytes(engine, 1)) == found.tail
        assert engine.load_producers([(1, "p")]) == [ProducerRow("p", 0, 2) if committed else None]
        engine.close()

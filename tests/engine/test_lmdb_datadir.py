"""Which directories are opened, which refused, and that the refusal is one line that says what to do."""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from durable_streams.engine.base import Chunk, EngineFailedError, Outcome, RefusedToStartError
from durable_streams.engine.lmdb.datadir import DATA_FILE, FORMAT, LOCK_FILE, STORE_FILE, STORE_FILE_BYTES, DataDir
from durable_streams.engine.lmdb.engine import LmdbEngine
from tests.engine.children import Child
from tests.engine.heads import create, head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65_534
CREATING = (
    json.dumps({"format": FORMAT, "engine": "lmdb", "state": "creating", "pid": 1}).encode().ljust(STORE_FILE_BYTES)
)


def open_and_close(path: Path, *, require_store: bool = False) -> None:
    engine = LmdbEngine(path, require_store=require_store)
    engine.open()
    engine.close()


def entries(path: Path) -> list[Path] | None:
    return sorted(path.iterdir()) if path.is_dir() else None


def refusal(path: Path, *, require_store: bool = False) -> str:
    """Return why opening ``path`` is refused; nothing in it may change by that."""
    before = entries(path)
    with pytest.raises(RefusedToStartError) as refused:
        open_and_close(path, require_store=require_store)
    assert before == entries(path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the directory of a closed store with one stream."""
    engine = LmdbEngine(tmp_path / "store")
    engine.open()
    engine.commit([[create(head("a"))]])
    engine.close()
    return tmp_path / "store"


def test_a_missing_directory_is_created(tmp_path: Path) -> None:
    open_and_close(tmp_path / "new")
    assert json.loads((tmp_path / "new" / STORE_FILE).read_bytes())["format"] == FORMAT
    assert (tmp_path / "new" / DATA_FILE).stat().st_size > 0


def test_a_missing_parent_is_not(tmp_path: Path) -> None:
    assert f"create {tmp_path / 'no'} first" in refusal(tmp_path / "no" / "new")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("holds", [[], ["lost+found"]])
def test_an_empty_directory_becomes_a_store_unless_one_is_required(tmp_path: Path, holds: list[str]) -> None:
    for name in holds:
        (tmp_path / name).mkdir()
    message = refusal(tmp_path, require_store=True)
    assert "mount it" in message
    assert "start once without --require-store" in message
    open_and_close(tmp_path)
    open_and_close(tmp_path, require_store=True)


def test_a_missing_directory_is_not_created_where_a_store_is_required(tmp_path: Path) -> None:
    assert "mount it" in refusal(tmp_path / "new", require_store=True)
    assert not (tmp_path / "new").exists()


def test_a_required_store_is_opened(store: Path) -> None:
    engine = LmdbEngine(store, require_store=True)
    engine.open()
    assert engine.load(["a"]) == [head("a")]
    engine.close()


@pytest.mark.parametrize("require_store", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", ".hidden", DATA_FILE, os.fsdecode(b"\xff")])
def test_a_directory_of_other_files_is_refused(tmp_path: Path, name: str, *, require_store: bool) -> None:
    (tmp_path / name).touch()
    (tmp_path / "lost+found").mkdir()
    assert "other files" in refusal(tmp_path, require_store=require_store)


@pytest.mark.parametrize("require_store", [False, True])
def test_a_link_to_a_missing_directory_is_refused(tmp_path: Path, *, require_store: bool) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "mount" / "store")
    message = refusal(tmp_path / "link", require_store=require_store)
    assert f"is a link to {tmp_path / 'mount' / 'store'}, which is missing" in message


def test_a_link_to_a_store_is_that_store(store: Path) -> None:
    link = store.with_name("link")
    link.symlink_to(store, target_is_directory=True)
    with Child(link) as child:
        assert child.opened == "open"
        assert child.ask("probe") == "probed"
        assert f"in use by process {child.process.pid}" in refusal(store)
        link.unlink()
        link.symlink_to(store.parent, target_is_directory=True)
        assert child.ask("probe") == "EngineFailedError"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a directory" in refusal(tmp_path / "file")


@pytest.mark.parametrize(
    "line",
    [
        b'{"format": 4, "state": "ready"}',
        b'{"format": "2"}',
        b'{"format": 1}',
        b'{"format": [2]}',
        b"{}",
        b"[1]",
        b"not json",
        b"\xff\xfe",
    ],
)
def test_an_unknown_format_is_refused_untouched(store: Path, line: bytes) -> None:
    (store / STORE_FILE).write_bytes(line)
    assert f"knows {FORMAT}" in refusal(store)
    assert (store / STORE_FILE).read_bytes() == line


def test_a_locked_directory_is_refused_by_the_name_of_its_process(store: Path) -> None:
    with Child(store) as child:
        assert child.opened == "open"
        assert f"in use by process {child.process.pid}" in refusal(store)
    open_and_close(store)


def test_a_killed_process_leaves_no_lock(store: Path) -> None:
    with Child(store) as child:
        child.process.kill()
    open_and_close(store)


def test_a_second_engine_in_the_same_process_is_refused(store: Path) -> None:
    engine = LmdbEngine(store)
    engine.open()
    assert f"process {os.getpid()}" in refusal(store)
    engine.close()
    open_and_close(store)


@pytest.mark.parametrize("vanished", [True, False])
def test_a_store_that_lost_its_data_is_refused(store: Path, *, vanished: bool) -> None:
    (store / DATA_FILE).unlink() if vanished else os.truncate(store / DATA_FILE, 0)
    assert "backup" in refusal(store)


def replace_by_a_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


@pytest.mark.parametrize("done", [Path.unlink, replace_by_a_copy])
@pytest.mark.parametrize("name", [DATA_FILE, LOCK_FILE, STORE_FILE])
def test_a_file_that_is_taken_away_stops_the_engine_before_it_says_applied(
    store: Path, name: str, done: Callable[[Path], None]
) -> None:
    """What is committed into a file that no start will find must not be acknowledged; nor anything after it."""
    engine = LmdbEngine(store)
    engine.open()
    done(store / name)
    with pytest.raises(EngineFailedError, match="removed or replaced"):
        engine.commit([[create(head("b", 2))]])
    with pytest.raises(EngineFailedError, match="removed or replaced"):
        engine.load(["a"])
    engine.close()


def test_a_directory_that_is_replaced_stops_the_engine(store: Path) -> None:
    engine = LmdbEngine(store)
    engine.open()
    shutil.copytree(store, store.with_name("other"))
    store.rename(store.with_name("moved"))
    store.with_name("other").rename(store)
    with pytest.raises(EngineFailedError, match="removed or replaced"):
        engine.touch([])
    engine.close()


def test_a_file_that_is_cut_stops_the_engine(store: Path) -> None:
    engine = LmdbEngine(store)
    engine.open()
    assert engine.commit([[create(head("b", 2), Chunk(0, b"x"))]]) == [Outcome.APPLIED]
    os.truncate(store / DATA_FILE, (store / DATA_FILE).stat().st_size - 4_096)
    with pytest.raises(EngineFailedError, match=r"has lost the end of its data\.mdb"):
        engine.commit([[create(head("c", 3))]])
    engine.close()


def test_a_data_file_that_is_none_is_refused(store: Path) -> None:
    (store / DATA_FILE).write_bytes(b"\0" * 65_536)
    assert "cannot be opened" in refusal(store)


LEFT: dict[str, tuple[bytes, bytes | None]] = {
    "no store file yet": (b"", None),
    "an empty store file and a lock file": (b"", None),
    "a store file of which only the size is on disk": (bytes(STORE_FILE_BYTES), None),
    "no data file": (CREATING, None),
    "an empty data file": (CREATING, b""),
    "a data file of which only the size is on disk": (CREATING, bytes(32_768)),
    "half of a page": (CREATING, b"\xde\xad" * 1_000),
}
"""What a power cut in a first start can leave: what is in the store file, and in the data file if there is one."""


@pytest.mark.parametrize("left", LEFT)
def test_a_first_start_cut_short_is_begun_anew(tmp_path: Path, left: str) -> None:
    path = tmp_path / "store"
    path.mkdir()
    store_file, data = LEFT[left]
    (path / STORE_FILE).write_bytes(store_file)
    if data is not None:
        (path / DATA_FILE).write_bytes(data)
    if "lock file" in left:
        (path / LOCK_FILE).write_bytes(bytes(100))
    assert "start once without --require-store" in refusal(path, require_store=True)
    open_and_close(path)
    assert json.loads((path / STORE_FILE).read_bytes())["state"] == "ready"
    open_and_close(path, require_store=True)


def test_a_data_file_cut_in_half_by_a_first_start_is_begun_anew(tmp_path: Path) -> None:
    directory = DataDir.acquire(tmp_path / "store", require_store=False)
    env = lmdb.open(str(tmp_path / "store"), map_size=1 << 20, max_dbs=9, lib_version=0)
    env.close()
    directory.release()
    with (tmp_path / "store" / DATA_FILE).open("r+b") as data:
        data.truncate(data.seek(0, os.SEEK_END) // 2)
    open_and_close(tmp_path / "store")
    open_and_close(tmp_path / "store", require_store=True)


@pytest.mark.parametrize("blank", [b"", bytes(STORE_FILE_BYTES)])
def test_a_blank_store_file_beside_data_is_damage_and_no_new_store(store: Path, blank: bytes) -> None:
    (store / STORE_FILE).write_bytes(blank)
    assert "has lost what was in its store.json" in refusal(store)


def test_refusing_gives_the_lock_back(store: Path) -> None:
    kept = (store / DATA_FILE).read_bytes()
    (store / DATA_FILE).write_bytes(b"\0" * 65_536)
    refusal(store)
    (store / DATA_FILE).write_bytes(kept)
    open_and_close(store)


@pytest.fixture
def public_store() -> Iterator[Path]:
    """Return a store in a directory that every user may reach, which pytest's own are not."""
    parent = Path(tempfile.mkdtemp())
    open_and_close(parent / "store")
    (parent / "store").chmod(0o555)
    parent.chmod(0o555)
    yield parent / "store"
    parent.chmod(0o755)
    (parent / "store").chmod(0o755)
    shutil.rmtree(parent)


def refusal_in_a_child(path: Path, restrict: Callable[[], object]) -> str:
    """Return how opening ``path`` ends in a forked process that has restricted itself first; empty if it opens."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            restrict()
            open_and_close(path)
        except BaseException as error:  # noqa: BLE001 - whatever it is goes to the parent
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        message = answer.read()
    os.wait()
    return message


def become_nobody() -> None:
    """Give up the privileges that make every file writable."""
    if os.getuid() == 0:
        os.setuid(NOBODY)


@pytest.mark.parametrize("unwritable", ["directory", "store file", "data file"])
def test_an_unwritable_store_is_refused(public_store: Path, unwritable: str) -> None:
    modes = dict.fromkeys(public_store.iterdir(), 0o666)
    if unwritable != "directory":
        modes[public_store / {"store file": STORE_FILE, "data file": DATA_FILE}[unwritable]] = 0o444
    else:
        public_store.chmod(0o755)
        (public_store / "lock.mdb").unlink()
        public_store.chmod(0o555)
        del modes[public_store / "lock.mdb"]
    for path, mode in modes.items():
        path.chmod(mode)
    message = refusal_in_a_child(public_store, become_nobody)
    assert message.startswith("RefusedToStartError")
    assert "Permission denied" in message


def test_an_unwritable_parent_is_refused(public_store: Path) -> None:
    message = refusal_in_a_child(public_store.parent / "new", become_nobody)
    assert message.startswith("RefusedToStartError")
    assert "Permission denied" in message


@pytest.mark.parametrize(
    ("map_size_bytes", "remedy"), [(1 << 62, "lower --map-size-bytes"), (1 << 13, "raise --map-size-bytes")]
)
def test_a_map_that_does_not_fit_is_refused(tmp_path: Path, map_size_bytes: int, remedy: str) -> None:
    with pytest.raises(RefusedToStartError, match=remedy):
        LmdbEngine(tmp_path / "store", map_size_bytes=map_size_bytes).open()
    open_and_close(tmp_path / "store")


def test_a_disk_without_room_for_a_new_store_is_refused(tmp_path: Path) -> None:
    limit = (1_000, 1_000)
    message = refusal_in_a_child(tmp_path / "store", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert message.startswith("RefusedToStartError")
    assert "make room" in message
    open_and_close(tmp_path / "store")


def test_a_released_directory_stays_released(store: Path) -> None:
    directory = DataDir.acquire(store, require_store=False)
    directory.release()
    directory.release()
    open_and_close(store)

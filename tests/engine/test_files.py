"""Who may read a store and its copies, and whose they are, whatever the umask and whoever ran the command."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.files import restrict
from durable_streams.engine.lmdb.backup import backup
from durable_streams.engine.lmdb.datadir import DATA_FILE, LOCK_FILE, STORE_FILE
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.runtime.clock import ManualClock
from durable_streams.subscriptions.keys import KEY_FILE, Keyring
from tests.cli.running import done
from tests.engine.stores import make_store
from tests.engine.test_lmdb_datadir import NOBODY, become_nobody, refusal_in_a_child

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {DATA_FILE, LOCK_FILE, STORE_FILE, KEY_FILE}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root does is at stake")


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def owners(directory: Path) -> set[tuple[int, int]]:
    return {(path.stat().st_uid, path.stat().st_gid) for path in (directory, *directory.iterdir())}


def open_and_close(directory: Path) -> None:
    """Open the store and its keys, as a server does, and copy it while it is open."""
    engine = LmdbEngine(directory)
    engine.open()
    Keyring(directory / KEY_FILE, ManualClock()).open()
    backup(engine, directory.with_name("online"), compact=True)
    engine.close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027], indirect=True)
def test_others_read_nothing_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    open_and_close(tmp_path / "store")
    backup(tmp_path / "store", tmp_path / "offline")
    assert modes(tmp_path / "store") == {**dict.fromkeys(FILES, 0o640), KEY_FILE: 0o600}
    for copy in ("online", "offline"):
        assert modes(tmp_path / copy) == dict.fromkeys((DATA_FILE, STORE_FILE), 0o640)
    assert modes(tmp_path) == dict.fromkeys(("store", "online", "offline"), 0o750)


@pytest.mark.parametrize("umask", [0o077], indirect=True)
def test_a_umask_takes_the_group_away(tmp_path: Path, umask: int) -> None:
    open_and_close(tmp_path / "store")
    assert set(modes(tmp_path / "store").values()) == set(modes(tmp_path / "online").values()) == {0o600}


def test_a_start_takes_away_what_files_allow_too_much(tmp_path: Path) -> None:
    open_and_close(tmp_path / "store")
    for name in FILES:
        (tmp_path / "store" / name).chmod(0o666)
    (tmp_path / "store" / DATA_FILE).chmod(0o604)
    (tmp_path / "online").rename(tmp_path / "other")
    open_and_close(tmp_path / "store")
    assert modes(tmp_path / "store") == {DATA_FILE: 0o600, LOCK_FILE: 0o640, STORE_FILE: 0o640, KEY_FILE: 0o600}


def test_what_a_link_leads_to_is_not_restricted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "elsewhere").chmod(0o666)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    restrict(tmp_path / "link")
    restrict(tmp_path / "missing")
    assert modes(tmp_path)["elsewhere"] == 0o666


@pytest.fixture
def service() -> Iterator[Path]:
    """Return a directory that belongs to a user who is not root, where that user can get to it."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, NOBODY, NOBODY)
        yield Path(made)


@as_root
def test_what_root_makes_belongs_to_the_owner_of_its_directory(service: Path) -> None:
    open_and_close(service / "store")
    backup(service / "store", service / "offline")
    Keyring(service / "store" / KEY_FILE, ManualClock()).rotate()
    for directory in ("store", "online", "offline"):
        assert owners(service / directory) == {(NOBODY, NOBODY)}


@as_root
@pytest.mark.slow
def test_a_backup_by_root_keeps_no_service_from_starting(service: Path) -> None:
    """Of a store that was itself restored from a copy, so that nothing has made its lock file yet."""
    make_store(service / "first")
    backup(service / "first", service / "store")
    assert not (service / "store" / LOCK_FILE).exists()
    done("backup", service / "store", service / "copy")
    assert refusal_in_a_child(service / "store", become_nobody) == ""
    assert refusal_in_a_child(service / "copy", become_nobody) == ""

"""`check` and `backup` on the data directories of real servers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import lmdb
import pytest

from tests.cli.running import content, done, run
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def filled(server: ServerProcess, url: str) -> ServerProcess:
    """A server with a stream, a fork of it, and a producer's row."""
    done("append", "x", "--create", "--ndjson", text="1\n2\n3\n", url=url)
    done("fork", "x", "y", url=url)
    return server


def damage(directory: Path) -> None:
    """Take one chunk away, as a disk might."""
    with lmdb.open(str(directory), max_dbs=16, map_size=1 << 30) as env:
        chunks = env.open_db(b"chunk")
        with env.begin(write=True) as transaction, transaction.cursor(chunks) as cursor:
            assert cursor.first()
            cursor.delete()


def test_a_sound_store_is_called_sound(filled: ServerProcess) -> None:
    filled.stop()

    said = done("check", filled.data_dir)

    found = json.loads(done("check", filled.data_dir, "--json"))
    assert said == (
        f"{filled.data_dir}: sound (2 streams, 1 chunks, 6 bytes, 1 producer rows, 0 dropped streams to collect, "
        f"{found['file_bytes']} bytes on disk, room for {found['room_bytes']} in them)\n"
    )
    assert found["file_bytes"] == (filled.data_dir / "data.mdb").stat().st_size
    assert 512 * 1024 < found["room_bytes"] < found["file_bytes"]
    assert (found["sound"], found["problems"], found["stream_count"]) == (True, [], 2)
    assert run("check", more={"DS_DATA_DIR": str(filled.data_dir)}).stdout == said


def test_a_killed_servers_store_is_sound(filled: ServerProcess) -> None:
    filled.kill()
    assert ": sound (" in done("check", filled.data_dir)


def test_damage_is_told_and_fails(filled: ServerProcess) -> None:
    filled.stop()
    damage(filled.data_dir)

    finished = run("check", filled.data_dir)

    assert (finished.returncode, finished.stderr) == (1, "")
    *problems, verdict = finished.stdout.splitlines()
    assert any(line.startswith("x: ") for line in problems)
    assert f"DAMAGED, {len(problems)} problem" in verdict
    found = json.loads(run("check", filled.data_dir, "--json").stdout)
    assert not found["sound"]
    assert found["problem_count"] == len(found["problems"]) == len(problems)
    assert {"where", "what"} == set(found["problems"][0])


def test_a_store_in_use_is_not_checked(filled: ServerProcess) -> None:
    finished = run("check", filled.data_dir)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert f"in use by process {filled.pid}" in finished.stderr


@pytest.mark.parametrize("more", [[], ["--compact"]])
def test_a_backup_of_a_serving_store_is_a_store(  # noqa: PLR0917 - fixtures and parameters
    filled: ServerProcess, url: str, tmp_path: Path, more: list[str]
) -> None:
    copy = ServerProcess(tmp_path / "copy")
    copy.data_dir.parent.mkdir()
    answer = json.loads(done("backup", filled.data_dir, copy.data_dir, *more, "--json"))
    assert answer["byte_count"] > 0
    done("append", "x", text="4", url=url)

    assert ": sound (" in done("check", copy.data_dir)
    with copy:
        assert content(copy.stream_url("x")) == b"[1,2,3]"
        assert content(copy.stream_url("y")) == b"[1,2,3]"
    assert content(f"{url}/x") == b"[1,2,3,4]"


def test_a_backup_does_not_write_over_anything(filled: ServerProcess, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    (target / "file").write_text("mine")

    finished = run("backup", filled.data_dir, target)

    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert "not an empty directory" in finished.stderr
    assert [path.name for path in target.iterdir()] == ["file"]


def test_a_stopped_store_is_compacted(filled: ServerProcess, url: str) -> None:
    done("append", "large", "--create", "--content-type", "text/plain", text="x" * 3_000_000, url=url)
    done("delete", "large", url=url)
    refused = run("compact", filled.data_dir)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"in use by process {filled.pid}" in refused.stderr
    filled.stop()

    answer = json.loads(done("compact", filled.data_dir, "--json"))

    assert answer["after_bytes"] == (filled.data_dir / "data.mdb").stat().st_size < answer["before_bytes"]
    assert ": sound (" in done("check", filled.data_dir)
    with filled:
        assert content(f"{url}/x") == b"[1,2,3]"


def test_a_copy_of_a_damaged_store_says_so(filled: ServerProcess, tmp_path: Path) -> None:
    filled.stop()
    with lmdb.open(str(filled.data_dir), max_dbs=16, map_size=1 << 30) as env:
        chunks = env.open_db(b"chunk")
        with env.begin(write=True) as transaction, transaction.cursor(chunks) as cursor:
            assert cursor.first()
            key, row = cursor.item()
            cursor.put(key, b"9" + row[1:])

    finished = run("backup", filled.data_dir, tmp_path / "copy")

    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert "with 1 damaged rows" in finished.stderr
    assert (tmp_path / "copy" / "store.json").exists()

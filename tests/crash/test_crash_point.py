"""The variable that ends a server on purpose: it works as told, and for nobody who did not ask for it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.base import RefusedToStartError
from durable_streams.engine.lmdb.crash_point import crash_hook
from tests.crash.calls import TEXT, Caller
from tests.serving import ServerExited, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def test_without_the_variable_there_is_no_hook(tmp_path: Path) -> None:
    assert crash_hook({"DS_DATA_DIR": "x"}, tmp_path) is None


HITS = ("after-commit", "after-commit:1", "after-commit:0:{}", "after-commit:-1:{}", "after-commit:x:{}", "1", "")
STORES = ("somewhere:1:{}", "after-commit:1:{}/other", "after-commit:1:data", "after-commit:1:")


@pytest.mark.parametrize("value", HITS + STORES)
def test_a_value_that_does_not_name_this_store_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(RefusedToStartError, match="unset it"):
        crash_hook({"DS_FAULT": value.format(tmp_path)}, tmp_path)


@pytest.mark.slow
def test_a_server_refuses_to_start_with_another_ones_variable(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, environment={"DS_FAULT": "after-commit:1:/elsewhere/data"})

    with pytest.raises(ServerExited, match="unset it") as refused:
        server.start()

    assert refused.value.returncode is not None
    assert refused.value.returncode > 0


@pytest.mark.slow
def test_it_dies_at_the_hit_that_was_named_and_says_so_at_the_start(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.environment["DS_FAULT"] = f"after-commit:3:{server.data_dir.absolute()}"
    with server:
        caller = Caller(server)
        assert [caller.status("PUT", path, TEXT) for path in "ab"] == [201, 201]
        assert caller.is_unanswered("PUT", "c", TEXT)

        assert server.returncode == -signal.SIGKILL
        assert "this process will kill itself" in server.stderr

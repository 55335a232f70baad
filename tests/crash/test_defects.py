"""What broke elsewhere, each shown not to break here, on the real process and with a real kill."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.engine.lmdb.engine import FAULT_POINTS, LmdbEngine
from tests.crash.calls import CLOSED, JSON, ROOT, TEXT, Caller, claim
from tests.crash.ephemeral import TICK_S
from tests.patience import let_pass

if TYPE_CHECKING:
    from tests.conftest import Serve
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

IN_VAIN = ("before-commit", "between-chunk-and-head")
"""Points at which nothing of the commit is durable yet."""


@pytest.fixture
def caller(server: ServerProcess) -> Caller:
    return Caller(server)


def die_at(server: ServerProcess, point: str, hit: int) -> None:
    """Start again as a process that kills itself at a commit."""
    server.kill()
    server.environment["DS_FAULT"] = f"{point}:{hit}:{server.data_dir.absolute()}"
    server.start()


def start_without_fault(server: ServerProcess) -> None:
    del server.environment["DS_FAULT"]
    assert check_data_dir(server.data_dir).problems == ()
    server.start()


def end_of(caller: Caller, path: str) -> tuple[float, float]:
    """Watch a stream to its end: when the last look that found it was sent, and the first that did not was answered."""
    alive_s = 0.0
    while True:
        sent_s = time.time()
        if caller.status("HEAD", path) == 404:
            return alive_s, time.time()
        alive_s = sent_s
        let_pass(0.01)


def touched_s(server: ServerProcess, path: str) -> float:
    """From when on a stream's TTL counts, as the store of the stopped server has it."""
    with contextlib.closing(LmdbEngine(server.data_dir)) as engine:
        engine.open()
        (head,) = engine.load([path])
    assert head is not None
    return head.touched_ms / 1000


class TestTtl:
    """Moments are compared with moments, so it does not matter how long anything takes."""

    FIELDS = TEXT | {"Stream-TTL": "3600"}

    def test_it_survives_a_kill_and_ends_on_time(self, server: ServerProcess, caller: Caller) -> None:
        sent_s = time.time()
        caller.ask("PUT", "short", TEXT | {"Stream-TTL": "2"})
        caller.ask("PUT", "long", self.FIELDS, body=b"kept")
        answered_s = time.time()
        server.restart()

        assert caller.read("long") == b"kept"
        alive_s, gone_s = end_of(caller, "short")
        assert gone_s >= sent_s + 2 - TICK_S
        assert alive_s <= answered_s + 2 + TICK_S
        assert caller.ask("HEAD", "long").headers["Stream-TTL"] == "3600"

    def test_the_touch_of_an_acknowledged_write_survives(self, server: ServerProcess, caller: Caller) -> None:
        caller.ask("PUT", "a", self.FIELDS)
        let_pass(TICK_S)
        sent_s = time.time()
        caller.ask("POST", "a", TEXT, body=b"x")
        answered_s = time.time()
        server.kill()

        assert sent_s - TICK_S <= touched_s(server, "a") <= answered_s + TICK_S

    def test_reads_slide_it_after_a_kill_and_a_clean_stop_keeps_that(
        self, server: ServerProcess, caller: Caller
    ) -> None:
        caller.ask("PUT", "a", self.FIELDS)
        server.restart()
        let_pass(TICK_S)
        sent_s = time.time()
        assert caller.status("GET", "a") == 200
        answered_s = time.time()
        assert server.stop() == 0

        assert sent_s - TICK_S <= touched_s(server, "a") <= answered_s + TICK_S

    def test_what_expired_while_the_server_was_down_is_gone_and_leaves_the_disk(
        self, server: ServerProcess, caller: Caller
    ) -> None:
        caller.ask("PUT", "a", TEXT | {"Stream-TTL": "1"}, body=bytes(100_000))
        server.kill()
        let_pass(1 + TICK_S)
        server.start()
        assert caller.status("GET", "a") == 404

        def is_swept() -> bool:
            server.kill()
            report = check_data_dir(server.data_dir)
            server.start()
            return (report.stream_count, report.chunk_count, report.dropped_count) == (0, 0, 0)

        while not is_swept():
            let_pass(0.1)


class TestStart:
    def test_a_fork_that_holds_bytes_of_its_own_starts_and_reads_right(
        self, server: ServerProcess, caller: Caller
    ) -> None:
        caller.ask("PUT", "source", TEXT, body=b"source")
        forked_from = {"Stream-Forked-From": ROOT + "source", "Stream-Fork-Offset": f"{3:016d}"}
        assert caller.status("PUT", "fork", forked_from) == 201
        caller.ask("POST", "fork", TEXT, body=b"-fork")
        caller.ask("POST", "source", TEXT, body=b" goes on")

        server.restart()
        assert caller.read("fork") == b"sou-fork"
        assert caller.read("source") == b"source goes on"
        assert caller.status("POST", "fork", TEXT, body=b"!") == 204

    def test_a_first_start_that_was_killed_is_no_obstacle(self, serve: Serve) -> None:
        server = serve()
        server.kill()
        for _ in range(3):
            server.start()
            server.kill()
        server.start()
        assert Caller(server).status("PUT", "a", TEXT) == 201


class TestAtomicity:
    @pytest.mark.parametrize("point", FAULT_POINTS)
    @pytest.mark.parametrize("filling_bytes", [10, 40_000], ids=["one chunk", "many chunks"])
    def test_a_batch_of_messages_is_kept_whole_or_not_at_all(
        self, caller: Caller, point: str, filling_bytes: int
    ) -> None:
        server = caller.server
        batch = b"[" + b",".join(b'{"k":%d,"x":"%s"}' % (k, b"x" * filling_bytes) for k in range(100)) + b"]"
        die_at(server, point, 2)
        caller.ask("PUT", "a", JSON)
        assert caller.is_unanswered("POST", "a", JSON | claim(0), body=batch)
        start_without_fault(server)

        offset = caller.ask("HEAD", "a").headers["Stream-Next-Offset"]
        assert int(offset) == (0 if point in IN_VAIN else len(batch) - 1)
        assert caller.status("POST", "a", JSON | claim(0), body=batch) == (200 if point in IN_VAIN else 204)
        assert int(caller.ask("HEAD", "a").headers["Stream-Next-Offset"]) == len(batch) - 1

    @pytest.mark.parametrize("point", IN_VAIN)
    def test_a_failed_append_leaves_no_producer_behind(self, server: ServerProcess, caller: Caller, point: str) -> None:
        die_at(server, point, 3)
        caller.ask("PUT", "a", TEXT)
        assert caller.status("POST", "a", TEXT | claim(0), body=b"0") == 200
        assert caller.is_unanswered("POST", "a", TEXT | claim(1) | {"Stream-Seq": "b"}, body=b"1")
        start_without_fault(server)

        gap = caller.ask("POST", "a", TEXT | claim(2), body=b"2")
        assert (gap.status, gap.headers["Producer-Expected-Seq"]) == (409, "1")
        assert caller.status("POST", "a", TEXT | claim(1) | {"Stream-Seq": "b"}, body=b"1") == 200
        assert caller.status("POST", "a", TEXT | claim(1) | {"Stream-Seq": "b"}, body=b"1") == 204
        assert caller.read("a") == b"01"

    def test_an_append_that_was_obeyed_and_not_answered_is_taken_once(
        self, server: ServerProcess, caller: Caller
    ) -> None:
        die_at(server, "after-commit", 2)
        caller.ask("PUT", "a", TEXT)
        assert caller.is_unanswered("POST", "a", TEXT | claim(0) | CLOSED, body=b"once")
        start_without_fault(server)

        again = caller.ask("POST", "a", TEXT | claim(0) | CLOSED, body=b"once")
        assert (again.status, again.headers["Stream-Closed"]) == (204, "true")
        assert caller.read("a") == b"once"
        assert caller.status("POST", "a", TEXT, body=b"more") == 409

    @pytest.mark.parametrize("point", IN_VAIN)
    def test_a_final_append_and_its_close_fail_together(
        self, server: ServerProcess, caller: Caller, point: str
    ) -> None:
        die_at(server, point, 2)
        caller.ask("PUT", "a", TEXT)
        assert caller.is_unanswered("POST", "a", TEXT | CLOSED, body=b"last")
        start_without_fault(server)

        head = caller.ask("HEAD", "a")
        assert (head.headers["Stream-Closed"], head.headers["Stream-Next-Offset"]) == (None, f"{0:016d}")


class TestDelete:
    def test_an_acknowledged_delete_is_not_undone(self, server: ServerProcess, caller: Caller) -> None:
        caller.ask("PUT", "a", TEXT, body=b"old")
        caller.ask("POST", "a", TEXT | claim(0), body=b"older")
        assert caller.status("DELETE", "a") == 204
        server.restart()

        assert caller.status("GET", "a") == 404
        assert b'"streams":[]' in caller.ask("GET", "__ds/streams").body
        assert caller.status("PUT", "a", TEXT) == 201
        assert caller.status("POST", "a", TEXT | claim(0), body=b"new") == 200
        server.restart()
        assert caller.read("a") == b"new"

    def test_nor_is_a_soft_one_nor_the_cascade_behind_it(self, server: ServerProcess, caller: Caller) -> None:
        caller.ask("PUT", "a", TEXT, body=b"a")
        caller.ask("PUT", "b", {"Stream-Forked-From": ROOT + "a"})
        caller.ask("PUT", "c", {"Stream-Forked-From": ROOT + "b"})
        assert [caller.status("DELETE", path) for path in "ab"] == [204, 204]
        server.restart()
        assert [caller.status("HEAD", path) for path in "abc"] == [410, 410, 200]
        assert caller.read("c") == b"a"
        assert caller.status("DELETE", "c") == 204
        server.restart()
        assert [caller.status("HEAD", path) for path in "abc"] == [404, 404, 404]
        assert caller.status("PUT", "a", JSON) == 201

    @pytest.mark.parametrize("point", FAULT_POINTS)
    def test_a_killed_cascade_happens_whole_or_not_at_all(
        self, server: ServerProcess, caller: Caller, point: str
    ) -> None:
        caller.ask("PUT", "a", TEXT, body=b"a")
        caller.ask("PUT", "b", {"Stream-Forked-From": ROOT + "a"})
        caller.ask("DELETE", "a")
        die_at(server, point, 1)
        assert caller.is_unanswered("DELETE", "b")
        start_without_fault(server)

        expected = [410, 200] if point in IN_VAIN else [404, 404]
        assert [caller.status("HEAD", path) for path in "ab"] == expected


class TestForkReferences:
    REFUSED = (
        ({"Stream-Fork-Offset": f"{99:016d}"}, 400),
        ({"Stream-Fork-Offset": "sideways"}, 400),
        ({"Stream-Fork-Sub-Offset": "99"}, 400),
        ({"Content-Type": "application/json"}, 409),
        ({"Stream-TTL": "1", "Stream-Expires-At": "2040-01-01T00:00:00Z"}, 400),
    )

    def test_a_refused_fork_leaks_none(self, server: ServerProcess, caller: Caller) -> None:
        caller.ask("PUT", "a", TEXT, body=b"abc")
        caller.ask("PUT", "taken", TEXT)
        for headers, status in self.REFUSED:
            assert caller.status("PUT", "b", {"Stream-Forked-From": ROOT + "a", **headers}) == status
        assert caller.status("PUT", "taken", {"Stream-Forked-From": ROOT + "a"}) == 409
        server.restart()

        assert caller.status("DELETE", "a") == 204
        assert caller.status("HEAD", "a") == 404

    @pytest.mark.parametrize("point", IN_VAIN)
    def test_nor_does_one_that_died_in_its_commit(self, server: ServerProcess, caller: Caller, point: str) -> None:
        die_at(server, point, 2)
        caller.ask("PUT", "a", TEXT, body=b"abc")
        assert caller.is_unanswered("PUT", "b", {"Stream-Forked-From": ROOT + "a"})
        start_without_fault(server)

        assert [caller.status("HEAD", path) for path in "ab"] == [200, 404]
        assert caller.status("DELETE", "a") == 204
        assert caller.status("HEAD", "a") == 404

    def test_one_that_was_obeyed_and_not_answered_holds_its_source(self, server: ServerProcess, caller: Caller) -> None:
        die_at(server, "after-commit", 2)
        caller.ask("PUT", "a", TEXT, body=b"abc")
        assert caller.is_unanswered("PUT", "b", {"Stream-Forked-From": ROOT + "a"})
        start_without_fault(server)

        assert caller.status("PUT", "b", {"Stream-Forked-From": ROOT + "a"}) == 200
        assert caller.status("DELETE", "a") == 204
        assert caller.status("HEAD", "a") == 410
        assert caller.read("b") == b"abc"
        assert caller.status("DELETE", "b") == 204
        assert caller.status("HEAD", "a") == 404


def test_three_hundred_streams_are_hot_at_a_time(server: ServerProcess, caller: Caller) -> None:
    paths = [f"hot/{k}" for k in range(300)]

    def append(path: str) -> int:
        return caller.status("POST", path, TEXT, body=path.encode() + b"\n")

    with ThreadPoolExecutor(32) as pool:
        assert {*pool.map(lambda path: caller.status("PUT", path, TEXT), paths)} == {201}
        for _ in range(2):
            assert [*pool.map(append, paths)] == [204] * 300
        server.restart()
        assert [*pool.map(append, paths)] == [204] * 300
        assert [*pool.map(caller.read, paths)] == [(path.encode() + b"\n") * 3 for path in paths]

"""An upload sent again adds what was missing of its bytes, however either try was framed or cut."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.uploading import Framing, Uploads
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.uploading import Reply

UPLOAD = {"Producer-Id": "up", "Producer-Epoch": "0", "Producer-Seq": "0"}
NEXT = UPLOAD | {"Producer-Seq": "1"}
ONE = Framing(True, ())  # noqa: FBT003 chunked


@pytest.fixture(scope="module", params=[(), ("--no-lane",)], ids=["lane", "aiohttp"])
def uploads(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploads]:
    directory = tmp_path_factory.mktemp("uploads")
    with ServerProcess(directory, engine="memory", arguments=request.param) as server:
        yield Uploads(server)


@st.composite
def framings(draw: st.DrawFn, size: int) -> Framing:
    ends = draw(st.sets(st.integers(1, max(1, size - 1)), max_size=4))
    return Framing(draw(st.booleans()), sorted(end for end in ends if end < size))


@st.composite
def tries(draw: st.DrawFn) -> tuple[bytes, list[tuple[Framing, int]], Framing]:
    """An upload, tries of it that break off after some bytes, and the one that comes through."""
    payload = draw(st.binary(min_size=1, max_size=40))
    broken = draw(st.lists(st.tuples(framings(len(payload)), st.integers(0, len(payload))), min_size=1, max_size=2))
    return payload, broken, draw(framings(len(payload)))


def check_whole(uploads: Uploads, path: str, payload: bytes, *, reply: Reply) -> None:
    """The upload is there once, is a duplicate from now on, and its producer goes on behind it."""
    assert (reply.status, reply.headers["producer-seq"]) in {(200, "0"), (204, "0")}
    assert uploads.body(path) == payload
    again = uploads.send(path, payload, ONE, UPLOAD)
    assert (again.status, again.headers["stream-next-offset"]) == (204, reply.headers["stream-next-offset"])
    assert uploads.send(path, b"+", ONE, NEXT).status == 200
    assert uploads.body(path) == payload + b"+"


@pytest.mark.slow
@given(tries())
@settings(max_examples=60)
def test_any_split_of_any_upload(uploads: Uploads, drawn: tuple[bytes, list[tuple[Framing, int]], Framing]) -> None:
    payload, broken, last = drawn
    path = uploads.fresh("application/octet-stream")
    fields = UPLOAD | {"Content-Type": "application/octet-stream"}
    for framing, sent_bytes in broken:
        uploads.send_and_leave(path, payload, framing, fields=fields, sent_bytes=sent_bytes)
    reply = uploads.send(path, payload, last, fields)
    assert (reply.status, reply.headers["producer-seq"]) in {(200, "0"), (204, "0")}
    assert uploads.body(path) == payload


def compositions(size: int) -> Iterator[tuple[int, ...]]:
    for count in range(size):
        yield from itertools.combinations(range(1, size), count)


@pytest.mark.slow
@pytest.mark.parametrize("chunked", list(itertools.product((True, False), repeat=2)))
def test_every_split_of_a_small_upload(uploads: Uploads, chunked: tuple[bool, bool]) -> None:
    payload = b"abcd"
    for ends, other_ends in itertools.product(compositions(4), repeat=2):
        for sent_bytes in range(5):
            path = uploads.fresh()
            first, second = Framing(chunked[0], ends), Framing(chunked[1], other_ends)
            uploads.send_and_leave(path, payload, first, fields=UPLOAD, sent_bytes=sent_bytes)
            uploads.send(path, payload, second, UPLOAD)
            assert uploads.body(path) == payload, (first, second, sent_bytes)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
def test_a_cut_upload_comes_through_at_the_second_try(uploads: Uploads, *, chunked: bool) -> None:
    """First cut after ``ab``, ``cd``, then sent in one; and the other way round."""
    for first, second, sent_bytes in (((2, 4), (), 4), ((4,), (2, 4), 4), ((), (3,), 0)):
        path, payload = uploads.fresh(), b"abcdef"
        uploads.send_and_leave(path, payload, Framing(chunked, first), fields=UPLOAD, sent_bytes=sent_bytes)
        reply = uploads.send(path, payload, Framing(chunked, second), UPLOAD)
        assert reply.status == 200
        check_whole(uploads, path, payload, reply=reply)


def cut_at(uploads: Uploads, sent_bytes: int) -> str:
    """Return a stream with so many bytes of the upload ``abcdef``."""
    path = uploads.fresh()
    uploads.send_and_leave(path, b"abcdef", Framing(True, (sent_bytes,)), fields=UPLOAD, sent_bytes=sent_bytes)  # noqa: FBT003
    return path


def test_nothing_overtakes_an_upload_that_has_not_ended(uploads: Uploads) -> None:
    path = cut_at(uploads, 3)
    plain = {"Content-Type": "text/plain"}

    overtaking = uploads.ask("POST", path, plain | NEXT, b"x")
    assert (overtaking.status, overtaking.headers["producer-expected-seq"]) == (409, "0")
    instead = uploads.ask("POST", path, plain | UPLOAD, b"abcdef")
    assert (instead.status, b"upload-unfinished" in instead.body) == (409, True)
    assert uploads.ask("POST", path, plain, b"|").status == 204, "others are not kept waiting"
    uploads.send(path, b"abcdef", ONE, UPLOAD)
    assert uploads.body(path) == b"abc|def"


@pytest.mark.parametrize("other", [b"ab", b"abcdefg", b""])
def test_another_upload_under_the_same_triple_is_refused(uploads: Uploads, other: bytes) -> None:
    path = uploads.fresh()
    assert uploads.send(path, b"abcdef", ONE, UPLOAD).status == 200

    reply = uploads.send(path, other, ONE, UPLOAD)
    assert (reply.status, b"upload-differs" in reply.body) == ((409, True) if other else (400, False))
    assert uploads.body(path) == b"abcdef"


def test_a_shorter_retry_of_a_cut_upload_is_not_taken_for_whole(uploads: Uploads) -> None:
    path = cut_at(uploads, 3)
    reply = uploads.send(path, b"ab", ONE, UPLOAD)
    assert (reply.status, b"upload-differs" in reply.body) == (409, True)
    assert uploads.send(path, b"abcdef", ONE, UPLOAD).status == 200
    assert uploads.body(path) == b"abcdef"


def test_a_new_epoch_ends_an_upload_where_it_is(uploads: Uploads) -> None:
    path = cut_at(uploads, 3)
    fields = UPLOAD | {"Producer-Epoch": "1", "Content-Type": "text/plain"}
    assert uploads.ask("POST", path, fields, b"|").status == 200
    stale = uploads.send(path, b"abcdef", ONE, UPLOAD)
    assert (stale.status, stale.headers["producer-epoch"]) == (403, "1")
    assert uploads.body(path) == b"abc|"


def test_an_upload_that_closes_can_be_sent_again(uploads: Uploads) -> None:
    closing = UPLOAD | {"Stream-Closed": "true"}
    for content_type, payload, stored in (
        ("text/plain", b"abcdef", b"abcdef"),
        ("application/json", b"1\n2\n", b"[1,2]"),
    ):
        path, fields = uploads.fresh(content_type), closing | {"Content-Type": content_type}
        if content_type == "text/plain":
            uploads.send_and_leave(path, payload, Framing(True, (2,)), fields=fields, sent_bytes=2)  # noqa: FBT003
        for framing, status in ((Framing(True, (1, 3)), 200), (ONE, 204)):  # noqa: FBT003
            reply = uploads.send(path, payload, framing, fields)
            assert (reply.status, reply.headers["stream-closed"]) == (status, "true")
        assert uploads.body(path) == stored
        assert uploads.send(path, payload + b"3\n", ONE, fields).status == 409


def test_a_stream_made_anew_under_an_upload_does_not_get_its_rest(uploads: Uploads) -> None:
    path = uploads.fresh()
    with uploads.begin(path, b"abcdef", ONE, UPLOAD) as connection:
        connection.sendall(b"3\r\nabc\r\n")
        uploads.await_tail(path, 0, 3)
        uploads.ask("DELETE", path)
        uploads.ask("PUT", path, {"Content-Type": "text/plain"})
        connection.sendall(b"3\r\ndef\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert b"upload-differs" in connection.recv(65536)
    assert uploads.body(path) == b""


def test_a_killed_server_knows_how_far_an_upload_came(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        uploads = Uploads(server)
        path = cut_at(uploads, 4)
        server.restart()
        assert uploads.body(path) == b"abcd"
        reply = uploads.send(path, b"abcdef", Framing(False, (1, 2, 5)), UPLOAD)  # noqa: FBT003
        check_whole(uploads, path, b"abcdef", reply=reply)
        server.restart()
        assert uploads.send(path, b"abcdef", ONE, NEXT | {"Producer-Seq": "0"}).status == 204, "still a duplicate"

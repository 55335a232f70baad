"""Every header field that means something, in every form a client may give it, over every method, on both fronts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol import headers
from durable_streams.protocol.request_fields import READ
from durable_streams.protocol.response_fields import EXPOSED
from tests.fronts.requests import BLANKS, Raw
from tests.fronts.test_differential import BOUNDS, Line
from tests.http.site import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.wire import Reply

NAMES = sorted(
    {
        value
        for name, value in vars(headers).items()
        if name.startswith(("STREAM_", "PRODUCER_")) and isinstance(value, str)
    }
    | set(READ)
)
VALUES = ["", "true", "0", "7", "-1", "x", "ü", "\udcff", "a,b", '"x"', "*", "2100-01-01T00:00:00Z", "/v1/stream/a"]
CLAIM = [("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", "0")]

fronts = pytest.mark.parametrize("lane", [True, False], ids=["lane", "aiohttp"])


def forms(name: str, value: str) -> list[list[tuple[str, str]]]:
    """Return a field as it is, spelt otherwise, doubled, contradicted, and beside a producer's triple."""
    return [
        [(name, value)],
        [(name.upper(), value)],
        [(name.lower(), value), (name, value)],
        [(name, value), (name, "other")],
        [*(pair for pair in CLAIM if pair[0] != name), (name, value)],
    ]


def requests(name: str) -> list[Raw]:
    raws = []
    around = itertools.cycle(itertools.product(BLANKS, BLANKS))
    for value in VALUES:
        for fields in forms(name, value):
            for method in ("PUT", "POST", "GET", "HEAD", "OPTIONS", "DELETE"):
                body = b"x" if method == "POST" else b""
                length = [("Content-Length", "1")] if body else []
                plain = [("Host", "h"), ("Content-Type", "text/plain")]
                usual = [pair for pair in plain if pair[0] != name]
                blanks = ((" ", ""), *(next(around) for _ in range(5)))
                raws.append(Raw(method, "/v1/stream/a", [*usual, *fields, *length], body, blanks=blanks))
    return raws


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_both_fronts_read_a_field_alike(tmp_path: Path, name: str) -> None:
    async with (
        running(tmp_path / "lane", bounds=BOUNDS, lane=True) as lane_site,
        running(tmp_path / "aiohttp", bounds=BOUNDS, lane=False) as aiohttp_site,
    ):
        lane, aiohttp = Line(lane_site), Line(aiohttp_site)
        for raw in requests(name):
            assert await lane.ask(raw) == await aiohttp.ask(raw), raw.bytes
            if raw.method == "DELETE":  # each round begins on the lane again, and with no stream
                lane.close()
        lane.close()
        aiohttp.close()


def test_every_name_is_read_or_sent() -> None:
    """One that a handler reads and ``READ`` lacks would be read on neither front."""
    assert set(NAMES) <= set(READ) | set(EXPOSED)


@fronts
@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("POST", {"Producer-Id": "p", "producer-id": "q", "Producer-Epoch": "0", "Producer-Seq": "0"}),
        ("POST", {"Stream-Seq": "1", "stream-seq": "2"}),
        ("POST", {"Stream-Closed": "true", "stream-closed": "false"}),
        ("PUT", {"Stream-TTL": "60", "stream-ttl": "61"}),
        ("PUT", {"Authorization": "Bearer a", "authorization": "Bearer b"}),
    ],
)
async def test_a_contradiction_is_refused_and_changes_nothing(
    tmp_path: Path, *, lane: bool, method: str, fields: dict[str, str]
) -> None:
    async with running(tmp_path, lane=lane) as site:
        client = site.client
        await client.put("s")
        reply: Reply = await client.send(method, client.target("s"), {"Content-Type": "text/plain", **fields}, b"x")

        assert (reply.status, reply.code) == (400, "invalid-header")
        assert (await client.head("s")).offset == "0" * 16


@fronts
async def test_blanks_are_no_part_of_a_value(tmp_path: Path, *, lane: bool) -> None:
    """A retry whose field lines end in blanks is the same append; a flag and a sequence mean the same with them."""
    async with running(tmp_path, lane=lane) as site:
        client = site.client
        await client.put("s")
        claim = {"Producer-Id": "w", "Producer-Epoch": "0", "Producer-Seq": "0", "Content-Type": "text/plain"}
        assert (await client.send("POST", client.target("s"), claim, b"once")).status == 200
        for before, after in itertools.product(["", " ", "\t"], [" ", "\t", " \t "]):
            padded = {name: f"{before}{value}{after}" for name, value in claim.items()}
            assert (await client.send("POST", client.target("s"), padded, b"once")).status == 204
        assert (await client.head("s")).offset == f"{4:016d}"

        assert (await client.post("s", b"x", stream_seq="5")).status == 204
        assert (await client.post("s", b"x", stream_seq="5\t ")).code == "stream-seq-conflict"
        assert (await client.post("s", b"x", stream_closed="true ")).closed

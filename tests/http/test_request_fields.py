"""Every header field of a request over every way to write: honoured, refused, or of no meaning there.

The table is tried as it stands, and docs/extensions.md shows it: a value that cannot be granted is refused where the
field is looked at, and changes nothing where it has no meaning.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from durable_streams.http.extensions.streaming_append import APPEND_COUNT, APPEND_MODE
from durable_streams.http.fronts.content_coding import CONTENT_ENCODING
from durable_streams.http.fronts.lane_head import parse_head
from durable_streams.protocol import headers as names
from durable_streams.protocol.conditions import CONDITIONS

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.http.wire import Client, Reply

HONOURED: Final = "honoured"
REFUSED: Final = "refused"
MEANINGLESS: Final = "meaningless"
WAYS: Final = ("append", "upload", "batch", "create", "delete")


class Field(NamedTuple):
    """One field. ``wrong``: a value that no request can be granted with. ``status``: what is then answered.

    ways: what the field is on each of ``WAYS``: ``h``, ``r`` or ``-``.
    """

    name: str
    wrong: str
    status: int
    ways: str


TABLE = [
    Field("Content-Type", "x", 409, "hh-h-"),
    Field(CONTENT_ENCODING, "br", 400, "hhhh-"),
    Field(APPEND_MODE, "x", 400, "hhr--"),
    Field(names.STREAM_CLOSED, "true", 0, "hhrh-"),
    Field(names.STREAM_SEQ, "", 400, "hrr--"),
    Field(names.STREAM_WRITE_TOKEN, "x", 403, "hhr--"),
    Field(names.PRODUCER_ID, "x", 400, "hhr--"),
    Field(names.PRODUCER_EPOCH, "0", 400, "hhr--"),
    Field(names.PRODUCER_SEQ, "0", 400, "hhr--"),
    Field(names.STREAM_TTL, "x", 400, "---h-"),
    Field(names.STREAM_EXPIRES_AT, "x", 400, "---h-"),
    Field(names.STREAM_FORKED_FROM, "/none", 404, "---h-"),
    Field(names.STREAM_FORK_OFFSET, "-1", 400, "---h-"),
    Field(names.STREAM_FORK_SUB_OFFSET, "0", 400, "---h-"),
    Field(names.STREAM_PRODUCER_REQUIRED, "x", 400, "---h-"),
    Field(names.STREAM_WRITE_FENCE, "x", 400, "---h-"),
    Field("If-Match", '"x"', 412, "hhrrh"),
    Field("If-None-Match", '"x"', 400, "rrrhr"),
    Field("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT", 400, "rrrrr"),
    Field("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT", 400, "rrrrr"),
    Field("If-Range", '"x"', 400, "rrrrr"),
]
"""A creation's ``Content-Type: x`` is 400; a ``Stream-Closed`` is granted, and shows."""
ANSWERS_ONLY = {
    names.STREAM_CURSOR,
    names.STREAM_EXTENSIONS,
    names.STREAM_NEXT_OFFSET,
    names.STREAM_SSE_DATA_ENCODING,
    names.STREAM_UP_TO_DATE,
    names.PRODUCER_EXPECTED_SEQ,
    names.PRODUCER_RECEIVED_SEQ,
    APPEND_COUNT,
}
MEANINGS = {"h": HONOURED, "r": REFUSED, "-": MEANINGLESS}


def defined() -> set[str]:
    """Every name that this package knows of."""
    spelt = {value for name, value in vars(names).items() if name.startswith(("STREAM_", "PRODUCER_"))}
    return {name for name in spelt if isinstance(name, str)} | {*CONDITIONS, APPEND_MODE, APPEND_COUNT}


def test_the_documentation_shows_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "extensions.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ((?:`[A-Z][\w-]+`(?:, )?)+) \| ([a-z]+) \| ([a-z]+) \| ([a-z]+) \| ([a-z]+) \| ([a-z]+) \|$",
        text,
        re.MULTILINE,
    )
    shown = {name: tuple(ways) for cell, *ways in rows for name in re.findall(r"`([^`]+)`", cell)}
    assert shown == {field.name: tuple(MEANINGS[way] for way in field.ways) for field in TABLE}


def test_the_table_has_every_field() -> None:
    assert {field.name for field in TABLE} - {"Content-Type", CONTENT_ENCODING} == defined() - ANSWERS_ONLY
    assert all(len(field.ways) == len(WAYS) for field in TABLE)


async def write(client: Client, way: str, fields: dict[str, str]) -> Reply:
    """Write one byte to ``s``, create ``new``, or delete ``s``; without more fields each succeeds."""
    plain = {"Content-Type": "text/plain", **fields}
    match way:
        case "append":
            return await client.send("POST", client.target("s"), plain, b"x")
        case "upload":
            return await client.send("POST", client.target("s"), {APPEND_MODE: "stream", **plain}, b"x")
        case "batch":
            line = b'{"path": "s", "content_type": "text/plain", "body": "x"}'
            return await client.send("POST", client.target("__ds/batch"), fields, line)
        case "create":
            return await client.send("PUT", client.target("new"), plain, b"x")
        case _:
            return await client.send("DELETE", client.target("s"), fields)


async def stored(client: Client) -> tuple[bytes, int]:
    """What a write would have changed."""
    return (await client.get("s")).body, (await client.head("new")).status


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", TABLE, ids=[field.name for field in TABLE])
async def test_every_field_on_every_way_to_write(fronted: Site, field: Field, way: str) -> None:
    client = fronted.client
    is_fenced = field.name == names.STREAM_WRITE_TOKEN and way in {"append", "upload"}
    made = {"Content-Type": "text/plain", **({names.STREAM_WRITE_FENCE: "true"} if is_fenced else {})}
    assert (await client.send("PUT", client.target("s"), made)).status == 201
    before = await stored(client)

    reply = await write(client, way, {field.name: field.wrong})

    match MEANINGS[field.ways[WAYS.index(way)]]:
        case "honoured" if field.name == names.STREAM_CLOSED:
            assert reply.closed
            assert (await client.head("new" if way == "create" else "s")).closed
        case "honoured":
            assert reply.status == (400 if (field.name, way) == ("Content-Type", "create") else field.status)
            assert await stored(client) == before
        case "refused":
            assert (reply.status, reply.code) == (
                400,
                "reserved-path" if field.name == APPEND_MODE else "invalid-header",
            )
            assert await stored(client) == before
        case _:
            assert reply.status in {200, 201, 204}, reply
            assert await stored(client) != before
            assert not (await client.head("new" if way == "create" else "s")).closed


@pytest.mark.parametrize("field", TABLE, ids=[field.name for field in TABLE])
def test_the_lane_drops_no_field(field: Field) -> None:
    """What it does not hand to the handlers it hands, with the connection, to aiohttp."""
    head = parse_head(f"POST /v1/stream/s HTTP/1.1\r\nHost: h\r\n{field.name}: {field.wrong}\r\n\r\n".encode())
    assert head is None or head.headers[field.name] == field.wrong


@pytest.mark.parametrize("way", ["append", "upload", "create"])
@pytest.mark.parametrize("field", TABLE, ids=[field.name for field in TABLE])
async def test_a_field_that_comes_twice_is_refused_or_a_list(fronted: Site, field: Field, way: str) -> None:
    """Never one of the two, whichever that is (RFC 9110 §5.3)."""
    client = fronted.client
    await client.put("s")
    before = await stored(client)
    reply = await write(client, way, {field.name: f"{field.wrong}\r\n{field.name}: {field.wrong}"})
    assert reply.status in {400, 412}
    assert await stored(client) == before

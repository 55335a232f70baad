"""The forms in which an offset may be said, wherever one is read: ours, and the reference server's two halves (§8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.offsets import format_offset
from tests.http.test_follow_many import follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.site import Site

FIRST_HALF = "0" * 16 + "_"


@pytest.mark.parametrize("form", [format_offset, lambda position: FIRST_HALF + format_offset(position)])
async def test_a_position_may_be_said_in_either_form(fronted: Site, form: Callable[[int], str]) -> None:
    client = fronted.client
    await client.put("j", "application/json", b"[1,2,3]")

    for position, body in ((0, b"[1,2,3]"), (2, b"[2,3]"), (6, b"[]")):
        page = await client.get("j", offset=form(position))
        assert (page.status, page.body, page.offset) == (200, body, format_offset(6))
    polled = await client.get("j", offset=form(4), live="long-poll")
    assert (polled.status, polled.body) == (200, b"[3]")
    async with client.events("j", offset=form(2)) as events:
        assert (await events.pair())[0] == "[2,3]"
    async with follow(client, {"path": "j", "offset": form(4)}) as followed:
        assert [data for _, kind, data in await followed.until_live(1) if kind == "data"] == ["[3]"]
    fork = await client.fork("f", "j", stream_fork_offset=form(2))
    assert (fork.status, fork.offset) == (201, format_offset(2))


@pytest.mark.parametrize("offset", ["0000000000000001_0000000000000002", "0000000000000000_000000000000002", "0_0"])
async def test_another_servers_offsets_are_refused_everywhere(fronted: Site, offset: str) -> None:
    client = fronted.client
    await client.put("j", "application/json", b"[1,2,3]")

    queries: tuple[dict[str, str], ...] = ({}, {"live": "long-poll"}, {"live": "sse"})
    for query in queries:
        assert (await client.get("j", None, offset=offset, **query)).code == "invalid-offset"
    assert (await client.fork("f", "j", stream_fork_offset=offset)).code == "invalid-offset"
    async with follow(client, {"path": "j", "offset": offset}) as followed:
        assert '"invalid-offset"' in (await followed.take())[2]


async def test_an_offset_beyond_the_tail_is_beyond_it_in_either_form(fronted: Site) -> None:
    await fronted.client.put("j", "application/json", b"[1,2,3]")

    for offset in (format_offset(7), FIRST_HALF + format_offset(7)):
        assert (await fronted.client.get("j", offset=offset)).code == "offset-beyond-tail"

"""Pages of other origins: what they may send, and what they may read of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams.http.cors import ASKED_MAX_BYTES
from durable_streams.protocol.request_fields import OF_PROXIES, READ
from durable_streams.protocol.response_fields import EXPOSED, SENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Reply


async def ask(site: Site, path: str, names: str | None) -> Reply:
    fields = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    if names is not None:
        fields["Access-Control-Request-Headers"] = names
    return await site.client.send("OPTIONS", site.client.target(path), fields)


@pytest.fixture
async def fronted(run: Run, lane: bool) -> AsyncIterator[Site]:  # noqa: FBT001 pytest hands fixtures over like this
    """A server that pages of every origin may use, once behind each front."""
    async with run(lane=lane, allow_origins=("*",)) as site:
        yield site


@pytest.mark.parametrize("path", ["s", "no/such", "__ds/streams", "a//b"])
async def test_browsers_may_send_whatever_they_ask_for(fronted: Site, path: str) -> None:
    """Tracing, tenants: no list of ours could have them all."""
    reply = await ask(fronted, path, "baggage,traceparent,stream-seq , x-tenant\t,,authorization")

    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert set(reply.headers["access-control-allow-methods"].split(", ")) >= {"GET", "HEAD", "POST", "PUT", "DELETE"}
    assert reply.headers["access-control-allow-headers"] == "baggage, traceparent, stream-seq, x-tenant, authorization"
    assert reply.headers["vary"] == "Access-Control-Request-Headers"
    assert int(reply.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize("names", [None, "", " , "])
async def test_who_asks_for_nothing_is_told_what_is_read(fronted: Site, names: str | None) -> None:
    allowed = (await ask(fronted, "s", names)).headers["access-control-allow-headers"].split(", ")

    assert set(allowed) == set(READ) - {"Host", "Origin", "Access-Control-Request-Headers", *OF_PROXIES}


@pytest.mark.parametrize(
    "names", ["a b", "a, b:", "ü", "a;b", '"a"', "a\x7f", f"x{'x' * ASKED_MAX_BYTES}", "(a)", "*, <script>"]
)
async def test_what_is_no_list_of_names_is_not_sent_back(fronted: Site, names: str) -> None:
    reply = await ask(fronted, "s", names)

    assert reply.status == 400
    assert "access-control-allow-headers" not in reply.headers


async def test_a_list_on_several_lines_is_one(fronted: Site) -> None:
    fields = {"Access-Control-Request-Headers": "a", "access-control-request-headers": "b, c"}
    reply = await fronted.client.send("OPTIONS", fronted.client.target("s"), fields)

    assert reply.headers["access-control-allow-headers"] == "a, b, c"


async def test_scripts_may_read_every_field_that_concerns_them(fronted: Site) -> None:
    """Every field that there is comes through either front, and no other; those that concern scripts are exposed."""
    replies = await replies_of_every_kind(fronted)

    assert set().union(*(reply.headers for reply in replies)) == {name.lower() for name in SENT}
    assert {reply.headers["access-control-expose-headers"] for reply in replies} == {", ".join(EXPOSED)}


async def replies_of_every_kind(site: Site) -> list[Reply]:
    """Return answers that have among them every field; the last one is of a server that shuts down."""
    client = site.client
    claim = {"producer_id": "p", "producer_epoch": "0"}
    upload = {"stream_append_mode": "stream"}
    replies = [
        await client.put("s"),
        await client.post("s", b"x", **claim, producer_seq="0"),
        await client.post("s", b"x", **claim, producer_seq="5"),
        await client.post("s", b"x", **upload),
        await client.get("s", offset="-1"),
        await client.get("s", offset="-1", live="long-poll"),
        await client.post("s", b"", stream_closed="true"),
        await client.post("s", b"x"),
        await client.put("t", stream_ttl="60", stream_producer_required="true", stream_write_fence="true"),
        await client.put("e", stream_expires_at="2100-01-01T00:00:00Z"),
        await client.put("page", "text/html", b"x"),
        await client.get("page", offset="-1"),
        await client.head("t"),
        await client.head("e"),
        await client.send("PATCH", client.target("s")),
        await client.get("none"),
        await client.post("t", b"x", **upload),
        await ask(site, "s", "stream-seq"),
    ]
    await client.put("b", "application/octet-stream")
    async with client.events("b", offset="-1") as events:
        replies.append(events.head)
    await site.server.committer.drain()
    return [*replies, await client.put("late")]

"""Entity tags and cache headers: what may be kept, for how long, and when it has changed (§10.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.site import bounded

if TYPE_CHECKING:
    from tests.http.conftest import Run
    from tests.http.site import Site
    from tests.http.wire import Client


async def test_an_unchanged_page_is_not_sent_again(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"hello")
    page = await client.get("s", offset="-1")
    tag = page.headers["etag"]

    target = client.target("s", offset="-1")
    async with client.wire() as wire:
        for value in (tag, f"W/{tag}", f'"x", {tag}', f'"x",{tag},"y"', "*"):
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {value}\r\n\r\n".encode())
            reply = await wire.reply()
            assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)
            assert reply.headers["cache-control"] == page.headers["cache-control"]
            assert reply.offset == page.offset
        for value in ('"x"', tag[:-1], tag.strip('"'), ""):
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {value}\r\n\r\n".encode())
            assert (await wire.reply()).body == b"hello"


async def test_a_tag_changes_with_the_bytes_and_with_the_end(client: Client) -> None:
    await client.put("s", "text/plain", b"hello")
    first = await client.get("s", offset="-1")

    await client.post("s", b"!")
    second = await client.get("s", {"If-None-Match": first.headers["etag"]}, offset="-1")
    assert (second.status, second.body) == (200, b"hello!")

    await client.finish("s")
    third = await client.get("s", {"If-None-Match": second.headers["etag"]}, offset="-1")
    assert (third.status, third.body, third.closed) == (200, b"hello!", True)
    assert third.headers["etag"] not in {first.headers["etag"], second.headers["etag"]}
    assert third.headers["etag"].endswith(':c"')

    again = await client.get("s", {"If-None-Match": third.headers["etag"]}, offset="-1")
    assert (again.status, again.closed) == (304, True)


async def test_the_empty_page_at_the_tail_tells_of_the_end(client: Client) -> None:
    """A reader that revalidates its last, empty page must see the stream close behind it."""
    await client.put("s", "text/plain", b"hello")
    at_tail = await client.get("s", offset=f"{5:016d}")
    await client.finish("s")

    reply = await client.get("s", {"If-None-Match": at_tail.headers["etag"]}, offset=f"{5:016d}")

    assert (reply.status, reply.closed) == (200, True)


async def test_a_historic_page_keeps_its_tag(run: Run) -> None:
    async with run(bounds=bounded(max_chunk_bytes=10)) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * 20)
        before = await client.get("s", offset="-1")
        await client.post("s", b"y")
        await client.finish("s")

        assert (await client.get("s", {"If-None-Match": before.headers["etag"]}, offset="-1")).status == 304


async def test_a_page_that_is_no_longer_the_last_has_changed(run: Run, lane: bool) -> None:  # noqa: FBT001
    """A cache keeps the headers that a 304 does not name: the client would go on believing that it has everything."""
    async with run(bounds=bounded(max_chunk_bytes=10), lane=lane) as site:
        client = site.client
        await client.put("s", "text/plain", b"x" * 10)
        last = await client.get("s", offset="-1")
        assert last.up_to_date
        await client.post("s", b"y")

        more = await client.get("s", {"If-None-Match": last.headers["etag"]}, offset="-1")
        assert (more.status, more.body, more.up_to_date) == (200, last.body, False)
        again = await client.get("s", {"If-None-Match": more.headers["etag"]}, offset="-1")
        assert (again.status, again.up_to_date) == (304, False)


async def test_a_304_says_of_the_end_what_the_answer_said(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "text/plain", b"x")
    for change in (None, client.post("s", b"y"), client.finish("s")):
        if change is not None:
            await change
        for bound in (1, 1000):
            answer = await client.get("s", offset="-1", max_bytes=bound)
            again = await client.get("s", {"If-None-Match": answer.headers["etag"]}, offset="-1", max_bytes=bound)
            assert (answer.status, again.status) == (200, 304)
            for name in ("stream-up-to-date", "stream-closed", "stream-next-offset", "etag", "cache-control"):
                assert again.headers.get(name) == answer.headers.get(name)


async def test_another_stream_at_the_path_has_other_tags(client: Client) -> None:
    await client.put("s", "text/plain", b"old")
    old = await client.get("s", offset="-1")
    await client.delete("s")
    await client.put("s", "text/plain", b"new")

    assert (await client.get("s", {"If-None-Match": old.headers["etag"]}, offset="-1")).body == b"new"


async def test_what_is_true_for_a_moment_is_not_kept(client: Client) -> None:
    await client.put("s", "application/json", b"1")
    await client.put("empty", "text/plain")
    for reply in (
        await client.get("s", offset="now"),
        await client.get("s", tail=1),
        await client.get("s", tail=1, live="long-poll"),
        await client.get("s", offset=f"{2:016d}"),
        await client.get("empty", offset="-1"),
        await client.head("s"),
        await client.get("no"),
    ):
        assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in (await client.get("s", offset="now")).headers


@pytest.mark.parametrize("scope", ["public", "private"])
async def test_pages_say_who_may_keep_them(run: Run, scope: str) -> None:
    async with run(cache_scope=scope) as site:
        await site.client.put("s", "text/plain", b"x")

        kept = (await site.client.get("s", offset="-1")).headers["cache-control"].split(", ")
        assert kept[:2] == [scope, "max-age=60"]
        polled = (await site.client.get("s", offset="-1", live="long-poll")).headers["cache-control"]
        assert polled.split(", ")[0] == scope

"""The inspector's files, as plain HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import aiohttp
import pytest

from durable_streams.http.messages import Answer, Request
from durable_streams.http.ui import route

if TYPE_CHECKING:
    from tests.conftest import Serve
    from tests.serving import ServerProcess


def get(path: str, *, method: str = "GET", root: str = "/v1/stream", tag: str | None = None) -> Answer:
    headers = {} if tag is None else {"If-None-Match": tag}
    return route(Request(method, path, (), headers, b"", "http://localhost"), root)


def test_no_script_but_the_pages_own_may_run() -> None:
    fields = dict(get("/_ui").headers)
    policy = dict(rule.strip().split(" ", 1) for rule in fields["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    page = get("/_ui").body.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=|https?://", page)


def test_the_page_is_told_the_root_and_every_file_it_names_is_there() -> None:
    page = get("/_ui", root='/a"b/').body.decode()
    assert 'name="stream-root" content="/a&quot;b"' in page
    assert 'name="stream-root" content=""' in get("/_ui", root="/").body.decode()
    names = re.findall(r'(?:src|href)="_ui/([^"]+)"', page)
    assert len(names) >= 3
    for name in names:
        assert get(f"/_ui/{name}").status == 200, name


def test_what_is_not_a_file_is_refused() -> None:
    assert get("/_ui/../server.py").status == 404
    assert get("/_ui/__init__.py").status == 404
    assert get("/_ui", method="POST").status == 405
    assert dict(get("/_ui/").headers)["Location"] == "../_ui"


def test_a_kept_copy_is_not_sent_again() -> None:
    first = get("/_ui/app.js")
    again = get("/_ui/app.js", tag=dict(first.headers)["ETag"])
    assert (first.status, again.status, again.body) == (200, 304, b"")


async def test_the_server_serves_it(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}/_ui/") as answer:
            assert answer.status == 200
            assert str(answer.url) == f"{server.url}/_ui"
            assert 'content="/v1/stream"' in await answer.text()
        async with http.put(f"{server.url}/_ui/x", headers={"Content-Type": "text/plain"}) as answer:
            assert answer.status == 405


@pytest.mark.parametrize("front", ["--lane", "--no-lane"])
@pytest.mark.parametrize("root", ["/v1/stream", "/"])
async def test_it_can_be_left_out(serve: Serve, front: str, root: str) -> None:
    server = serve(engine="memory", arguments=["--no-ui", front, "--root", root])
    async with aiohttp.ClientSession() as http:
        for path in ("/_ui", "/_ui/", "/_ui/app.js"):
            async with http.get(server.url + path) as answer:
                assert (answer.status, answer.content_type) == (404, "application/problem+json")
        # Nor does anybody get to put a page of their own there.
        async with http.put(f"{server.url}/_ui", data="<h1>", headers={"Content-Type": "text/html"}) as answer:
            assert answer.status == 404
        async with http.get(f"{server.url}/healthz") as answer:
            assert answer.status == 200

"""Sends readers on to a stream of a session, also while there is none yet: looking at a session creates nothing.

Until somebody asks something, the reader is answered as by an empty stream: a page that holds nothing, a long-poll in
which nothing happens, events that keep it waiting. Its offset is still the beginning, so it misses nothing, and the
first request after that is sent on.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from durable_streams.agents.service.chat import ADAPTER, stream_url
from durable_streams.agents.service.event_streams import EVENT_STREAM
from durable_streams.client import StreamNotFoundError

if TYPE_CHECKING:
    from durable_streams.agents.sessions.places import Places

WAIT_S: Final = 15.0
"""How long a live reader is kept waiting in one request: no longer than any event stream here is silent."""
LOOK_S: Final = 0.25
LOOK_MAX_S: Final = 1.0
"""Time between two looks whether the stream is there: short at first, as a prompt often follows at once."""
_EMPTY: Final = {
    "Stream-Next-Offset": "-1",
    "Stream-Up-To-Date": "true",
    "Cache-Control": "no-store",
}
_CONTROL: Final = b'event: control\ndata: {"streamNextOffset":"-1","upToDate":true}\n\n'


async def to_stream(request: web.Request, path: str) -> web.StreamResponse:
    """Return a redirect to a stream, with the query as it came, or what an empty stream would answer."""
    places = request.app[ADAPTER].places
    live = request.query.get("live")
    if await _exists(places, path):
        return _redirect(request, path)
    if live == "sse":
        return await _events(request, path)
    if live is None:
        return web.Response(body=b"[]", content_type="application/json", headers=_EMPTY)
    if await _comes(places, path):
        return _redirect(request, path)
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=_EMPTY)


async def _events(request: web.Request, path: str) -> web.StreamResponse:
    """Keep a reader of events waiting; it comes back when this ends."""
    response = web.StreamResponse(headers={"Content-Type": EVENT_STREAM, "Cache-Control": "no-cache"})
    await response.prepare(request)
    try:
        await response.write(_CONTROL)
        await _comes(request.app[ADAPTER].places, path)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the reader has gone
    return response


async def _comes(places: Places, path: str) -> bool:
    """Return whether the stream is there within ``WAIT_S``."""
    wait_s = LOOK_S
    deadline_s = asyncio.get_running_loop().time() + WAIT_S
    while asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(wait_s)
        if await _exists(places, path):
            return True
        wait_s = min(wait_s * 2, LOOK_MAX_S)
    return False


async def _exists(places: Places, path: str) -> bool:
    try:
        await places.stream(path).head()
    except StreamNotFoundError:
        return False
    return True


def _redirect(request: web.Request, path: str) -> web.Response:
    url = stream_url(request.app[ADAPTER], path)
    query = f"?{request.query_string}" if request.query_string else ""
    return web.Response(
        status=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": url + query, "Cache-Control": "no-store"}
    )

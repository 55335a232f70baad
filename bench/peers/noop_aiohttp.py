"""The HTTP floor: an aiohttp handler that reads a body and answers 204. ``python -m bench.peers.noop_aiohttp PORT``."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=201 if request.method == "PUT" else 204)


def main() -> None:
    uvloop.install()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", answer)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, backlog=8192)


if __name__ == "__main__":
    main()

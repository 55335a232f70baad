"""The application: which path is handled by what, and how it is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from durable_streams.agents.service import agui, answering, chat, draining, history_routes, session_routes
from durable_streams.agents.service.access import Access
from durable_streams.agents.service.answers import ACCESS, TELLER, add_cors, guarded, json_answer
from durable_streams.agents.service.chat import ADAPTER
from durable_streams.agents.sessions.counts import CONTENT_TYPE
from durable_streams.agents.telling import Teller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from durable_streams.agents.sessions.adapter import Adapter

PAGE: Final = Path(__file__).resolve().parent.parent / "page"
BODY_MAX_BYTES: Final = 16 * 2**20
ABOUT: Final[web.AppKey[dict[str, object]]] = web.AppKey("about")


def make_app(
    adapter: Adapter, about: Mapping[str, object] | None = None, *, access: Access | None = None
) -> web.Application:
    """Return the application; it runs the adapter while it runs itself.

    Args:
        adapter: does the work.
        about: shown at ``/api/config``, such as the model's name.
        access: who is let in; pages of the same origin alone by default, under any name.
    """
    app = web.Application(middlewares=[guarded], client_max_size=BODY_MAX_BYTES)
    app[ADAPTER] = adapter
    app[ABOUT] = dict(about or {})
    app[ACCESS] = access or Access()
    app[TELLER] = Teller(adapter.settings.show_errors)
    for prefix in ("/api/chat", "/api/sse/chat"):
        app.router.add_post(prefix, chat.post_prompt)
        app.router.add_get(prefix + "/{session_id}/stream", chat.get_stream)
        app.router.add_post(prefix + "/{session_id}/stop", chat.post_stop)
        app.router.add_post(prefix + "/{session_id}/answers", answering.post_answers)
    app.router.add_post("/api/agui", agui.post_run)
    app.router.add_get("/api/sessions", session_routes.get_sessions)
    session = "/api/sessions/{session_id}"
    app.router.add_get(session, session_routes.get_session)
    app.router.add_get(f"{session}/stream", session_routes.get_session_stream)
    app.router.add_get(f"{session}/events", session_routes.get_session_stream)
    app.router.add_get(f"{session}/agui", session_routes.get_agui_stream)
    app.router.add_get(f"{session}/messages", session_routes.get_messages)
    app.router.add_get(f"{session}/presence", session_routes.get_presence)
    app.router.add_get(f"{session}/usage", session_routes.get_usage)
    app.router.add_post(f"{session}/messages", session_routes.post_messages)
    app.router.add_post(f"{session}/events", session_routes.post_events)
    app.router.add_post(f"{session}/presence", session_routes.post_presence)
    app.router.add_post(f"{session}/stop", chat.post_stop)
    app.router.add_post(f"{session}/answers", answering.post_answers)
    message = f"{session}/messages/{{message_id}}"
    app.router.add_patch(session, history_routes.patch_session)
    app.router.add_delete(session, history_routes.delete_session)
    app.router.add_delete(message, history_routes.delete_message)
    app.router.add_get(f"{message}/versions", history_routes.get_versions)
    app.router.add_post(f"{message}/select", history_routes.post_select)
    app.router.add_post(f"{session}/fork", history_routes.post_fork)
    app.router.add_get("/api/config", _config)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/health", draining.get_health)
    app.router.add_get("/", _index)
    app.router.add_static("/page", PAGE)
    app.on_response_prepare.append(_keep_fresh)
    app.on_response_prepare.append(add_cors)
    app.on_response_prepare.append(draining.say_when)
    app.cleanup_ctx.append(_running)
    return app


async def _running(app: web.Application) -> AsyncIterator[None]:
    async with app[ADAPTER]:
        yield


async def _keep_fresh(request: web.Request, response: web.StreamResponse) -> None:
    """Let browsers ask whether the page's files have changed: modules of two versions do not fit together."""
    if request.path.startswith("/page/"):
        response.headers["Cache-Control"] = "no-cache"


async def _config(request: web.Request) -> web.StreamResponse:
    settings = request.app[ADAPTER].settings
    streams_url = settings.public_streams_url or settings.streams_url
    return json_answer({"streamsUrl": streams_url, "onBusy": settings.on_busy} | request.app[ABOUT])


async def _metrics(request: web.Request) -> web.StreamResponse:
    text = request.app[ADAPTER].metrics()
    return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


async def _index(_request: web.Request) -> web.StreamResponse:
    index = PAGE / "index.html"
    if not index.is_file():
        return web.Response(text="The agent adapter runs; its endpoints are below /api.\n")
    return web.FileResponse(index, headers={"Cache-Control": "no-cache"})

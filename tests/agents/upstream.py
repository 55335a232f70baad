"""A model's server that says what a script tells it, with the faults the script asks for.

Real HTTP on 127.0.0.1. Scripts are chosen by the last text of the user, else by the request's ``model``. Every request
is recorded with how it ended, which is what proves that a stop has reached it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from tests.agents.wire_bytes import WIRES, Said, Text
from tests.patience import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATHS = {
    "/v1/chat/completions": "openai_chat",
    "/v1/responses": "openai_responses",
    "/v1/messages": "anthropic",
}


@dataclass
class Script:
    """How to answer.

    Attributes:
        said: the answer's items.
        delay_s: before each event.
        hang_after: say so many events, then nothing until the client goes.
        gate_after: say so many events, then nothing until somebody posts to ``/go``.
        cut_after_bytes: send so many bytes, then break the connection.
        split: how the answer's bytes are cut into writes; `None`: one write per event.
        statuses: answers to give first, one per request, before the script itself.
        retry_after: sent with those.
        error_after: say so many events, then an error event.
        then: the script once the history holds a tool's result.
        raw: instead of all that, the very writes of each answer, one answer after the other; the last one stays.
        content_type: of those.
        stays_open: the connection does, after an answer's last byte, until the client goes.
    """

    said: Sequence[Said] = field(default_factory=lambda: [Text("Hello"), Text(" "), Text("world")])
    delay_s: float = 0.0
    hang_after: int | None = None
    gate_after: int | None = None
    cut_after_bytes: int | None = None
    split: Callable[[bytes], list[bytes]] | None = None
    statuses: list[int] = field(default_factory=list)
    retry_after: str | None = None
    error_after: int | None = None
    then: Script | None = None
    raw: list[Sequence[bytes]] = field(default_factory=list)
    content_type: str = "text/event-stream"
    stays_open: bool = False


@dataclass
class Request:
    """One request: its body, how many events were sent, and how it ended."""

    wire: str
    body: dict[str, Any]
    sent: int = 0
    end: str | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedUpstream:
    """The server; `base_url` is without ``/v1``."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.requests: list[Request] = []
        self.tool_calls = 0
        self.tool_called = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._gates: set[asyncio.Event] = set()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        for path in PATHS:
            app.router.add_post(path, self._answer)
        app.router.add_post("/tool", self._tool)
        app.router.add_post("/go", self._go)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def arrived(self, count: int = 1) -> Request:
        """Wait for the count-th request (from 1) and return it."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def _tool(self, _request: web.Request) -> web.Response:
        """Answer never: a tool's effect that a test can see."""
        self.tool_calls += 1
        self.tool_called.set()
        await asyncio.Event().wait()
        return web.Response()

    async def _go(self, _request: web.Request) -> web.Response:
        """Let the answers that wait at their gates go on."""
        for gate in self._gates:
            gate.set()
        self._gates.clear()
        return web.Response()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        record = Request(PATHS[request.path], body)
        self.requests.append(record)
        async with self._arrived:
            self._arrived.notify_all()
        script = self.scripts.get(_asked(body)) or self.scripts.get(body["model"]) or Script()
        while script.then is not None and _has_result(body):
            script = script.then
        if script.statuses:
            return self._refuse(record, script)
        response = web.StreamResponse(headers={"Content-Type": script.content_type})
        try:
            await response.prepare(request)
            await self._say(record, script, response)
        except ConnectionResetError:
            self._end(record, "disconnected")
            return response
        except asyncio.CancelledError:
            self._end(record, "disconnected")
            raise
        self._end(record, "complete" if script.cut_after_bytes is None else "cut")
        return response

    def _refuse(self, record: Request, script: Script) -> web.Response:
        status = script.statuses.pop(0)
        self._end(record, f"status {status}")
        headers = {} if script.retry_after is None else {"Retry-After": script.retry_after}
        error = {"type": "overloaded_error", "message": f"scripted {status}"}
        return web.json_response({"type": "error", "error": error}, status=status, headers=headers)

    async def _say(self, record: Request, script: Script, response: web.StreamResponse) -> None:
        if script.raw:
            await self._say_raw(record, script, response)
            return
        events = WIRES[record.wire](script.said)
        if script.error_after is not None:
            error = {"type": "overloaded_error", "message": "scripted error", "code": "server_error"}
            failed = b'data: {"type":"error","message":"scripted error","error":%s}\n\n' % web.json_response(error).body
            named = b"event: error\n" if record.wire != "openai_chat" else b""
            events = [*events[: script.error_after], named + failed]
        if script.split is not None:
            events = script.split(b"".join(events))
        sent_bytes = 0
        for event in events:
            if script.hang_after is not None and record.sent >= script.hang_after:
                record.started.set()
                await asyncio.Event().wait()
            if record.sent == script.gate_after:
                gate = asyncio.Event()
                self._gates.add(gate)
                await gate.wait()
            if script.delay_s:
                await pause(script.delay_s)
            if script.cut_after_bytes is not None and sent_bytes + len(event) >= script.cut_after_bytes:
                await response.write(event[: script.cut_after_bytes - sent_bytes])
                transport = response._req.transport if response._req else None
                if transport is not None:
                    transport.abort()
                return
            await response.write(event)
            sent_bytes += len(event)
            record.sent += 1
        record.started.set()

    @staticmethod
    async def _say_raw(record: Request, script: Script, response: web.StreamResponse) -> None:
        writes = script.raw.pop(0) if len(script.raw) > 1 else script.raw[0]
        for piece in writes:
            await response.write(piece)
            record.sent += 1
        record.started.set()
        if script.stays_open:
            await asyncio.Event().wait()

    @staticmethod
    def _end(record: Request, how: str) -> None:
        record.end = how
        record.started.set()
        record.ended.set()


def _asked(body: dict[str, Any]) -> str:
    """Return the last text of a user."""
    items = body.get("messages") or body.get("input") or []
    for item in reversed(items if isinstance(items, list) else []):
        if item.get("role") == "user":
            content = item["content"]
            texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
            if any(texts):  # Anthropic has tools' results in messages of the user
                return "".join(texts)
    return ""


def _has_result(body: dict[str, Any]) -> bool:
    items = body.get("messages") or body.get("input") or []
    for item in items if isinstance(items, list) else []:
        if item.get("role") == "tool" or item.get("type") == "function_call_output":
            return True
        content = item.get("content")
        if isinstance(content, list) and any(part.get("type") == "tool_result" for part in content):
            return True
    return False

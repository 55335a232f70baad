"""A model's server that answers with the very bytes it is given, and keeps what it was asked.

Real HTTP on 127.0.0.1. Where a test is about the bytes themselves, no script could say them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiohttp import web

from durable_streams.agents.sources.http import HttpModel, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable_streams.agents.wires.base import Wire
    from durable_streams.agents.wires.options import Options


@dataclass(frozen=True)
class Answer:
    """One answer."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request."""

    url: str
    headers: dict[str, str]
    body: dict[str, Any]


class RawModel:
    """The server; answers are given in turn, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self._clients: list[HttpModel] = []

    def client(self, wire: Wire, options: Options | None = None, **upstream: Any) -> HttpModel:  # noqa: ANN401 any setting
        """Return a model that asks this server."""
        allowed = upstream.pop("allowed", frozenset())
        settings = {"base_url": self.base_url, "model": "m"} | upstream
        self._clients.append(HttpModel(Upstream(**settings), wire, options=options, allowed=allowed))
        return self._clients[-1]

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**25)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for client in self._clients:
            await client.aclose()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        url = str(request._message.url)  # as it stands in the request: whole, where this is somebody's proxy
        self.asked.append(Asked(url, dict(request.headers), orjson.loads(await request.read())))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


def sse(*events: dict[str, Any] | str) -> Answer:
    """Return an event stream of these."""
    return Answer(b"".join(b"data: " + _text(event) + b"\n\n" for event in events))


def _text(event: dict[str, Any] | str) -> bytes:
    return event.encode() if isinstance(event, str) else orjson.dumps(event)


def chat(*deltas: dict[str, Any], reason: str = "stop", usage: dict[str, Any] | None = None) -> Answer:
    """Return an answer of Chat Completions."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    told = [] if usage is None else [{"choices": [], "usage": usage}]
    return sse(*chunks, *told, "[DONE]")


def responses(*items: dict[str, Any], usage: dict[str, Any] | None = None) -> Answer:
    """Return an answer of Responses: each item is done at once, with its text or its call."""
    events: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        place = {"item_id": item.get("id"), "output_index": index, "content_index": 0}
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item["type"] == "message":
            events.append({"type": "response.output_text.delta", **place, "delta": item["content"][0]["text"]})
            events.append({"type": "response.output_text.done", **place, "text": item["content"][0]["text"]})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    response = {"object": "response", "status": "completed", "output": list(items), "usage": usage}
    return sse(*events, {"type": "response.completed", "response": response})


def anthropic(*blocks: Iterable[dict[str, Any]], reason: str = "end_turn") -> Answer:
    """Return an answer of Anthropic: each block is its start and its deltas."""
    usage = {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"content": [], "usage": usage}}]
    for index, (start, *deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}})
    return sse(*events, {"type": "message_stop"})

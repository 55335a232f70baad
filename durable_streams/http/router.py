"""Which handler answers which request; refusals and faults become answers here, and nowhere else."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from durable_streams.http import answers, control, writes
from durable_streams.http.errors import answer_of, problem
from durable_streams.http.messages import Answer
from durable_streams.protocol.errors import ReservedPathError, StreamError
from durable_streams.protocol.paths import RESERVED, parse_path

if TYPE_CHECKING:
    from durable_streams.http.control import Health
    from durable_streams.http.messages import Request, SseStart
    from durable_streams.http.reads import Reads
    from durable_streams.streams import Streams

_log = structlog.get_logger(__name__)
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"


class Router:
    """Answers every request of every front.

    Args:
        streams, reads, health: the handlers' needs.
        root: URL path of the stream root, ``/`` allowed.
    """

    def __init__(self, streams: Streams, reads: Reads, health: Health, *, root: str) -> None:
        self._streams, self._reads, self._health = streams, reads, health
        self._root = "/" + root.strip("/")
        self._prefix = self._root.rstrip("/") + "/"

    async def answer(self, request: Request) -> Answer | SseStart:
        """Return the answer. Never raises but for cancellation: a fault of ours is logged and becomes a 500."""
        try:
            return await self._route(request)
        except StreamError as refusal:
            return answer_of(refusal)
        except Exception as fault:  # noqa: BLE001 the last line of defence
            incident = secrets.token_hex(4)
            _log.error("request failed", incident=incident, method=request.method, path=request.path, exc_info=fault)
            return problem(500, "internal-error", f"internal error {incident}")

    async def _route(self, request: Request) -> Answer | SseStart:
        if request.method == "OPTIONS":
            return Answer(204, answers.PREFLIGHT)
        if request.path in {"/healthz", "/readyz"} and request.method in {"GET", "HEAD"}:
            return self._health.live() if request.path == "/healthz" else self._health.ready()
        if not request.path.startswith(self._prefix):
            return problem(404, "not-found", f"streams are below {self._root}")
        encoded = request.path.removeprefix(self._prefix)
        if encoded.partition("/")[0] == RESERVED:
            return self._control(encoded, request)
        return await self._stream(parse_path(encoded), request)

    def _control(self, encoded: str, request: Request) -> Answer:
        if encoded == f"{RESERVED}/streams":
            if request.method != "GET":
                return _not_allowed("GET, OPTIONS")
            return control.list_streams(self._streams, request)
        if request.method in {"PUT", "POST"}:
            msg = f"paths under {RESERVED} are reserved"
            raise ReservedPathError(msg)
        return problem(404, "not-found", "no such control resource")

    async def _stream(self, path: str, request: Request) -> Answer | SseStart:
        match request.method:
            case "POST":
                return await writes.post(self._streams, path, request)
            case "GET":
                return await self._reads.get(path, request)
            case "HEAD":
                return self._reads.head(path)
            case "PUT":
                return await writes.put(self._streams, path, request, root=self._root)
            case "DELETE":
                return await writes.delete(self._streams, path)
            case _:
                return _not_allowed(_METHODS)


def _not_allowed(methods: str) -> Answer:
    return problem(405, "method-not-allowed", f"allowed: {methods}", extra=(("Allow", methods),))

"""Which handler answers which request; refusals and faults become answers here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.http import control, ui, writes
from durable_streams.http.addresses import Addresses
from durable_streams.http.cors import METHODS, preflight
from durable_streams.http.door import Door
from durable_streams.http.errors import answer_of, answer_to_fault, problem
from durable_streams.http.extensions.batch_append import post_batch
from durable_streams.http.extensions.follow_many import start_follow
from durable_streams.http.extensions.streaming_append import Upload
from durable_streams.http.messages import Answer, Pending, SseStart
from durable_streams.protocol.conditions import refuse_conditions
from durable_streams.protocol.errors import NotFoundError, ReservedPathError, StreamError
from durable_streams.protocol.paths import RESERVED, parse_path
from durable_streams.protocol.response_fields import ALLOW

if TYPE_CHECKING:
    from durable_streams.http.control import Health
    from durable_streams.http.extensions.streaming_append import Holding
    from durable_streams.http.messages import Request, Settle
    from durable_streams.http.reads import Reads
    from durable_streams.http.subscriptions import SubscriptionRoutes
    from durable_streams.runtime.config import ServerConfig
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.service import Streams

_HEALTH = frozenset({"/healthz", "/readyz"})


class Router:
    """Answers every request of every front.

    Args:
        streams, reads, health, subscriptions: the handlers' needs.
        searches: turns of the loop for what a request makes the server look at bit by bit.
        config: the stream root, the largest body, and whether there is an inspector.
    """

    def __init__(
        self,
        streams: Streams,
        reads: Reads,
        health: Health,
        *,
        subscriptions: SubscriptionRoutes,
        searches: Turns,
        config: ServerConfig,
    ) -> None:
        self._streams, self._reads, self._health, self._subscriptions = streams, reads, health, subscriptions
        self._root = "/" + config.root.strip("/")
        self._addresses, self._door = Addresses(config), Door(config)
        self._has_ui = config.ui
        self._prefix = self._root.rstrip("/") + "/"
        self._searches = searches
        self._max_append_bytes = config.bounds.max_append_bytes

    def dispatch(self, request: Request, settle: Settle) -> Pending | None:
        """Answer a request, now or later: ``settle`` is called once, perhaps before this returns.

        Returns what can be abandoned while the answer is still to come. Never raises: a fault of ours is logged and
        becomes a 500.
        """
        try:
            self._door.check(request)
            handled = self._route(request, settle)
        except StreamError as refusal:
            handled = answer_of(refusal)
        except Exception as fault:  # noqa: BLE001 the last line of defence
            handled = answer_to_fault(request, fault)
        if isinstance(handled, Pending):
            return handled
        settle(handled)
        return None

    def open_upload(self, request: Request, holding: Holding) -> Upload:
        """Begin an append that arrives piece by piece. Raises ``StreamError`` if it cannot be begun.

        ``holding``: counts what is held of it.
        """
        self._door.check(request)
        encoded = request.path.removeprefix(self._prefix)
        if not request.path.startswith(self._prefix):
            raise NotFoundError(request.path)
        return Upload(
            self._streams,
            parse_path(encoded),
            request.headers,
            max_append_bytes=self._max_append_bytes,
            holding=holding,
            turns=self._searches,
        )

    def _route(self, request: Request, settle: Settle) -> Answer | SseStart | Pending:
        beside = self._beside_streams(request) if request.method != "OPTIONS" else None
        if beside is not None:
            return beside
        if request.path.startswith(self._prefix):
            encoded = request.path[len(self._prefix) :]
            if not encoded.startswith(RESERVED) or encoded.partition("/")[0] != RESERVED:
                return self._stream(encoded, request, settle)
            if request.method != "OPTIONS":
                return self._control(encoded, request, settle)
        if request.method == "OPTIONS":
            return preflight(request)
        return problem(404, "not-found", f"streams are below {self._root}")

    def _beside_streams(self, request: Request) -> Answer | None:
        """Health and the inspector. With the root ``/`` they hide streams of their names, so none can be made."""
        if ui.handles(request.path):
            return ui.route(request, self._root) if self._has_ui else problem(404, "not-found", "no inspector here")
        if request.path not in _HEALTH:
            return None
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET, HEAD, OPTIONS")
        return self._health.live() if request.path == "/healthz" else self._health.ready()

    def _control(self, encoded: str, request: Request, settle: Settle) -> Answer | SseStart | Pending:  # noqa: PLR0911 one per resource
        if request.method not in {"GET", "HEAD"}:
            refuse_conditions(request.headers)
        if self._subscriptions.handles(encoded):
            return self._subscriptions.route(encoded, request, settle)
        if encoded == f"{RESERVED}/streams":
            if request.method != "GET":
                return _not_allowed("GET, OPTIONS")
            return control.list_streams(self._streams, request)
        if encoded == f"{RESERVED}/batch":
            if request.method != "POST":
                return _not_allowed("POST, OPTIONS")
            return post_batch(self._streams, request, searches=self._searches, settle=settle)
        if encoded == f"{RESERVED}/follow":
            if request.method != "POST":
                return _not_allowed("POST, OPTIONS")
            self._reads.check_room()
            return start_follow(self._streams, request, searches=self._searches, settle=settle)
        if request.method in {"PUT", "POST"}:
            msg = f"paths under {RESERVED} are reserved"
            raise ReservedPathError(msg)
        return problem(404, "not-found", "no such control resource")

    def _stream(self, encoded: str, request: Request, settle: Settle) -> Answer | SseStart | Pending:  # noqa: PLR0911 one per method
        match request.method:
            case "POST":
                return writes.post(self._streams, parse_path(encoded), request, searches=self._searches, settle=settle)
            case "GET":
                return self._reads.get(parse_path(encoded), request, settle)
            case "HEAD":
                return self._reads.head(parse_path(encoded))
            case "PUT":
                return writes.put(
                    self._streams,
                    parse_path(encoded),
                    request,
                    addresses=self._addresses,
                    searches=self._searches,
                    settle=settle,
                )
            case "DELETE":
                return writes.delete(self._streams, parse_path(encoded), request, settle=settle)
            case "OPTIONS":
                return preflight(request)
            case _:
                return _not_allowed(METHODS)


def _not_allowed(methods: str) -> Answer:
    return problem(405, "method-not-allowed", f"allowed: {methods}", extra=((ALLOW, methods),))

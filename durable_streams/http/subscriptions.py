"""Subscription control under ``{root}/__ds/subscriptions`` and the key set (§6, §7): which request means what.

Owns: how these requests are read. Must not know: what they do, how their answers look (``subscription_answers.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from durable_streams.http.errors import problem
from durable_streams.http.messages import LATER, Answer
from durable_streams.http.subscription_answers import (
    JWKS,
    described_fields,
    granted_answer,
    json_answer,
    refused,
    settling,
    subscription_fields,
)
from durable_streams.protocol.errors import InvalidRequestError, PathTooLongError
from durable_streams.protocol.paths import RESERVED, parse_path
from durable_streams.protocol.response_fields import ALLOW
from durable_streams.protocol.subscription_config import (
    ACKS_MAX,
    TEXT_MAX_BYTES,
    parse_creation,
    parse_id,
    parse_object,
    parse_stream,
    parse_streams,
)
from durable_streams.protocol.subscription_errors import (
    InvalidSubscriptionError,
    SubscriptionError,
    TokenInvalidError,
    TooManyAcksError,
)
from durable_streams.subscriptions.wake_commands import WakeRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.http.addresses import Addresses
    from durable_streams.http.messages import Pending, Request, Settle
    from durable_streams.subscriptions.keys import Keyring
    from durable_streams.subscriptions.service import Subscriptions

COLLECTION: Final = f"{RESERVED}/subscriptions"
LINKS_MAX: Final = 10_000
"""Links that one GET shows; ``streams_next_after`` leads to more."""
LIST_MAX: Final = 1_000
LIST_DEFAULT: Final = 100
JWKS_FIELDS: Final = (("Content-Type", "application/jwk-set+json"), ("Cache-Control", "public, max-age=300"))
_BEARER: Final = re.compile(r"Bearer +([!-~]+)", re.IGNORECASE)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class SubscriptionRoutes:
    """Answers what concerns subscriptions.

    Args:
        subscriptions, keyring: what it works with.
        addresses: by which URL receivers reach this server.
    """

    def __init__(self, subscriptions: Subscriptions, keyring: Keyring, *, addresses: Addresses) -> None:
        self._subscriptions, self._keyring, self._addresses = subscriptions, keyring, addresses
        self._actions: dict[str, Callable[[str, Request, Settle], Answer | Pending]] = {
            "streams": self._add_streams,
            "callback": lambda name, request, settle: self._ack(name, request, settle, webhook=True),
            "ack": lambda name, request, settle: self._ack(name, request, settle, webhook=False),
            "claim": self._claim,
            "release": self._release,
            "wake": self._wake,
        }

    def handles(self, encoded: str) -> bool:
        """Whether a root-relative, percent-encoded path is one of these."""
        return encoded in {COLLECTION, JWKS} or encoded.startswith(f"{COLLECTION}/")

    def route(self, encoded: str, request: Request, settle: Settle) -> Answer | Pending:
        """Answer a request, now or later."""
        try:
            return self._route(encoded, request, settle)
        except SubscriptionError as refusal:
            return refused(refusal)

    def _route(self, encoded: str, request: Request, settle: Settle) -> Answer | Pending:  # noqa: PLR0911 one per resource
        if encoded == JWKS:
            return self._jwks(request)
        if encoded == COLLECTION:
            return self._list(request)
        first, _, rest = encoded.removeprefix(f"{COLLECTION}/").partition("/")
        subscription_id = parse_id(first)
        if not rest:
            return self._base(subscription_id, request, settle)
        if rest in self._actions:
            if request.method != "POST":
                return _not_allowed("POST")
            return self._actions[rest](subscription_id, request, settle)
        if rest.startswith("streams/"):
            if request.method != "DELETE":
                return _not_allowed("DELETE")
            return self._remove_stream(subscription_id, rest.removeprefix("streams/"), settle)
        return problem(404, "not-found", "no such control resource")

    # --- resources ---

    def _jwks(self, request: Request) -> Answer:
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET, HEAD")
        return Answer(200, JWKS_FIELDS, self._keyring.jwks())

    def _list(self, request: Request) -> Answer:
        """``?after=&limit=``: an extension (§11.1)."""
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET, HEAD")
        query = dict(request.query)
        limit = query.get("limit", str(LIST_DEFAULT))
        if _COUNT.fullmatch(limit) is None or not 1 <= int(limit) <= LIST_MAX:
            raise InvalidSubscriptionError(f"limit must be a number from 1 to {LIST_MAX}")
        found, next_after = self._subscriptions.scan(query.get("after", ""), int(limit))
        listed = [subscription_fields(*one, keyring=self._keyring) for one in found]
        return json_answer(200, {"subscriptions": listed, "next_after": next_after})

    def _base(self, subscription_id: str, request: Request, settle: Settle) -> Answer | Pending:
        match request.method:
            case "PUT":
                return self._create(subscription_id, request, settle)
            case "GET" | "HEAD":
                after = dict(request.query).get("streams_after", "")
                return self._described(200, subscription_id, after)
            case "DELETE":
                self._subscriptions.submit_delete(subscription_id, settling(settle, lambda _there: Answer(204)))
                return LATER
            case _:
                return _not_allowed("GET, HEAD, PUT, DELETE")

    def _create(self, subscription_id: str, request: Request, settle: Settle) -> Pending:
        creation = parse_creation(request.body)
        base_url = self._addresses.stream_root(request)
        answer = settling(settle, lambda fresh: self._described(201 if fresh else 200, subscription_id, ""))
        self._subscriptions.submit_create(subscription_id, creation, base_url, settle=answer)
        return LATER

    def _add_streams(self, subscription_id: str, request: Request, settle: Settle) -> Pending:
        streams = parse_streams(parse_object(request.body).get("streams"))
        if not streams:
            raise InvalidSubscriptionError("streams must name at least one stream")
        self._subscriptions.submit_add_streams(subscription_id, streams, settling(settle, lambda _done: Answer(204)))
        return LATER

    def _remove_stream(self, subscription_id: str, encoded: str, settle: Settle) -> Pending:
        stream = _decoded_stream(encoded)
        self._subscriptions.submit_remove_stream(subscription_id, stream, settling(settle, lambda _was: Answer(204)))
        return LATER

    # --- wakes ---

    def _claim(self, subscription_id: str, request: Request, settle: Settle) -> Pending:
        worker = parse_object(request.body).get("worker")
        if not isinstance(worker, str) or not 0 < len(worker.encode()) <= TEXT_MAX_BYTES:
            raise InvalidSubscriptionError(f"worker must be a string of 1 to {TEXT_MAX_BYTES} bytes")
        self._subscriptions.submit_claim(subscription_id, worker, settling(settle, granted_answer))
        return LATER

    def _ack(self, subscription_id: str, request: Request, settle: Settle, *, webhook: bool) -> Pending:
        wake = self._wake_request(subscription_id, request)
        answer = settling(settle, lambda woke: json_answer(200, {"ok": True, "next_wake": wake.done and woke}))
        self._subscriptions.submit_ack(subscription_id, wake, answer, webhook=webhook)
        return LATER

    def _release(self, subscription_id: str, request: Request, settle: Settle) -> Pending:
        wake = self._wake_request(subscription_id, request)
        self._subscriptions.submit_release(subscription_id, wake, settling(settle, lambda _woke: Answer(204)))
        return LATER

    def _wake(self, subscription_id: str, _request: Request, settle: Settle) -> Pending:
        """Wake now: an extension (§11.1)."""
        self._subscriptions.submit_wake(subscription_id, settling(settle, lambda _woke: Answer(204)))
        return LATER

    def _wake_request(self, subscription_id: str, request: Request) -> WakeRequest:
        bearer = _BEARER.fullmatch(request.headers.get("Authorization", ""))
        if bearer is None:
            raise TokenInvalidError("the Authorization header must hold a bearer token")
        grant = self._subscriptions.open_wake_token(subscription_id, bearer[1])
        fields = parse_object(request.body)
        generation, wake_id, done = fields.get("generation"), fields.get("wake_id"), fields.get("done", False)
        if type(generation) is not int or not isinstance(wake_id, str) or not isinstance(done, bool):
            raise InvalidSubscriptionError("generation must be a number, wake_id a string, done true or false")
        return WakeRequest(grant, generation, wake_id, _parse_acks(fields.get("acks")), done)

    def _described(self, status: int, subscription_id: str, after: str) -> Answer:
        described = self._subscriptions.describe(subscription_id, after, LINKS_MAX)
        return json_answer(status, described_fields(described, keyring=self._keyring))


def _parse_acks(value: object) -> tuple[tuple[str, str], ...]:
    """Return the acks of a body; a stream may be named by ``path`` as well, as older workers do."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidSubscriptionError("acks must be an array")
    if len(value) > ACKS_MAX:
        raise TooManyAcksError(ACKS_MAX)
    acks = []
    for ack in value:
        offset = ack.get("offset") if isinstance(ack, dict) else None
        if not isinstance(offset, str):
            raise InvalidSubscriptionError("an ack has a stream and an offset")
        acks.append((parse_stream(ack.get("stream", ack.get("path"))), offset))
    return tuple(acks)


def _decoded_stream(encoded: str) -> str:
    try:
        return parse_path(encoded)
    except (InvalidRequestError, PathTooLongError) as refusal:
        raise InvalidSubscriptionError(str(refusal)) from None


def _not_allowed(methods: str) -> Answer:
    return problem(405, "method-not-allowed", f"allowed: {methods}, OPTIONS", extra=((ALLOW, f"{methods}, OPTIONS"),))

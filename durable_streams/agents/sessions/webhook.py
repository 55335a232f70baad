"""Delivers endings by webhook: each at least once, in order, signed, and never in a run's way.

Endings wait in a stream, and a subscription of the streams server remembers how far they were delivered, so they
survive every process. One process at a time delivers; another takes over when it is gone. A receiver that fails is
tried again, later and later, until an ending is a day old.
Signed as Standard Webhooks are: ``webhook-signature: v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from durable_streams.agents.errors import AgentError
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.outcomes import ENDINGS_PATH, create_endings
from durable_streams.agents.sessions.places import JSON
from durable_streams.client import AsyncSubscription, DurableStreamError, FetchError, Worker

if TYPE_CHECKING:
    from durable_streams.agents.sessions.counts import Counts
    from durable_streams.agents.sessions.places import Places
    from durable_streams.runtime.clock import Clock

SUBSCRIPTION: Final = "agents-endings"
WAKES_PATH: Final = "agents/endings-wakes"
TIMEOUT_S: Final = 30.0
FIRST_WAIT_S: Final = 1.0
LAST_WAIT_S: Final = 300.0
GIVE_UP_AFTER_MS: Final = 24 * 3_600_000
AGAIN_S: Final = 5.0
_BASE64_FOLLOWS: Final = "whsec_"

log = structlog.get_logger(__name__)


class InvalidWebhookError(AgentError):
    """A URL or a secret that cannot be used."""

    public = True


@dataclass(frozen=True, slots=True)
class Target:
    """Where endings go.

    Attributes:
        url: takes a POST; any answer from 200 to 299 says that it has the ending. Redirects are not followed.
        key: signs.
    """

    url: str
    key: bytes

    @classmethod
    def of(cls, url: str, secret: str | None) -> Target:
        """Return a target; a secret ``whsec_…`` is base64, any other is itself.

        Raises:
            InvalidWebhookError: no HTTP URL, or no secret.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidWebhookError("--webhook-url is an http or https URL")
        if not secret:
            raise InvalidWebhookError("a webhook is signed: --webhook-secret is missing")
        if not secret.startswith(_BASE64_FOLLOWS):
            return cls(url, secret.encode())
        try:
            return cls(url, base64.b64decode(secret.removeprefix(_BASE64_FOLLOWS), validate=True))
        except binascii.Error as fault:
            raise InvalidWebhookError("--webhook-secret begins with whsec_ but is no base64 behind it") from fault


class Webhook:
    """Delivers what waits."""

    def __init__(self, places: Places, target: Target, *, clock: Clock, counts: Counts) -> None:
        self._places, self._target, self._clock, self._counts = places, target, clock, counts

    async def run(self) -> None:
        """Deliver for ever."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
            while True:
                try:
                    await self._subscribe()
                    async with Worker(self._places.root_url, SUBSCRIPTION) as worker:
                        async for work in worker:
                            for ending in work.items:
                                await self._deliver(http, ending)
                except (DurableStreamError, FetchError) as fault:
                    log.warning("webhook_waits", error=str(fault))
                except Exception:
                    log.exception("webhook_failed")
                await asyncio.sleep(AGAIN_S)

    async def _subscribe(self) -> None:
        await create_endings(self._places)
        await self._places.stream(WAKES_PATH).create_stream(content_type=JSON)
        async with AsyncSubscription(self._places.root_url, SUBSCRIPTION) as subscription:
            await subscription.create({"type": "pull-wake", "streams": [ENDINGS_PATH], "wake_stream": WAKES_PATH})

    async def _deliver(self, http: aiohttp.ClientSession, ending: Any) -> None:  # noqa: ANN401 anybody may have written it
        wait_s = FIRST_WAIT_S
        while not await self._post(http, ending):
            if self._is_old(ending):
                self._counts.delivered("given up")
                log.error("webhook_given_up", ending=ending)
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_WAIT_S)

    async def _post(self, http: aiohttp.ClientSession, ending: Any) -> bool:  # noqa: ANN401 as above
        body = encoded(ending) if isinstance(ending, dict) else b"null"
        message_id, at_s = _id_of(ending), self._clock.now_ms() // 1000
        headers = {
            "Content-Type": JSON,
            "webhook-id": message_id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": signature(self._target.key, message_id, at_s=at_s, body=body),
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with http.post(
                self._target.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                taken = 200 <= answer.status < 300  # noqa: PLR2004 2xx
                said = f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            taken, said = False, f"{type(fault).__name__}: {fault}"
        self._counts.delivered("delivered" if taken else "failed")
        if not taken:
            log.warning("webhook_refused", attempt=message_id, said=said)
        return taken

    def _is_old(self, ending: Any) -> bool:  # noqa: ANN401 as above
        row = ending.get("generation") if isinstance(ending, dict) else None
        at_ms = row.get("ended_at") or row.get("started_at") if isinstance(row, dict) else None
        return not isinstance(at_ms, int) or at_ms + GIVE_UP_AFTER_MS < self._clock.now_ms()


def signature(key: bytes, message_id: str, *, at_s: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of a body."""
    signed = f"{message_id}.{at_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def _id_of(ending: Any) -> str:  # noqa: ANN401 as above
    row = ending.get("generation") if isinstance(ending, dict) else None
    return str(row.get("id")) if isinstance(row, dict) else "unknown"

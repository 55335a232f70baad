"""One webhook request: sent, bounded, judged (§7.1).

Owns: what goes over the wire and how an answer is read. Must not know: what follows from it, retries.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
import orjson
import structlog
from yarl import URL

from durable_streams.delivery.guard import guarded_socket
from durable_streams.protocol.subscription import Event
from durable_streams.protocol.subscription_config import PREFIX
from durable_streams.subscriptions.links import link_fields

if TYPE_CHECKING:
    from durable_streams.protocol.subscription import Subscription
    from durable_streams.subscriptions.keys import Keyring
    from durable_streams.subscriptions.wake_commands import Attempt

RESPONSE_MAX_BYTES: Final = 64 * 1024
"""Of a longer answer nothing counts but its status."""
TIMEOUT_MS: Final = 30_000
"""An attempt takes at most this, and at most the lease."""
CONNECTIONS_MAX: Final = 512
_log = structlog.get_logger(__name__)


def callback_url(subscription: Subscription, subscription_id: str) -> str:
    """Return where the receiver calls back."""
    return f"{subscription.base_url}/{PREFIX}{quote(subscription_id, safe='')}/callback"


class WebhookClient:
    """Sends signed webhooks. ``close`` when done."""

    def __init__(self, keyring: Keyring, *, allow_local: bool) -> None:
        self._keyring = keyring
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            # Refuses by address at connect time: whatever a name meant when it was checked, this is what it means now.
            socket_factory=guarded_socket(allow_local=allow_local),
            resolver=aiohttp.ThreadedResolver(),
            use_dns_cache=False,
            # A receiver that comes back after a restart must not cost a failed attempt on a dead connection.
            force_close=True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        )

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()

    async def send(self, subscription_id: str, subscription: Subscription, attempt: Attempt) -> Event:
        """Deliver one wake; return ``DONE``, ``DELIVERED`` or ``FAILED``, never raise."""
        body = _body(subscription_id, subscription, attempt)
        headers = {"Content-Type": "application/json", "Webhook-Signature": self._keyring.signature(body)}
        timeout_s = min(TIMEOUT_MS, subscription.config.lease_ttl_ms) / 1000
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(
                    URL(subscription.config.webhook_url or "", encoded=True),
                    data=body,
                    headers=headers,
                    # A redirect could lead anywhere, and would take the signed body along.
                    allow_redirects=False,
                    raise_for_status=False,
                ) as response,
            ):
                if not 200 <= response.status < 300:  # noqa: PLR2004 2xx
                    _log.warning("webhook refused", subscription=subscription_id, status=response.status)
                    return Event.FAILED
                return Event.DONE if is_done(await _bounded(response)) else Event.DELIVERED
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
            _log.warning("webhook failed", subscription=subscription_id, error=f"{type(fault).__name__}: {fault}")
            return Event.FAILED


def _body(subscription_id: str, subscription: Subscription, attempt: Attempt) -> bytes:
    return orjson.dumps(
        {
            "subscription_id": subscription_id,
            "wake_id": attempt.wake_id,
            "generation": attempt.generation,
            "streams": [link_fields(link) for link in attempt.links],
            "callback_url": callback_url(subscription, subscription_id),
            "callback_token": attempt.callback_token,
        }
    )


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or nothing of one that is too long."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > RESPONSE_MAX_BYTES:
            return b""
    return body


def is_done(body: bytes) -> bool:
    """Whether an answer's body is a JSON object that says ``"done": true``."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(answer, dict) and answer.get("done") is True

"""What requests about subscriptions are answered with (§6, §7): their JSON, and refusals in the form of §7.

Owns: the names of the fields. Must not know: requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from durable_streams.http import answers
from durable_streams.http.errors import TABLE, answer_of
from durable_streams.http.messages import Answer
from durable_streams.protocol.errors import StreamError
from durable_streams.protocol.expiry import format_expires_at
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.paths import RESERVED
from durable_streams.protocol.subscription import Phase
from durable_streams.protocol.subscription_errors import AlreadyClaimedError, InvalidAckError, SubscriptionError
from durable_streams.subscriptions.links import link_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.http.messages import Settle
    from durable_streams.protocol.subscription import Subscription
    from durable_streams.subscriptions.keys import Keyring
    from durable_streams.subscriptions.links import Link
    from durable_streams.subscriptions.service import Described, Granted

JWKS: Final = f"{RESERVED}/jwks.json"
_JSON: Final = ("Content-Type", "application/json")
_INVALID_OFFSET: Final = "INVALID_OFFSET"


def described_fields(described: Described, *, keyring: Keyring) -> dict[str, Any]:
    """Return a subscription with its links (§6.3)."""
    fields = subscription_fields(described.id, described.subscription, keyring=keyring)
    fields["streams"] = [_linked(link) for link in described.links]
    if described.next_after is not None:
        fields["streams_next_after"] = described.next_after
    return fields


def subscription_fields(subscription_id: str, subscription: Subscription, *, keyring: Keyring) -> dict[str, Any]:
    """Return a subscription without its links (§6.3); ``phase`` and what follows it are extensions."""
    config = subscription.config
    return {
        "id": subscription_id,
        "subscription_id": subscription_id,
        "type": config.kind,
        "pattern": config.pattern,
        "webhook": _webhook(subscription, keyring.kid) if subscription.is_webhook else None,
        "wake_stream": config.wake_stream,
        "lease_ttl_ms": config.lease_ttl_ms,
        "created_at": format_expires_at(subscription.created_ms),
        "status": "failed" if subscription.failures else "active",
        "description": config.description,
        "phase": subscription.phase,
        "generation": subscription.generation,
        **_held(subscription),
    }


def _webhook(subscription: Subscription, kid: str) -> dict[str, object]:
    signing = {"alg": "ed25519", "kid": kid, "jwks_url": f"{subscription.base_url}/{JWKS}"}
    return {"url": subscription.config.webhook_url, "signing": signing}


def _held(subscription: Subscription) -> dict[str, object]:
    fields: dict[str, object] = {}
    if subscription.holder:
        fields |= {"holder": subscription.holder, "lease_expires_at": format_expires_at(subscription.until_ms)}
    if subscription.phase is Phase.RETRYING:
        fields["next_attempt_at"] = format_expires_at(subscription.until_ms)
    return fields


def _linked(link: Link) -> dict[str, object]:
    return {"path": link.path, "link_type": link.link_type, "acked_offset": format_offset(link.acked)}


def granted_answer(granted: Granted) -> Answer:
    """Return the answer to a claim that won (§7.2)."""
    claimed = granted.claimed
    return json_answer(
        200,
        {
            "wake_id": claimed.wake_id,
            "generation": claimed.generation,
            "token": granted.token,
            "write_token": granted.write_token,
            "streams": [link_fields(link) for link in claimed.links],
            "lease_ttl_ms": claimed.lease_ttl_ms,
        },
    )


def refused(refusal: SubscriptionError) -> Answer:
    """Return a refusal in the form of §7."""
    status, code = TABLE[type(refusal)]
    error: dict[str, object] = {"code": code.upper().replace("-", "_"), "message": str(refusal)}
    if isinstance(refusal, InvalidAckError):
        error["code"] = _INVALID_OFFSET
    if isinstance(refusal, AlreadyClaimedError):
        error |= {"current_holder": refusal.current_holder, "generation": refusal.generation}
    return json_answer(status, {"error": error})


def settling(settle: Settle, answer: Callable[[Any], Answer]) -> Callable[[Any], None]:
    """Return what settles a command by an answer made of its result, or of its refusal."""

    def settled(outcome: object) -> None:
        try:
            if isinstance(outcome, StreamError):
                raise outcome
            made = answer(outcome)
        except SubscriptionError as refusal:
            made = refused(refusal)
        except StreamError as refusal:
            made = answer_of(refusal)
        settle(made)

    return settled


def json_answer(status: int, fields: dict[str, Any]) -> Answer:
    """Return an answer with these fields."""
    return Answer(status, (_JSON, answers.NO_STORE), orjson.dumps(fields))

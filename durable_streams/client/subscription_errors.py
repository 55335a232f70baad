"""What the subscription API refuses, as types with the facts (§7)."""

from __future__ import annotations

from typing import Any

import orjson

from durable_streams.client.errors import DurableStreamError


class SubscriptionError(DurableStreamError):
    """A refusal in the form of §7; ``code`` is the server's, such as ``INVALID_REQUEST``."""


class SubscriptionNotFoundError(SubscriptionError):
    """404: no subscription of this id, or it was deleted."""


class SubscriptionExistsError(SubscriptionError):
    """409 to a creation: the subscription has another configuration."""


class LeaseLostError(SubscriptionError):
    """409 ``FENCED``: the wake is over, and with it every right to move cursors; somebody else may have the work."""


class AlreadyClaimedError(SubscriptionError):
    """409: another worker holds the lease.

    Attributes:
        current_holder: its name.
    """

    current_holder: str = ""


class NoPendingWorkError(SubscriptionError):
    """409 to a claim: every cursor is at its stream's tail."""


_TYPES: dict[str, type[SubscriptionError]] = {
    "SUBSCRIPTION_NOT_FOUND": SubscriptionNotFoundError,
    "SUBSCRIPTION_ALREADY_EXISTS": SubscriptionExistsError,
    "FENCED": LeaseLostError,
    "ALREADY_CLAIMED": AlreadyClaimedError,
    "NO_PENDING_WORK": NoPendingWorkError,
}


def refusal_of(error: DurableStreamError) -> DurableStreamError:
    """Return the error that a refusal in the form of §7 means; any other error as it is."""
    said = _said(error.details)
    code = said.get("code")
    if not isinstance(code, str):
        return error
    kind = _TYPES.get(code, SubscriptionError)
    made = kind(str(said.get("message", code)), status=error.status, code=code, details=said)
    if isinstance(made, AlreadyClaimedError):
        made.current_holder = str(said.get("current_holder", ""))
    return made


def _said(details: object) -> dict[str, Any]:
    """Return the ``error`` object in an answer's body, parsed already or as text."""
    if isinstance(details, str):
        try:
            details = orjson.loads(details)
        except orjson.JSONDecodeError:
            return {}
    error = details.get("error") if isinstance(details, dict) else None
    return error if isinstance(error, dict) else {}

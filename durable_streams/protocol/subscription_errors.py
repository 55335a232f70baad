"""Refusals of the subscription control API (§6, §7), as types that carry their facts.

Owns: this branch of the exception tree. Must not know: HTTP statuses.
"""

from __future__ import annotations

from durable_streams.protocol.errors import StreamError


class SubscriptionError(StreamError):
    """Base of what the subscription API refuses; answered in the form of §7."""


class InvalidSubscriptionError(SubscriptionError):
    """A body or parameter that makes no sense, or an operation that this type of subscription does not have."""


class WebhookUrlRejectedError(SubscriptionError):
    """A webhook URL that could be used to reach into the server's own network (§12.8)."""


class SubscriptionNotFoundError(SubscriptionError):
    """No subscription of this id, or it was deleted."""


class SubscriptionExistsError(SubscriptionError):
    """A subscription of this id has another configuration (§6.2)."""


class TokenInvalidError(SubscriptionError):
    """No token, a forged one, or one for something else (§7.3)."""


class TokenExpiredError(SubscriptionError):
    """A token past its time (§12.9)."""


class FencedError(SubscriptionError):
    """The request's wake is not the current one: its sender has lost the lease (§7.3)."""

    def __init__(self, generation: int) -> None:
        super().__init__(f"this wake is over; the current generation is {generation}")
        self.generation = generation


class AlreadyClaimedError(SubscriptionError):
    """Another worker holds the lease (§7.2)."""

    def __init__(self, current_holder: str, generation: int) -> None:
        super().__init__(f"{current_holder!r} holds the lease of generation {generation}")
        self.current_holder, self.generation = current_holder, generation


class NoPendingWorkError(SubscriptionError):
    """Nothing to claim: every cursor is at its stream's tail."""


class InvalidAckError(SubscriptionError):
    """An ack for a stream that is not linked, behind its cursor, or beyond its tail."""

    def __init__(self, stream: str, why: str) -> None:
        super().__init__(f"ack of {stream!r}: {why}")
        self.stream = stream


class TooManyAcksError(SubscriptionError):
    """More acks in one request than are looked at together."""

    def __init__(self, acks_max: int) -> None:
        super().__init__(f"one request holds at most {acks_max} acks; send the others in further ones")
        self.acks_max = acks_max

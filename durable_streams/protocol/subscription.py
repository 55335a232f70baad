"""A subscription's life, as a table (§7).

Owns: the states, the events, what each event does in each state, fencing, deadlines, backoff. Must not know: how the
state is stored, who delivers, what time it is.

* idle: no link is behind its stream's tail, nobody holds a lease.
* waking: a wake of a new generation was issued. Webhook: it is being delivered. Pull: its event waits to be claimed.
* claimed: somebody has the wake and a lease that runs until ``until_ms``.
* retrying: a webhook delivery failed; the next attempt, of the same wake, is at ``until_ms``.

Invariant: ``until_ms`` is when the state changes by itself, 0 for never; so a crash in any state loses nothing: whoever
looks at what is due finds the next step, and *idle* needs none.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Final, NamedTuple, assert_never

import orjson

from durable_streams.protocol.subscription_config import Config, Kind
from durable_streams.protocol.subscription_errors import AlreadyClaimedError, FencedError, NoPendingWorkError

RETRY_MIN_MS: Final = 1_000
RETRY_MAX_MS: Final = 60_000
RETRIES_COUNTED: Final = 17
"""Failures beyond these wait no longer."""
JITTER: Final = 0.2
WEBHOOK_HOLDER: Final = "webhook"
"""Who holds the lease of a wake that a webhook took."""


class Phase(enum.StrEnum):
    """The states; the values are stored."""

    IDLE = "idle"
    WAKING = "waking"
    CLAIMED = "claimed"
    RETRYING = "retrying"


class Event(enum.StrEnum):
    """What can happen to a subscription."""

    PENDING = "pending"
    """A linked stream has grown past its cursor."""
    CLAIM = "claim"
    ACK = "ack"
    """A valid ack or callback without ``done``."""
    DONE = "done"
    """A valid ack or callback with ``done``, or a webhook answering ``{"done": true}``."""
    RELEASE = "release"
    DELIVERED = "delivered"
    """A webhook answered 2xx without ``done``."""
    FAILED = "failed"
    """A webhook did not answer 2xx; or a wake event could not be written."""
    TIMER = "timer"
    """``until_ms`` has come."""
    NUDGE = "nudge"
    """The operator asks for a wake now."""


class Move(enum.StrEnum):
    """What an event does."""

    STAY = "stay"
    WAKE = "wake"
    """A new generation and wake id; waking."""
    AGAIN = "again"
    """The same wake once more; waking."""
    HOLD = "hold"
    """Claimed, the lease beginning anew."""
    REST = "rest"
    """Nobody holds it any more: idle, or a new wake if work is pending."""
    RETRY = "retry"
    REFUSE = "refuse"
    FENCE = "fence"


TABLE: Final[dict[tuple[Phase, Event], Move]] = {
    (Phase.IDLE, Event.PENDING): Move.WAKE,
    (Phase.IDLE, Event.CLAIM): Move.REFUSE,  # no pending work
    (Phase.IDLE, Event.ACK): Move.FENCE,
    (Phase.IDLE, Event.DONE): Move.FENCE,
    (Phase.IDLE, Event.RELEASE): Move.FENCE,
    (Phase.IDLE, Event.DELIVERED): Move.STAY,  # an answer to a wake that is over
    (Phase.IDLE, Event.FAILED): Move.STAY,
    (Phase.IDLE, Event.TIMER): Move.STAY,
    (Phase.IDLE, Event.NUDGE): Move.WAKE,
    (Phase.WAKING, Event.PENDING): Move.STAY,  # §7: one wake in flight at a time; looked at when it is over
    (Phase.WAKING, Event.CLAIM): Move.HOLD,
    (Phase.WAKING, Event.ACK): Move.HOLD,  # a callback overtook the webhook's own answer
    (Phase.WAKING, Event.DONE): Move.REST,
    (Phase.WAKING, Event.RELEASE): Move.FENCE,
    (Phase.WAKING, Event.DELIVERED): Move.HOLD,
    (Phase.WAKING, Event.FAILED): Move.RETRY,
    (Phase.WAKING, Event.TIMER): Move.AGAIN,
    (Phase.WAKING, Event.NUDGE): Move.AGAIN,
    (Phase.CLAIMED, Event.PENDING): Move.STAY,
    (Phase.CLAIMED, Event.CLAIM): Move.REFUSE,  # already claimed
    (Phase.CLAIMED, Event.ACK): Move.HOLD,
    (Phase.CLAIMED, Event.DONE): Move.REST,
    (Phase.CLAIMED, Event.RELEASE): Move.REST,
    (Phase.CLAIMED, Event.DELIVERED): Move.STAY,  # the callback before it has extended the lease
    (Phase.CLAIMED, Event.FAILED): Move.STAY,  # whoever called back has the wake, whatever its answer was
    (Phase.CLAIMED, Event.TIMER): Move.REST,  # §7.3: the lease is over
    (Phase.CLAIMED, Event.NUDGE): Move.REFUSE,
    (Phase.RETRYING, Event.PENDING): Move.STAY,
    (Phase.RETRYING, Event.CLAIM): Move.REFUSE,  # webhooks are not claimed
    (Phase.RETRYING, Event.ACK): Move.HOLD,  # it had arrived after all
    (Phase.RETRYING, Event.DONE): Move.REST,
    (Phase.RETRYING, Event.RELEASE): Move.FENCE,
    (Phase.RETRYING, Event.DELIVERED): Move.STAY,
    (Phase.RETRYING, Event.FAILED): Move.STAY,
    (Phase.RETRYING, Event.TIMER): Move.AGAIN,
    (Phase.RETRYING, Event.NUDGE): Move.AGAIN,
}
"""State and event → what happens. A test walks all pairs."""


class Subscription(NamedTuple):
    """One subscription, whole.

    config, config_hash: what it was created with (§6.2).
    base_url: the stream root as receivers reach it; callback and key URLs start with it.
    created_ms: Unix milliseconds.
    phase, generation, wake_id: see the module; ``wake_id`` is empty when idle.
    trigger: the stream that caused the current wake.
    holder: who has the lease, empty for nobody.
    until_ms: when the phase ends by itself, Unix milliseconds, 0 for never.
    failures: failed attempts in a row at the current wake.
    explicit_count: links made by name.
    linking: whether streams that stood at creation are still being linked.
    """

    config: Config
    config_hash: str
    base_url: str
    created_ms: int
    phase: Phase = Phase.IDLE
    generation: int = 0
    wake_id: str = ""
    trigger: str = ""
    holder: str = ""
    until_ms: int = 0
    failures: int = 0
    explicit_count: int = 0
    linking: bool = False

    @property
    def is_webhook(self) -> bool:
        """Whether wakes are delivered, rather than written to a wake stream."""
        return self.config.kind is Kind.WEBHOOK


class Facts(NamedTuple):
    """What ``step`` needs to know of the world.

    now_ms: Unix milliseconds.
    wake_id: a fresh one, used if a wake is issued.
    pending: a linked stream that is past its cursor, ``None`` for none; looked at when a wake ends.
    holder: who claims.
    jitter: from -1 to 1, for backoff.
    """

    now_ms: int
    wake_id: str = ""
    pending: str | None = None
    holder: str = WEBHOOK_HOLDER
    jitter: float = 0.0


def move_of(subscription: Subscription, event: Event) -> Move:
    """Return what an event would do now."""
    return TABLE[subscription.phase, event]


def step(subscription: Subscription, event: Event, facts: Facts) -> Subscription:
    """Return the subscription after an event.

    Raises:
        FencedError: the wake that the event speaks of is over.
        AlreadyClaimedError, NoPendingWorkError: a claim, or a nudge, that must not be.
    """
    lease_ms = subscription.config.lease_ttl_ms
    match move_of(subscription, event):
        case Move.STAY:
            return subscription
        case Move.WAKE:
            return _woken(subscription, facts)
        case Move.AGAIN:
            return subscription._replace(phase=Phase.WAKING, until_ms=_wake_until_ms(subscription, facts.now_ms))
        case Move.HOLD:
            until_ms = facts.now_ms + lease_ms
            holder = subscription.holder or facts.holder
            return subscription._replace(phase=Phase.CLAIMED, holder=holder, until_ms=until_ms, failures=0)
        case Move.REST:
            rested = subscription._replace(phase=Phase.IDLE, wake_id="", trigger="", holder="", until_ms=0, failures=0)
            return rested if facts.pending is None else _woken(rested, facts)
        case Move.RETRY:
            failures = subscription.failures + 1
            until_ms = facts.now_ms + backoff_ms(failures, facts.jitter)
            return subscription._replace(phase=Phase.RETRYING, failures=failures, until_ms=until_ms)
        case Move.FENCE:
            raise FencedError(subscription.generation)
        case Move.REFUSE:
            raise _refusal(subscription)
        case never:
            assert_never(never)


def _woken(subscription: Subscription, facts: Facts) -> Subscription:
    return subscription._replace(
        phase=Phase.WAKING,
        generation=subscription.generation + 1,
        wake_id=facts.wake_id,
        trigger=facts.pending or "",
        holder="",
        until_ms=_wake_until_ms(subscription, facts.now_ms),
        failures=0,
    )


def _wake_until_ms(subscription: Subscription, now_ms: int) -> int:
    """§7.3: a webhook's lease starts when the wake is issued. A pull wake waits for its claim, however long."""
    return now_ms + subscription.config.lease_ttl_ms if subscription.is_webhook else 0


def _refusal(subscription: Subscription) -> AlreadyClaimedError | NoPendingWorkError:
    if subscription.phase is Phase.CLAIMED:
        return AlreadyClaimedError(subscription.holder, subscription.generation)
    return NoPendingWorkError("no linked stream is past its cursor")


def check_wake(subscription: Subscription, claimed: tuple[int, int, str], now_ms: int) -> None:
    """Check that a callback, ack or release speaks of the current wake (§7.3).

    Args:
        subscription: as it is.
        claimed: generation in the token, generation and wake id in the request.
        now_ms: a lease that has run out fences even before anybody has noted it.

    Raises:
        FencedError: any of the three is not the current one.
    """
    current = (subscription.generation, subscription.generation, subscription.wake_id)
    if claimed != current or not subscription.wake_id or is_lease_over(subscription, now_ms):
        raise FencedError(subscription.generation)


def is_lease_over(subscription: Subscription, now_ms: int) -> bool:
    """Whether a lease is held and its time is over."""
    return subscription.phase is Phase.CLAIMED and now_ms >= subscription.until_ms


def holds_lease(subscription: Subscription, generation: int, now_ms: int) -> bool:
    """Whether the wake of this generation is claimed and its lease still runs."""
    return (
        subscription.phase is Phase.CLAIMED
        and subscription.generation == generation
        and not is_lease_over(subscription, now_ms)
    )


def event_unwritten(subscription: Subscription, facts: Facts) -> Subscription:
    """Return a waking pull subscription whose wake event could not be written: tried again after a backoff."""
    failures = subscription.failures + 1
    return subscription._replace(failures=failures, until_ms=facts.now_ms + backoff_ms(failures, facts.jitter))


def rebased(subscription: Subscription, now_ms: int) -> Subscription:
    """Return it with a deadline that can have been set by now: none is further away than what it waits for takes.

    A later one was set while the clock was ahead, and would hold the subscription until that time comes again.
    """
    lease_ms = subscription.config.lease_ttl_ms
    longest_ms = lease_ms if subscription.phase is Phase.CLAIMED else max(lease_ms, backoff_ms(RETRIES_COUNTED, 1.0))
    latest_ms = now_ms + longest_ms
    return subscription if subscription.until_ms <= latest_ms else subscription._replace(until_ms=latest_ms)


def backoff_ms(failures: int, jitter: float) -> int:
    """Return the wait after so many failures in a row: 1 s doubling up to 60 s, 20 % either way (§7.1)."""
    base = min(RETRY_MAX_MS, RETRY_MIN_MS << min(failures, RETRIES_COUNTED) - 1)
    return round(base * (1 + JITTER * jitter))


def encode_subscription(subscription: Subscription) -> str:
    """Encode as a JSON array in field order."""
    config, *rest = subscription
    return orjson.dumps([list(config), *rest]).decode()


@lru_cache(maxsize=4096)
def decode_subscription(encoded: str) -> Subscription:
    """Decode what ``encode_subscription`` made. Cached: every append to a linked stream looks at it."""
    (kind, *options), config_hash, base_url, created_ms, phase, *rest = orjson.loads(encoded)
    return Subscription(Config(Kind(kind), *options), config_hash, base_url, created_ms, Phase(phase), *rest)

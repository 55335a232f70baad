"""The commands on wakes: claim, ack, release, wake now, and what timers and deliveries report.

Owns: who may move a subscription on, and its cursors. Must not know: HTTP, webhooks.
Invariant: no cursor moves but by a request or delivery of the current wake (§7.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable_streams.protocol.errors import InvalidOffsetError, StreamError
from durable_streams.protocol.offsets import parse_offset
from durable_streams.protocol.subscription import (
    Event,
    Move,
    Phase,
    Subscription,
    check_wake,
    is_lease_over,
    move_of,
    rebased,
)
from durable_streams.protocol.subscription_errors import (
    FencedError,
    InvalidAckError,
    InvalidSubscriptionError,
)
from durable_streams.subscriptions.commands import OnSubscription
from durable_streams.subscriptions.links import link_row, stream_state
from durable_streams.subscriptions.wakes import subscription_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.protocol.draft import Draft
    from durable_streams.subscriptions.links import Link, LinkRow
    from durable_streams.subscriptions.tokens import Grant
    from durable_streams.subscriptions.wakes import Wakes


class WakeRequest(NamedTuple):
    """What a callback, ack or release says (§7.1, §7.2).

    grant: what its token says. acks: (stream path, offset) in order.
    """

    grant: Grant
    generation: int
    wake_id: str
    acks: tuple[tuple[str, str], ...] = ()
    done: bool = False


class Claimed(NamedTuple):
    """A claim that won."""

    sid: int
    generation: int
    wake_id: str
    lease_ttl_ms: int
    links: tuple[Link, ...]


class Attempt(NamedTuple):
    """One delivery of one wake: which, what its receiver was shown, and the token that it calls back by."""

    sid: int
    generation: int
    wake_id: str
    links: tuple[Link, ...]
    callback_token: str


class Claim(OnSubscription[Claimed]):
    """Claim a wake of a pull subscription (§7.2)."""

    __slots__ = ("_worker",)

    def __init__(
        self, wakes: Wakes, path: str, settle: Callable[[Claimed | StreamError], None], *, worker: str
    ) -> None:
        super().__init__(wakes, path, settle)
        self._worker = worker

    def decide(self, batch: Batch) -> None:
        """Take the lease, or say who has it."""
        slot, draft, subscription = self.present(batch)
        _require_pull(subscription)
        self.freshened(batch, slot, subscription)
        held = self.wakes.apply(batch, slot, Event.CLAIM, self.wakes.facts(batch, holder=self._worker))
        links = tuple(self.wakes.shown(batch, slot))
        self._result = Claimed(draft.sid, held.generation, held.wake_id, held.config.lease_ttl_ms, links)


class Ack(OnSubscription[bool]):
    """Ack or callback: move cursors; extend the lease or end the wake (§7.1, §7.2). Result: whether it woke anew."""

    __slots__ = ("_request", "_webhook")

    def __init__(
        self,
        wakes: Wakes,
        path: str,
        settle: Callable[[bool | StreamError], None],
        *,
        request: WakeRequest,
        webhook: bool,
    ) -> None:
        super().__init__(wakes, path, settle)
        self._request, self._webhook = request, webhook

    def decide(self, batch: Batch) -> None:
        """Fence first, then the acks, all or none."""
        slot, draft, subscription = self.present(batch)
        if self._webhook != subscription.is_webhook:
            raise InvalidSubscriptionError(f"the subscription is of type {subscription.config.kind}")
        event = Event.DONE if self._request.done else Event.ACK
        _check_fence(subscription, draft, self._request, now_ms=batch.now_ms)
        if move_of(subscription, event) is Move.FENCE:
            raise FencedError(subscription.generation)
        for stream, link in _checked_acks(batch, slot, self._request.acks).items():
            self.wakes.put_link(slot, stream, link)
        self._result = self.advance(batch, slot, event).phase is Phase.WAKING


class Release(OnSubscription[bool]):
    """Give a claim back without acking (§7.2). Result: whether it woke anew."""

    __slots__ = ("_request",)

    def __init__(
        self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, request: WakeRequest
    ) -> None:
        super().__init__(wakes, path, settle)
        self._request = request

    def decide(self, batch: Batch) -> None:
        """Fence, then rest."""
        slot, draft, subscription = self.present(batch)
        _require_pull(subscription)
        _check_fence(subscription, draft, self._request, now_ms=batch.now_ms)
        self._result = self.advance(batch, slot, Event.RELEASE).phase is Phase.WAKING


class Nudge(OnSubscription[bool]):
    """Wake now, pending work or not: the operator's wish."""

    __slots__ = ()

    def decide(self, batch: Batch) -> None:
        """Issue a wake, or the present one again; refused while somebody holds it."""
        slot, _, subscription = self.present(batch)
        if is_lease_over(subscription, batch.now_ms):
            self.advance(batch, slot, Event.TIMER)
        self.advance(batch, slot, Event.NUDGE)
        self._result = True


class Timer(OnSubscription[bool]):
    """Its due row's time has come. Result: whether something was to be done."""

    __slots__ = ()

    def decide(self, batch: Batch) -> None:
        """Take the step that the phase takes by itself."""
        slot = batch.slot(self.path)
        subscription, draft = subscription_of(slot), slot.draft
        self._result = draft is not None and 0 < draft.due_ms <= batch.now_ms
        if subscription is None or not self._result:
            return
        # Put even if nothing moves: the row that brought us here must go.
        self.wakes.put(slot, subscription._replace(until_ms=0) if subscription.phase is Phase.IDLE else subscription)
        self.advance(batch, slot, Event.TIMER)


class Rebase(OnSubscription[bool]):
    """Bring a deadline nearer that was set while the clock was ahead. Result: whether there was one."""

    __slots__ = ()

    def decide(self, batch: Batch) -> None:
        """Change the deadline, and nothing else."""
        slot = batch.slot(self.path)
        subscription = subscription_of(slot)
        self._result = subscription is not None and rebased(subscription, batch.now_ms) != subscription
        if subscription is not None and self._result:
            self.wakes.put(slot, rebased(subscription, batch.now_ms))


class ReportDelivery(OnSubscription[bool]):
    """What became of a webhook's delivery (§7.1). Result: whether its wake still was the current one.

    event: ``DELIVERED``, ``DONE`` or ``FAILED``.
    """

    __slots__ = ("_attempt", "_event")

    def __init__(
        self,
        wakes: Wakes,
        path: str,
        settle: Callable[[bool | StreamError], None],
        *,
        attempt: Attempt,
        event: Event,
    ) -> None:
        super().__init__(wakes, path, settle)
        self._attempt, self._event = attempt, event

    def decide(self, batch: Batch) -> None:
        """Ignored if a callback, a timer or a deletion came first; ``done`` acks what the receiver was shown."""
        slot = batch.slot(self.path)
        subscription, draft, attempt = subscription_of(slot), slot.draft, self._attempt
        self._result = (
            subscription is not None
            and draft is not None
            and (draft.sid, subscription.generation, subscription.wake_id)
            == (attempt.sid, attempt.generation, attempt.wake_id)
            and not is_lease_over(subscription, batch.now_ms)
        )
        if not self._result:
            return
        if self._event is Event.DONE:
            self._ack_all(batch, slot, attempt.links)
        self.advance(batch, slot, self._event)

    def _ack_all(self, batch: Batch, slot: Slot, links: Sequence[Link]) -> None:
        for link in links:
            row = link_row(batch, slot, link.path)
            tail, sid = stream_state(batch, link.path)
            if row is not None and sid == link.sid and row.acked < link.tail <= tail:
                self.wakes.put_link(slot, link.path, row._replace(acked=link.tail))


def _require_pull(subscription: Subscription) -> None:
    if subscription.is_webhook:
        raise InvalidSubscriptionError("the subscription is of type webhook")


def _check_fence(subscription: Subscription, draft: Draft, request: WakeRequest, *, now_ms: int) -> None:
    if request.grant.sid != draft.sid:  # deleted, and created again since
        raise FencedError(subscription.generation)
    check_wake(subscription, (request.grant.generation, request.generation, request.wake_id), now_ms)


def _checked_acks(batch: Batch, slot: Slot, acks: Sequence[tuple[str, str]]) -> dict[str, LinkRow]:
    """Return the links after these acks (§7: last processed, inclusive)."""
    moved: dict[str, LinkRow] = {}
    for stream, offset in acks:
        row = moved.get(stream) or link_row(batch, slot, stream)
        if row is None:
            raise InvalidAckError(stream, "the stream is not linked")
        try:
            position = parse_offset(offset)
        except InvalidOffsetError as refusal:
            raise InvalidAckError(stream, str(refusal)) from None
        if position < row.acked:
            raise InvalidAckError(stream, "the offset is behind the cursor")
        if position > stream_state(batch, stream)[0]:
            raise InvalidAckError(stream, "the offset is beyond the stream's tail")
        moved[stream] = row._replace(acked=position)
    return moved

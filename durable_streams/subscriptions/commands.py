"""The commands on subscriptions: create, link, claim, ack, release, wake, and what timers and deliveries report.

Owns: how one request becomes steps of the table and changes of links. Must not know: HTTP, webhooks.
Invariant: as for all commands, everything is checked before anything is changed; save that a lease found to be over
ends whatever becomes of the command that found it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from durable_streams.commands import SettledCommand
from durable_streams.protocol.errors import InvalidOffsetError, StreamError
from durable_streams.protocol.glob import literal_prefix
from durable_streams.protocol.head import Record
from durable_streams.protocol.offsets import parse_offset
from durable_streams.protocol.producer import Fence
from durable_streams.protocol.subscription import (
    Event,
    Move,
    Phase,
    Subscription,
    check_wake,
    is_lease_over,
    move_of,
)
from durable_streams.protocol.subscription_config import PREFIX
from durable_streams.protocol.subscription_errors import (
    FencedError,
    InvalidAckError,
    InvalidSubscriptionError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)
from durable_streams.subscriptions.links import stream_state
from durable_streams.subscriptions.matcher import EXPLICIT, GLOB
from durable_streams.subscriptions.wakes import subscription_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.batch import Batch, Slot
    from durable_streams.clock import Chance
    from durable_streams.protocol.draft import Draft
    from durable_streams.protocol.subscription_config import Creation
    from durable_streams.subscriptions.links import Link
    from durable_streams.subscriptions.tokens import Grant
    from durable_streams.subscriptions.wakes import Wakes

R = TypeVar("R")

LINK_COUNT: Final = 1_000
"""Streams looked at in one slice of linking what stood at creation."""
CONTENT_TYPE: Final = "application/json"


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
    """One delivery of one wake: which, and what its receiver was shown."""

    sid: int
    generation: int
    wake_id: str
    links: tuple[Link, ...]


class _OnSubscription(SettledCommand[R]):
    """A command on one subscription's path."""

    __slots__ = ("_wakes",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[R | StreamError], None]) -> None:
        super().__init__(path, 0, settle)
        self._wakes = wakes

    def _present(self, batch: Batch) -> tuple[Slot, Draft, Subscription]:
        slot = batch.slot(self.path)
        subscription = subscription_of(slot)
        if subscription is None or slot.draft is None:
            raise SubscriptionNotFoundError(f"no subscription {self.path.removeprefix(PREFIX)!r}")
        return slot, slot.draft, subscription

    def _advance(self, batch: Batch, slot: Slot, event: Event) -> Subscription:
        """Take a step; one that may issue a wake looks for pending work first."""
        subscription = subscription_of(slot)
        looks = subscription is not None and move_of(subscription, event) in {Move.WAKE, Move.REST}
        pending = self._wakes.pending(batch, slot) if looks else None
        return self._wakes.apply(batch, slot, event, self._wakes.facts(batch, pending=pending))

    def _freshened(self, batch: Batch, slot: Slot, subscription: Subscription) -> Subscription:
        """End a lease whose time is over, and wake an idle subscription that has pending work after all."""
        if is_lease_over(subscription, batch.now_ms):
            subscription = self._advance(batch, slot, Event.TIMER)
        if subscription.phase is Phase.IDLE and self._wakes.pending(batch, slot) is not None:
            subscription = self._advance(batch, slot, Event.PENDING)
        return subscription

    def _link(self, batch: Batch, slot: Slot, stream: str, *, bits: int) -> bool:
        """Link a stream at its tail, or add to the bits of its link; True if there was none by these bits."""
        fence = batch.fence(slot, stream)
        if fence is not None and fence.epoch & bits == bits:
            return False
        if fence is not None:
            self._wakes.put_link(slot, stream, Fence(fence.epoch | bits, fence.seq))
            return True
        tail, _ = stream_state(batch, stream)
        self._wakes.put_link(slot, stream, Fence(bits, tail))
        batch.link(slot, batch.slots[stream])  # the tail may be of an append that still can be lost
        return True


class CreateSubscription(_OnSubscription[bool]):
    """Create or re-confirm (§6.2). Result: whether it is new."""

    __slots__ = ("_base_url", "_chance", "_creation")

    def __init__(
        self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, new: tuple[Creation, str, Chance]
    ) -> None:
        super().__init__(wakes, path, settle)
        self._creation, self._base_url, self._chance = new

    def decide(self, batch: Batch) -> None:
        """Match what stands there, or put it with its explicit links."""
        slot, creation = batch.slot(self.path), self._creation
        standing = subscription_of(slot)
        if standing is not None:
            if standing.config_hash != creation.config_hash:
                raise SubscriptionExistsError("a subscription of this id has another configuration")
            self._result = False
            return
        subscription = Subscription(
            creation.config,
            creation.config_hash,
            self._base_url,
            batch.now_ms,
            explicit_count=len(creation.streams),
            linking=creation.config.pattern is not None,
        )
        batch.put(slot, self._chance.sid(batch.now_ms), Record(CONTENT_TYPE, subscription=""))
        self._wakes.put(slot, subscription)
        matcher = self._wakes.matcher
        matcher.add(self.path, creation.config.pattern, creation.config.wake_stream)
        matcher.link(self.path, creation.streams)
        batch.watch = self._wakes  # appends later in this batch already count
        for stream in creation.streams:
            self._link(batch, slot, stream, bits=matcher.bits(self.path, stream))
        self._result = True


class LinkExisting(_OnSubscription[str]):
    """Link one slice of the streams that stood at creation (§6.2). Result: where to go on, empty at the end."""

    __slots__ = ("_after",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[str | StreamError], None], *, after: str) -> None:
        super().__init__(wakes, path, settle)
        self._after = after

    def decide(self, batch: Batch) -> None:
        """Link matching streams at their tails; those appended to since creation are linked already."""
        slot, _, subscription = self._present(batch)
        pattern = subscription.config.pattern or ""
        heads = self._wakes.engine.scan(literal_prefix(pattern), self._after, LINK_COUNT)
        for head in heads:
            gone = head.soft_deleted or (head.path in batch.slots and batch.slots[head.path].draft is None)
            if not gone and self._wakes.matcher.bits(self.path, head.path) & GLOB:
                self._link(batch, slot, head.path, bits=GLOB)
        self._result = heads[-1].path if len(heads) == LINK_COUNT else ""
        if not self._result:
            self._wakes.put(slot, subscription._replace(linking=False))


class AddStreams(_OnSubscription[bool]):
    """Link streams by name, at their tails (§6.4)."""

    __slots__ = ("_streams",)

    def __init__(
        self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, streams: tuple[str, ...]
    ) -> None:
        super().__init__(wakes, path, settle)
        self._streams = streams

    def decide(self, batch: Batch) -> None:
        """Add links, or the explicit bit to links by pattern."""
        slot, _, subscription = self._present(batch)
        if subscription.config.wake_stream in self._streams:
            raise InvalidSubscriptionError("the wake stream cannot be among the streams it tells of")
        matcher = self._wakes.matcher
        matcher.link(self.path, self._streams)
        added = [
            self._link(batch, slot, stream, bits=matcher.bits(self.path, stream)) for stream in self._streams
        ].count(True)
        if added:
            count = subscription.explicit_count + added
            self._wakes.put(slot, subscription._replace(explicit_count=count))
        self._result = True


class RemoveStream(_OnSubscription[bool]):
    """Remove an explicit link (§6.4). Result: whether there was one."""

    __slots__ = ("_stream",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, stream: str) -> None:
        super().__init__(wakes, path, settle)
        self._stream = stream

    def decide(self, batch: Batch) -> None:
        """Take the explicit bit away; a link by pattern stays."""
        slot, _, subscription = self._present(batch)
        fence = batch.fence(slot, self._stream)
        self._result = fence is not None and bool(fence.epoch & EXPLICIT)
        if fence is not None and self._result:
            bits = fence.epoch & ~EXPLICIT
            self._wakes.put_link(slot, self._stream, Fence(bits, fence.seq) if bits else None)
            count = subscription.explicit_count - 1
            self._wakes.put(slot, subscription._replace(explicit_count=count))

    def settle(self, error: StreamError | None) -> None:
        """Forget it only now: until the commit is durable the link may still stand."""
        if error is None and self._result:
            self._wakes.matcher.unlink(self.path, self._stream)
        super().settle(error)


class DeleteSubscription(_OnSubscription[bool]):
    """Delete (§6.3). Result: whether there was one."""

    __slots__ = ()

    def decide(self, batch: Batch) -> None:
        """Take it away, cursors and all."""
        slot = batch.slot(self.path)
        self._result = slot.draft is not None
        if slot.draft is not None:
            batch.delete(slot)


class Claim(_OnSubscription[Claimed]):
    """Claim a wake of a pull subscription (§7.2)."""

    __slots__ = ("_worker",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[Claimed | StreamError], None], *, worker: str) -> None:
        super().__init__(wakes, path, settle)
        self._worker = worker

    def decide(self, batch: Batch) -> None:
        """Take the lease, or say who has it."""
        slot, draft, subscription = self._present(batch)
        _require_pull(subscription)
        self._freshened(batch, slot, subscription)
        held = self._wakes.apply(batch, slot, Event.CLAIM, self._wakes.facts(batch, holder=self._worker))
        links = tuple(self._wakes.shown(batch, slot))
        self._result = Claimed(draft.sid, held.generation, held.wake_id, held.config.lease_ttl_ms, links)


class Ack(_OnSubscription[bool]):
    """Ack or callback: move cursors, and extend the lease or end the wake (§7.1, §7.2). Result: whether it woke anew."""

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
        slot, draft, subscription = self._present(batch)
        if self._webhook != subscription.is_webhook:
            raise InvalidSubscriptionError(f"the subscription is of type {subscription.config.kind}")
        event = Event.DONE if self._request.done else Event.ACK
        _check_fence(subscription, draft, self._request, now_ms=batch.now_ms)
        if move_of(subscription, event) is Move.FENCE:
            raise FencedError(subscription.generation)
        for stream, link in _checked_acks(batch, slot, self._request.acks).items():
            self._wakes.put_link(slot, stream, link)
        self._result = self._advance(batch, slot, event).phase is Phase.WAKING


class Release(_OnSubscription[bool]):
    """Give a claim back without acking (§7.2). Result: whether it woke anew."""

    __slots__ = ("_request",)

    def __init__(
        self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, request: WakeRequest
    ) -> None:
        super().__init__(wakes, path, settle)
        self._request = request

    def decide(self, batch: Batch) -> None:
        """Fence, then rest."""
        slot, draft, subscription = self._present(batch)
        _require_pull(subscription)
        _check_fence(subscription, draft, self._request, now_ms=batch.now_ms)
        self._result = self._advance(batch, slot, Event.RELEASE).phase is Phase.WAKING


class Nudge(_OnSubscription[bool]):
    """Wake now, pending work or not: the operator's wish."""

    __slots__ = ()

    def decide(self, batch: Batch) -> None:
        """Issue a wake, or the present one again; refused while somebody holds it."""
        slot, _, subscription = self._present(batch)
        if is_lease_over(subscription, batch.now_ms):
            self._advance(batch, slot, Event.TIMER)
        self._advance(batch, slot, Event.NUDGE)
        self._result = True


class Timer(_OnSubscription[bool]):
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
        self._wakes.put(slot, subscription._replace(until_ms=0) if subscription.phase is Phase.IDLE else subscription)
        self._advance(batch, slot, Event.TIMER)


class ReportDelivery(_OnSubscription[bool]):
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
        self._advance(batch, slot, self._event)

    def _ack_all(self, batch: Batch, slot: Slot, links: Sequence[Link]) -> None:
        for link in links:
            fence = batch.fence(slot, link.path)
            tail, sid = stream_state(batch, link.path)
            if fence is not None and sid == link.sid and fence.seq < link.tail <= tail:
                self._wakes.put_link(slot, link.path, Fence(fence.epoch, link.tail))


def _require_pull(subscription: Subscription) -> None:
    if subscription.is_webhook:
        raise InvalidSubscriptionError("the subscription is of type webhook")


def _check_fence(subscription: Subscription, draft: Draft, request: WakeRequest, *, now_ms: int) -> None:
    if request.grant.sid != draft.sid:  # deleted, and created again since
        raise FencedError(subscription.generation)
    check_wake(subscription, (request.grant.generation, request.generation, request.wake_id), now_ms)


def _checked_acks(batch: Batch, slot: Slot, acks: Sequence[tuple[str, str]]) -> dict[str, Fence]:
    """Return the links after these acks (§7: last processed, inclusive)."""
    moved: dict[str, Fence] = {}
    for stream, offset in acks:
        fence = moved.get(stream) or batch.fence(slot, stream)
        if fence is None:
            raise InvalidAckError(stream, "the stream is not linked")
        try:
            position = parse_offset(offset)
        except InvalidOffsetError as refusal:
            raise InvalidAckError(stream, str(refusal)) from None
        if position < fence.seq:
            raise InvalidAckError(stream, "the offset is behind the cursor")
        if position > stream_state(batch, stream)[0]:
            raise InvalidAckError(stream, "the offset is beyond the stream's tail")
        moved[stream] = Fence(fence.epoch, position)
    return moved

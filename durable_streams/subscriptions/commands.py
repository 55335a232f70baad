"""The commands that make, link and delete subscriptions, and what all commands on them share.

Owns: how one request becomes changes of a subscription and its links. Must not know: HTTP, webhooks.
Invariant: as for all commands, everything is checked before anything is changed; save that a lease found to be over
ends whatever becomes of the command that found it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from durable_streams.commit.command import SettledCommand
from durable_streams.protocol.glob import literal_prefix
from durable_streams.protocol.head import Record
from durable_streams.protocol.subscription import (
    Event,
    Move,
    Phase,
    Subscription,
    is_lease_over,
    move_of,
)
from durable_streams.protocol.subscription_config import PREFIX
from durable_streams.protocol.subscription_errors import (
    InvalidSubscriptionError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)
from durable_streams.subscriptions.links import LinkRow, link_row, stream_state
from durable_streams.subscriptions.matcher import EXPLICIT, GLOB
from durable_streams.subscriptions.wakes import subscription_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.protocol.draft import Draft
    from durable_streams.protocol.errors import StreamError
    from durable_streams.protocol.subscription_config import Creation
    from durable_streams.runtime.clock import Chance
    from durable_streams.subscriptions.wakes import Wakes

R = TypeVar("R")

LINK_COUNT: Final = 1_000
"""Streams looked at in one slice of linking what stood at creation."""
CONTENT_TYPE: Final = "application/json"


class OnSubscription(SettledCommand[R]):
    """A command on one subscription's path."""

    __slots__ = ("wakes",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[R | StreamError], None]) -> None:
        super().__init__(path, 0, settle)
        self.wakes = wakes

    def present(self, batch: Batch) -> tuple[Slot, Draft, Subscription]:
        """Return slot, draft and state; raise ``SubscriptionNotFoundError`` if there is none."""
        slot = batch.slot(self.path)
        subscription = subscription_of(slot)
        if subscription is None or slot.draft is None:
            raise SubscriptionNotFoundError(f"no subscription {self.path.removeprefix(PREFIX)!r}")
        return slot, slot.draft, subscription

    def advance(self, batch: Batch, slot: Slot, event: Event) -> Subscription:
        """Take a step; one that may issue a wake looks for pending work first."""
        subscription = subscription_of(slot)
        looks = subscription is not None and move_of(subscription, event) in {Move.WAKE, Move.REST}
        pending = self.wakes.pending(batch, slot) if looks else None
        return self.wakes.apply(batch, slot, event, self.wakes.facts(batch, pending=pending))

    def freshened(self, batch: Batch, slot: Slot, subscription: Subscription) -> Subscription:
        """End a lease whose time is over, and wake an idle subscription that has pending work after all."""
        if is_lease_over(subscription, batch.now_ms):
            subscription = self.advance(batch, slot, Event.TIMER)
        if subscription.phase is Phase.IDLE and self.wakes.pending(batch, slot) is not None:
            subscription = self.advance(batch, slot, Event.PENDING)
        return subscription

    def link(self, batch: Batch, slot: Slot, stream: str, *, bits: int) -> bool:
        """Link a stream at its tail, or add to the bits of its link; True if there was none by these bits."""
        row = link_row(batch, slot, stream)
        if row is not None and row.bits & bits == bits:
            return False
        if row is not None:
            self.wakes.put_link(slot, stream, row._replace(bits=row.bits | bits))
            return True
        tail, _ = stream_state(batch, stream)
        self.wakes.put_link(slot, stream, LinkRow(bits, tail))
        batch.link(slot, batch.slots[stream])  # the tail may be of an append that still can be lost
        return True


class CreateSubscription(OnSubscription[bool]):
    """Create or re-confirm (§6.2). Result: whether it is new."""

    __slots__ = ("_base_url", "_chance", "_creation")

    def __init__(
        self,
        wakes: Wakes,
        path: str,
        settle: Callable[[bool | StreamError], None],
        *,
        new: tuple[Creation, str, Chance],
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
        self.wakes.put(slot, subscription)
        matcher = self.wakes.matcher
        matcher.add(self.path, creation.config.pattern, creation.config.wake_stream)
        matcher.link(self.path, creation.streams)
        for stream in creation.streams:
            self.link(batch, slot, stream, bits=matcher.bits(self.path, stream))
        self._result = True


class LinkExisting(OnSubscription[str]):
    """Link one slice of the streams that stood at creation (§6.2). Result: where to go on, empty at the end."""

    __slots__ = ("_after",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[str | StreamError], None], *, after: str) -> None:
        super().__init__(wakes, path, settle)
        self._after = after

    def decide(self, batch: Batch) -> None:
        """Link matching streams at their tails; those appended to since creation are linked already."""
        slot, _, subscription = self.present(batch)
        pattern = subscription.config.pattern or ""
        heads = self.wakes.engine.scan(literal_prefix(pattern), self._after, LINK_COUNT)
        for head in heads:
            gone = head.soft_deleted or (head.path in batch.slots and batch.slots[head.path].draft is None)
            if not gone and self.wakes.matcher.bits(self.path, head.path) & GLOB:
                self.link(batch, slot, head.path, bits=GLOB)
        self._result = heads[-1].path if len(heads) == LINK_COUNT else ""
        if not self._result:
            self.wakes.put(slot, subscription._replace(linking=False))


class AddStreams(OnSubscription[bool]):
    """Link streams by name, at their tails (§6.4)."""

    __slots__ = ("_streams",)

    def __init__(
        self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, streams: tuple[str, ...]
    ) -> None:
        super().__init__(wakes, path, settle)
        self._streams = streams

    def decide(self, batch: Batch) -> None:
        """Add links, or the explicit bit to links by pattern."""
        slot, _, subscription = self.present(batch)
        if subscription.config.wake_stream in self._streams:
            raise InvalidSubscriptionError("the wake stream cannot be among the streams it tells of")
        matcher = self.wakes.matcher
        matcher.link(self.path, self._streams)
        added = [
            self.link(batch, slot, stream, bits=matcher.bits(self.path, stream)) for stream in self._streams
        ].count(True)
        if added:
            count = subscription.explicit_count + added
            self.wakes.put(slot, subscription._replace(explicit_count=count))
        self._result = True


class RemoveStream(OnSubscription[bool]):
    """Remove an explicit link (§6.4). Result: whether there was one."""

    __slots__ = ("_stream",)

    def __init__(self, wakes: Wakes, path: str, settle: Callable[[bool | StreamError], None], *, stream: str) -> None:
        super().__init__(wakes, path, settle)
        self._stream = stream

    def decide(self, batch: Batch) -> None:
        """Take the explicit bit away; a link by pattern stays."""
        slot, _, subscription = self.present(batch)
        row = link_row(batch, slot, self._stream)
        self._result = row is not None and row.is_explicit
        if row is not None and self._result:
            bits = row.bits & ~EXPLICIT
            self.wakes.put_link(slot, self._stream, row._replace(bits=bits) if bits else None)
            if not bits:
                self.wakes.matcher.dismiss(self.path, self._stream)
            count = subscription.explicit_count - 1
            self.wakes.put(slot, subscription._replace(explicit_count=count))

    def settle(self, error: StreamError | None) -> None:
        """Forget it only now: until the commit is durable the link may still stand."""
        if error is None and self._result:
            self.wakes.matcher.unlink(self.path, self._stream)
        super().settle(error)


class DeleteSubscription(OnSubscription[bool]):
    """Delete (§6.3). Result: whether there was one."""

    __slots__ = ()

    def decide(self, batch: Batch) -> None:
        """Take it away, cursors and all."""
        slot = batch.slot(self.path)
        self._result = slot.draft is not None
        if slot.draft is not None:
            batch.delete(slot)

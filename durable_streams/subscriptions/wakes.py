"""Wakes: a stream changes in a batch, and the subscriptions it belongs to change in the same batch.

Owns: the link of a new stream that matches a pattern, the cursor of a stream that was removed, the wake event, and the
look for pending work when a wake ends.
Must not know: HTTP, webhooks, timers.
Invariants: an idle subscription has no pending work, in every committed state; a wake and its cause commit together,
and so do a wake and its wake event.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import orjson
import structlog

from durable_streams.protocol import content_types
from durable_streams.protocol.errors import DamagedError
from durable_streams.protocol.subscription import (
    Event,
    Facts,
    Move,
    Phase,
    Subscription,
    decode_subscription,
    encode_subscription,
    event_unwritten,
    holds_lease,
    move_of,
    step,
)
from durable_streams.protocol.subscription_config import PREFIX, head_path
from durable_streams.protocol.subscription_errors import SubscriptionError
from durable_streams.subscriptions.links import (
    SHOWN_MAX,
    Link,
    LinkRow,
    cut,
    encode_link,
    has_many,
    link_row,
    load_link,
    load_links,
    stream_state,
)
from durable_streams.subscriptions.matcher import GLOB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.engine.base import Engine
    from durable_streams.runtime.clock import Chance
    from durable_streams.subscriptions.matcher import Matcher
    from durable_streams.subscriptions.tokens import Tokens

_log = structlog.get_logger(__name__)


def subscription_of(slot: Slot) -> Subscription | None:
    """Return the subscription at a slot, ``None`` for none."""
    encoded = slot.draft.record.subscription if slot.draft is not None else None
    return None if encoded is None else decode_subscription(encoded)


class Wakes:
    """Hears of every stream that a batch changes (``commit.batch.Watch``); commands use it too."""

    def __init__(self, engine: Engine, matcher: Matcher, chance: Chance, *, tokens: Tokens) -> None:
        self.engine, self.matcher, self._chance, self._tokens = engine, matcher, chance, tokens

    # --- batch.Watch ---

    def grew(self, batch: Batch, slot: Slot, start: int) -> None:
        """Wake the idle subscriptions of a stream that has grown (§7); a new one is linked first (§6.2)."""
        if not self.matcher.paths:
            return
        moved = self.matcher.moved_by(slot.path, batch.is_changing)
        if not moved:
            return
        self._load(batch, [path for path, _ in moved], slot.path)
        for path, bits in moved:
            found = self._linked(batch, path, slot.path)
            if found is None:
                continue
            holder, subscription, row = found
            if row is None:
                if not bits & GLOB:
                    continue  # links by name are made and removed by commands only
                row = LinkRow(GLOB, start)
                self.put_link(holder, slot.path, row)
                batch.link(holder, slot)
            self.matcher.note(path, slot.path)
            if subscription.phase is Phase.IDLE and slot.draft is not None and slot.draft.tail > row.acked:
                batch.link(holder, slot)
                self.apply(batch, holder, Event.PENDING, self.facts(batch, pending=slot.path))

    def removed(self, batch: Batch, path: str) -> None:
        """Set cursors of links by name to 0, where a new stream at this path begins; remove links by pattern."""
        if not self.matcher.paths:
            return
        for holder_path, _ in self.matcher.match(path):
            holder, _, row = self._linked(batch, holder_path, path) or (None, None, None)
            if holder is not None and row is not None:
                batch.link(holder, batch.slots[path])
                self.put_link(holder, path, row._replace(acked=0) if row.is_explicit else None)
                self.matcher.dismiss(holder_path, path)

    def _load(self, batch: Batch, paths: list[str], stream: str) -> None:
        """Have subscriptions and their links to a stream ready, by one look into the store for each of both."""
        batch.look(len(paths))
        batch.load(paths)
        batch.load_fences(paths, stream)

    def _linked(self, batch: Batch, path: str, stream: str) -> tuple[Slot, Subscription, LinkRow | None] | None:
        """Return a subscription and its link to a stream; ``None`` for none.

        And for one that is damaged: who appends to one of its streams has nothing to do with that.
        """
        try:
            holder = batch.slot(path)
            subscription = subscription_of(holder)
            return None if subscription is None else (holder, subscription, link_row(batch, holder, stream))
        except DamagedError:
            return None

    def permits(self, batch: Batch, path: str, write_token: str) -> bool:
        """Whether a write token is that of a running claim on a subscription of this stream."""
        try:
            grant = self._tokens.open_write(write_token, batch.now_ms)
        except SubscriptionError:
            return False
        holder = batch.slot(head_path(grant.subscription_id))
        subscription = subscription_of(holder)
        return (
            subscription is not None
            and holder.draft is not None
            and holder.draft.sid == grant.sid
            and holds_lease(subscription, grant.generation, batch.now_ms)
            and self.matcher.bits(holder.path, path) != 0
        )

    def reset(self) -> None:
        """Forget what was listed: the batch came to nothing, so every subscription is searched anew."""
        self.matcher.forget_all()

    # --- for commands ---

    def facts(self, batch: Batch, *, pending: str | None = None, holder: str = "webhook") -> Facts:
        """Return what a step needs to know, with a fresh wake id and jitter."""
        return Facts(batch.now_ms, self._chance.wake_id(), pending, holder, self._chance.jitter())

    def apply(self, batch: Batch, slot: Slot, event: Event, facts: Facts) -> Subscription:  # noqa: PLR0917 one step's whole
        """Take one step and put the outcome in the slot. A new wake of a pull subscription appends its event (§7.2).

        Raises:
            FencedError, AlreadyClaimedError, NoPendingWorkError: as ``step``; nothing is changed then.
        """
        before = subscription_of(slot)
        if before is None:
            raise AssertionError("a step of nothing")
        after = step(before, event, facts)
        wakes = after.generation != before.generation or move_of(before, event) is Move.AGAIN
        # Put first: the event below may be an append to a stream of this very subscription.
        self.put(slot, after)
        if wakes and not after.is_webhook and not self._write_event(batch, slot, after):
            after = event_unwritten(after, facts)
            self.put(slot, after)
        return after

    def put(self, slot: Slot, subscription: Subscription) -> None:
        """Put this state in the slot. Its deadline becomes that of the head."""
        if slot.draft is None:
            raise AssertionError("a state of nothing")
        slot.draft.record = slot.draft.record._replace(subscription=encode_subscription(subscription))
        slot.draft.due_ms = subscription.until_ms
        slot.changed = True

    def put_link(self, slot: Slot, stream: str, row: LinkRow | None) -> None:
        """Put or, with ``None``, remove a link."""
        slot.fences[stream] = None if row is None else encode_link(row)
        slot.changed = True

    def pending(self, batch: Batch, slot: Slot) -> str | None:
        """Return a linked stream whose tail is past its cursor, as this batch leaves both; the first noted if known."""
        if not self.matcher.knows(slot.path):
            return self._search(batch, slot)
        for stream in self.matcher.candidates(slot.path):
            link = load_link(batch, slot, stream)
            if link is not None and link.is_pending:
                return stream
            self.matcher.dismiss(slot.path, stream)
        return None

    def _search(self, batch: Batch, slot: Slot) -> str | None:
        """Look at all links up to the first pending one; needed once after a start, when nothing is noted yet."""
        for link in self._all(batch, slot):
            if link.is_pending:
                return link.path
        self.matcher.settle(slot.path)
        return None

    def _all(self, batch: Batch, slot: Slot) -> Iterator[Link]:
        if slot.draft is None:
            return
        for link in load_links(self.engine, slot.draft.sid, slot.fences):
            if link.path in batch.slots:
                yield Link(link.path, link.bits, link.acked, *stream_state(batch, link.path))
            else:
                yield link

    def shown(self, batch: Batch, slot: Slot) -> list[Link]:
        """Return the links that answer a claim: all, or where there are very many the pending ones noted first."""
        if slot.draft is None:
            return []
        if self.matcher.knows(slot.path) and has_many(self.engine, slot.draft.sid):
            noted = islice(self.matcher.candidates(slot.path), SHOWN_MAX)
            return cut([link for stream in noted if (link := load_link(batch, slot, stream)) is not None])
        return cut(list(self._all(batch, slot)))

    def _write_event(self, batch: Batch, slot: Slot, subscription: Subscription) -> bool:
        """Append the wake event (§7.2) in this batch; False if there is no stream that takes it."""
        path = subscription.config.wake_stream or ""
        subscription_id = slot.path.removeprefix(PREFIX)
        try:
            wake = batch.slot(path)
        except DamagedError:
            return False
        if wake.draft is None or wake.draft.soft_deleted or wake.draft.closed:
            _log.warning("a wake stream is missing or closed", wake_stream=path, subscription=subscription_id)
            return False
        event = {
            "type": "wake",
            "subscription_id": subscription_id,
            "stream": subscription.trigger,
            "generation": subscription.generation,
            "ts": batch.now_ms,
        }
        ending = b"," if content_types.is_json(wake.draft.record.content_type) else b"\n"
        payload = orjson.dumps(event) + ending
        wake.draft.tail += len(payload)
        wake.draft.touch(batch.now_ms)
        batch.link(slot, wake)
        batch.add(wake, payload)
        return True

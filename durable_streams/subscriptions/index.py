"""The index over subscriptions, kept up by commits, and what a commit on a subscription sets off.

Must not know: HTTP, how webhooks are sent. Implements ``commit.committer.Observer``.
Invariant: whatever it sets off is a hint; the due index and the states in the store bring it back if it is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from durable_streams.protocol.head import decode_record
from durable_streams.protocol.subscription import Phase, Subscription, decode_subscription
from durable_streams.protocol.subscription_config import PREFIX
from durable_streams.subscriptions.links import load_links
from durable_streams.subscriptions.matcher import EXPLICIT

if TYPE_CHECKING:
    from durable_streams.commit.batch import Slot
    from durable_streams.engine.base import Engine
    from durable_streams.protocol.head import Head
    from durable_streams.runtime.alarm import Alarm
    from durable_streams.subscriptions.matcher import Matcher
    from durable_streams.subscriptions.waking import WakingQueue


class SubscriptionIndex:
    """Keeps the matcher true to the store. The loop's thread only.

    Args:
        engine: the store.
        matcher: what is kept up.
        waking: is offered every webhook subscription that is waking, perhaps more than once for the same wake.
        alarm: is set to every deadline that a commit has set.
    """

    def __init__(self, engine: Engine, matcher: Matcher, *, waking: WakingQueue, alarm: Alarm) -> None:
        self._engine, self._matcher, self._waking, self._alarm = engine, matcher, waking, alarm

    def load(self, head: Head) -> Subscription:
        """Take in one stored subscription, at start."""
        subscription = stored_subscription(head)
        config = subscription.config
        self._matcher.add(head.path, config.pattern, config.wake_stream)
        self._load_explicit(head, subscription)
        self._matcher.mark(head.path, busy=subscription.phase is not Phase.IDLE and not self._engine.shared)
        if subscription.phase is not Phase.IDLE:
            self._matcher.forget(head.path)
        if subscription.is_webhook and subscription.phase is Phase.WAKING:
            self._waking.offer(head.path, host_of(subscription))
        return subscription

    def applied(self, slot: Slot) -> None:
        """Follow what a commit made of a subscription, and set off what is due because of it."""
        if not slot.path.startswith(PREFIX):
            return
        replaced = slot.before is not None and (slot.head is None or slot.before.sid != slot.head.sid)
        if slot.before is not None and replaced:
            self._matcher.remove(slot.path, stored_subscription(slot.before).config.wake_stream)
        if slot.head is not None:
            subscription = stored_subscription(slot.head)
            self._matcher.add(slot.path, subscription.config.pattern, subscription.config.wake_stream)
            # A store that others write to may have moved it since: there nothing is taken for busy.
            self._matcher.mark(slot.path, busy=subscription.phase is not Phase.IDLE and not self._engine.shared)
            if replaced:
                self._load_explicit(slot.head, subscription)
            if subscription.until_ms:
                self._alarm.set(subscription.until_ms)
            if subscription.is_webhook and subscription.phase is Phase.WAKING:
                self._waking.offer(slot.path, host_of(subscription))

    def lost(self, slot: Slot) -> None:
        """What was listed for it may be incomplete now."""
        if slot.path.startswith(PREFIX):
            self._matcher.forget(slot.path)
            self._matcher.mark(slot.path, busy=False)

    def settled(self) -> None:
        """Nothing waits for that."""

    def _load_explicit(self, head: Head, subscription: Subscription) -> None:
        if subscription.explicit_count:
            links = load_links(self._engine, head.sid, {})
            self._matcher.link(head.path, [link.path for link in links if link.bits & EXPLICIT])


def host_of(subscription: Subscription) -> str:
    """Return host and port that a subscription's webhooks go to, as they stand in its URL; empty for none."""
    return urlsplit(subscription.config.webhook_url or "").netloc.rpartition("@")[2].lower()


def stored_subscription(head: Head) -> Subscription:
    """Return the subscription that a head at a path of subscriptions holds."""
    encoded = decode_record(head.record).subscription
    if encoded is None:
        raise AssertionError(f"{head.path!r} holds no subscription")
    return decode_subscription(encoded)

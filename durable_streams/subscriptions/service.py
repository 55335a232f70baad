"""The use cases of subscriptions.

Owns: which tokens go out with a wake, and who may speak of one. Must not know: HTTP, how webhooks are sent, which URLs
they may go to. Invariant: every change goes through the committer.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.protocol.errors import StreamError
from durable_streams.protocol.subscription import Phase
from durable_streams.protocol.subscription_config import PREFIX, head_path
from durable_streams.protocol.subscription_errors import SubscriptionNotFoundError
from durable_streams.subscriptions import commands, wake_commands
from durable_streams.subscriptions.index import stored_subscription
from durable_streams.subscriptions.links import SHOWN_MAX, cut, has_many, load_links, load_some
from durable_streams.subscriptions.tokens import TOKEN_LIFE_MS, Grant
from durable_streams.subscriptions.wake_commands import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.commit.committer import Committer
    from durable_streams.protocol.subscription import Event, Subscription
    from durable_streams.protocol.subscription_config import Creation
    from durable_streams.runtime import Runtime
    from durable_streams.subscriptions.index import SubscriptionIndex
    from durable_streams.subscriptions.links import Link
    from durable_streams.subscriptions.tokens import Tokens
    from durable_streams.subscriptions.wake_commands import Claimed, WakeRequest
    from durable_streams.subscriptions.wakes import Wakes

    Settle = Callable[[bool | StreamError], None]

PAGE: Final = 1_000


class Described(NamedTuple):
    """One subscription as it is stored, with the links asked for.

    next_after: the link to go on after, ``None`` at the end.
    """

    id: str
    subscription: Subscription
    links: tuple[Link, ...]
    next_after: str | None


class Granted(NamedTuple):
    """A claim that won, with its tokens: one to ack and release by, one to write to fenced streams by."""

    claimed: Claimed
    token: str
    write_token: str


class Subscriptions:
    """The subscriptions of one store. The loop's thread only.

    Args:
        committer, runtime: what it works with.
        wakes: what all commands on subscriptions share, the store included.
        index: is told of the subscriptions that stand at start.
        tokens: makes and opens them.
        check_webhook: raises ``WebhookUrlRejectedError`` for a URL that wakes must not be delivered to.
    """

    def __init__(
        self,
        committer: Committer,
        runtime: Runtime,
        *,
        wakes: Wakes,
        index: SubscriptionIndex,
        tokens: Tokens,
        check_webhook: Callable[[str], None],
    ) -> None:
        self._committer, self._clock, self._chance = committer, runtime.clock, runtime.chance
        self._engine, self._wakes, self._index = wakes.engine, wakes, index
        self._tokens, self._check_webhook = tokens, check_webhook

    # --- at start ---

    def load(self) -> None:
        """Read all subscriptions and go on with what was under way. Cost: one scan, and the explicit links."""
        after = ""
        while heads := self._engine.scan(PREFIX, after, PAGE):
            for head in heads:
                subscription = self._index.load(head)
                if subscription.linking:
                    self._link_existing(head.path, "", lambda _outcome: None)
            after = heads[-1].path

    # --- use cases ---

    def submit_create(self, subscription_id: str, creation: Creation, base_url: str, *, settle: Settle) -> None:
        """Create or re-confirm (§6.2); settled with whether it is new, when all standing streams are linked.

        Raises:
            WebhookUrlRejectedError: its wakes would go where they must not (§12.8); nothing is queued.
        """
        if creation.config.webhook_url is not None:
            self._check_webhook(creation.config.webhook_url)
        path = head_path(subscription_id)

        def created(outcome: bool | StreamError) -> None:  # noqa: FBT001 what the command settles with
            if isinstance(outcome, StreamError) or creation.config.pattern is None or not self._is_linking(path):
                settle(outcome)
                return
            self._link_existing(path, "", lambda linked: settle(linked if isinstance(linked, StreamError) else outcome))

        new = (creation, base_url, self._chance)
        self._committer.submit(commands.CreateSubscription(self._wakes, path, created, new=new))

    def _is_linking(self, path: str) -> bool:
        (head,) = self._engine.load([path])
        return head is not None and stored_subscription(head).linking

    def _link_existing(self, path: str, after: str, settle: Callable[[str | StreamError], None]) -> None:
        def linked(outcome: str | StreamError) -> None:
            if isinstance(outcome, StreamError) or not outcome:
                settle(outcome)
            else:
                self._link_existing(path, outcome, settle)

        self._committer.submit(commands.LinkExisting(self._wakes, path, linked, after=after))

    def submit_delete(self, subscription_id: str, settle: Settle) -> None:
        """Delete (§6.3)."""
        self._committer.submit(commands.DeleteSubscription(self._wakes, head_path(subscription_id), settle))

    def submit_add_streams(self, subscription_id: str, streams: tuple[str, ...], settle: Settle) -> None:
        """Link streams by name (§6.4)."""
        path = head_path(subscription_id)
        self._committer.submit(commands.AddStreams(self._wakes, path, settle, streams=streams))

    def submit_remove_stream(self, subscription_id: str, stream: str, settle: Settle) -> None:
        """Remove a link by name (§6.4)."""
        self._committer.submit(commands.RemoveStream(self._wakes, head_path(subscription_id), settle, stream=stream))

    def submit_claim(self, subscription_id: str, worker: str, settle: Callable[[Granted | StreamError], None]) -> None:
        """Claim (§7.2)."""

        def claimed(outcome: Claimed | StreamError) -> None:
            settle(outcome if isinstance(outcome, StreamError) else self._granted(subscription_id, outcome))

        self._committer.submit(wake_commands.Claim(self._wakes, head_path(subscription_id), claimed, worker=worker))

    def _granted(self, subscription_id: str, claimed: Claimed) -> Granted:
        grant = self._grant(subscription_id, claimed.sid, claimed.generation)
        return Granted(claimed, self._tokens.make("claim", grant), self._tokens.make("write", grant))

    def _grant(self, subscription_id: str, sid: int, generation: int) -> Grant:
        return Grant(subscription_id, sid, generation, self._clock.now_ms() + TOKEN_LIFE_MS)

    def open_wake_token(self, subscription_id: str, token: str) -> Grant:
        """Return what the token of a callback, ack or release says (§12.9).

        Raises:
            TokenInvalidError, TokenExpiredError: it does not speak of this subscription, or no longer.
        """
        return self._tokens.open_wake(token, subscription_id, self._clock.now_ms())

    def submit_ack(self, subscription_id: str, request: WakeRequest, settle: Settle, *, webhook: bool) -> None:
        """Ack, or call back (§7.1, §7.2); settled with whether a new wake follows."""
        path = head_path(subscription_id)
        self._committer.submit(wake_commands.Ack(self._wakes, path, settle, request=request, webhook=webhook))

    def submit_release(self, subscription_id: str, request: WakeRequest, settle: Settle) -> None:
        """Release (§7.2)."""
        self._committer.submit(wake_commands.Release(self._wakes, head_path(subscription_id), settle, request=request))

    def submit_wake(self, subscription_id: str, settle: Settle) -> None:
        """Wake now, whether or not work is pending."""
        self._committer.submit(wake_commands.Nudge(self._wakes, head_path(subscription_id), settle))

    def submit_timer(self, path: str, settle: Settle) -> None:
        """Queue a look at a subscription whose deadline has come; by head path, as the due index has it."""
        self._committer.submit(wake_commands.Timer(self._wakes, path, settle))

    def submit_rebase(self, path: str, settle: Settle) -> None:
        """Queue a look at whether a subscription's deadline is further away than it can be; by head path."""
        self._committer.submit(wake_commands.Rebase(self._wakes, path, settle))

    def submit_report(self, path: str, attempt: Attempt, event: Event, *, settle: Settle) -> None:
        """Queue what became of a delivery."""
        self._committer.submit(wake_commands.ReportDelivery(self._wakes, path, settle, attempt=attempt, event=event))

    def describe(self, subscription_id: str, after: str, limit: int) -> Described:
        """Return a subscription with up to ``limit`` links that sort after ``after``.

        Raises:
            SubscriptionNotFoundError: none.
        """
        (head,) = self._engine.load([head_path(subscription_id)])
        if head is None:
            raise SubscriptionNotFoundError(f"no subscription {subscription_id!r}")
        links: list[Link] = []
        for link in load_links(self._engine, head.sid, {}, after=after):
            if len(links) == limit:
                return Described(subscription_id, stored_subscription(head), tuple(links), links[-1].path)
            links.append(link)
        return Described(subscription_id, stored_subscription(head), tuple(links), None)

    def scan(self, after: str, limit: int) -> tuple[list[tuple[str, Subscription]], str | None]:
        """Return one page of (id, subscription) in order of id, and the id to go on after."""
        heads = self._engine.scan(PREFIX, PREFIX + after if after else "", limit)
        found = [(head.path.removeprefix(PREFIX), stored_subscription(head)) for head in heads]
        return found, found[-1][0] if len(found) == limit else None

    def attempt(self, path: str) -> tuple[Subscription, Attempt] | None:
        """Return what is to be delivered for a waking webhook subscription, as committed; ``None`` if nothing is."""
        (head,) = self._engine.load([path])
        if head is None:
            return None
        subscription = stored_subscription(head)
        if subscription.phase is not Phase.WAKING or not subscription.is_webhook:
            return None
        if self._wakes.matcher.knows(path) and has_many(self._engine, head.sid):
            links = load_some(self._engine, head.sid, list(islice(self._wakes.matcher.candidates(path), SHOWN_MAX)))
        else:
            links = list(load_links(self._engine, head.sid, {}))
        generation, wake_id = subscription.generation, subscription.wake_id
        token = self._tokens.make("callback", self._grant(path.removeprefix(PREFIX), head.sid, generation))
        return subscription, Attempt(head.sid, generation, wake_id, tuple(cut(links)), token)

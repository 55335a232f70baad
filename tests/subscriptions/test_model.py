"""Any history of streams and subscriptions, several commands to a commit, on the real committer.

After every commit the store is held to what must be true of it, whatever came before: idle means nothing pending, no
cursor is past its tail, cursors move by acks of the current claim only, every wake has its event, and what matches is
linked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durable_streams.commit.committer import Audience, Committer
from durable_streams.commit.heads import HeadCache
from durable_streams.commit.writer import Writer
from durable_streams.engine.memory import MemoryEngine
from durable_streams.protocol.append import Append
from durable_streams.protocol.create import Create
from durable_streams.protocol.glob import matches
from durable_streams.protocol.subscription import Phase
from durable_streams.protocol.subscription_config import parse_creation
from durable_streams.runtime import Runtime
from durable_streams.runtime.alarm import Alarm
from durable_streams.runtime.clock import Chance, ManualClock
from durable_streams.streams.packer import Packer
from durable_streams.streams.pages import Pages
from durable_streams.streams.publisher import Publisher
from durable_streams.streams.service import Streams
from durable_streams.streams.tail import Hub
from durable_streams.subscriptions.index import SubscriptionIndex
from durable_streams.subscriptions.matcher import EXPLICIT, GLOB, Matcher
from durable_streams.subscriptions.service import Granted, Subscriptions
from durable_streams.subscriptions.tokens import Grant, Tokens
from durable_streams.subscriptions.wake_commands import WakeRequest
from durable_streams.subscriptions.wakes import Wakes
from durable_streams.subscriptions.waking import WakingQueue
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_streams.subscriptions.service import Described
    from durable_streams.subscriptions.wake_commands import Claimed

    Submit = Callable[[Callable[[Any], None]], None]

LEASE_MS = 30_000
STREAMS = ["a/x", "a/y", "b/x", "wake"]
NAMES = ["one", "two"]
PATTERNS = {"one": "a/*", "two": "**"}


class World:
    """One store with everything above it but HTTP. ``restart`` keeps the store."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.engine, self.clock = MemoryEngine(), ManualClock()
        self.chance = Chance(1)
        self.start()

    def start(self) -> None:
        runtime = Runtime(clock=self.clock, chance=self.chance)
        self.writer = Writer(self.loop)
        cache = HeadCache(self.engine, 16)
        hub, packer, alarm = Hub(), Packer(), Alarm(self.clock, 0)
        tokens = Tokens(lambda: b"k" * 32)
        wakes = Wakes(self.engine, Matcher(), self.chance, tokens=tokens)
        index = SubscriptionIndex(self.engine, wakes.matcher, waking=WakingQueue(), alarm=alarm)
        audience = Audience((Publisher(hub, packer), index), watch=wakes, followed=hub.is_followed)
        committer = Committer(self.engine, cache, self.writer, runtime=runtime, audience=audience)
        pages = Pages(self.engine, 1 << 20, packer)
        self.streams = Streams(self.engine, committer, cache, pages=pages, hub=hub, runtime=runtime)
        self.subscriptions = Subscriptions(
            committer, runtime, wakes=wakes, index=index, tokens=tokens, check_webhook=lambda _url: None
        )
        self.subscriptions.load()

    def stop(self) -> None:
        self.writer.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def together(self, submits: list[Submit]) -> list[Any]:
        """Submit all in one turn of the loop, so that one commit takes them; return what each was answered."""

        async def run() -> list[Any]:
            answers = [self.loop.create_future() for _ in submits]
            for submit, answer in zip(submits, answers, strict=True):
                submit(answer.set_result)
            return await asyncio.wait_for(asyncio.gather(*answers), HANG_S)

        return self.loop.run_until_complete(run())

    def close(self) -> None:
        self.stop()
        self.loop.close()

    def described(self, name: str) -> Described | None:
        if not self.engine.load([f"__ds/subscriptions/{name}"])[0]:
            return None
        return self.subscriptions.describe(name, "", 100)

    def messages(self, path: str) -> list[Any]:
        """Return what stands on a JSON stream."""
        (head,) = self.engine.load([path])
        assert head is not None
        chunks = self.engine.read(head.sid, 0, head.tail, 1 << 30)
        messages: list[Any] = orjson.loads(b"[" + b"".join(chunk.payload for chunk in chunks)[:-1] + b"]")
        return messages

    def put(self, path: str, body: bytes = b"", content_type: str = "text/plain") -> Submit:
        return lambda settle: self.streams.submit_create(path, Create(content_type, body), settle)

    def append(self, path: str, body: bytes = b"x", content_type: str = "text/plain") -> Submit:
        return lambda settle: self.streams.submit_append(path, Append(body, content_type), settle)

    def subscribe(self, name: str, *streams: str) -> Submit:
        fields = {"type": "pull-wake", "wake_stream": "wake", "pattern": PATTERNS[name], "lease_ttl_ms": LEASE_MS}
        creation = parse_creation(orjson.dumps({**fields, "streams": [*streams]}))
        return lambda settle: self.subscriptions.submit_create(name, creation, "http://x/v1", settle=settle)


class Op(NamedTuple):
    """One thing to do: a word, and what it is about."""

    what: str
    stream: str
    name: str
    number: int


WORDS = [
    *("append", "append", "append", "put", "put filled", "delete"),
    *("subscribe", "unsubscribe", "add", "remove"),
    *("claim", "claim", "ack", "done", "release", "late", "nudge"),
]
ops = st.builds(Op, st.sampled_from(WORDS), st.sampled_from(STREAMS), st.sampled_from(NAMES), st.integers(0, 100))


class Histories(RuleBasedStateMachine):
    """``claims`` is the latest claim of each subscription; ``cursors`` what was seen after the last commit."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.claims: dict[str, Claimed] = {}
        self.cursors: dict[tuple[str, int, str], int] = {}
        self.acked: set[tuple[str, str]] = set()
        self.deleted: set[str] = set()
        self.wake_deleted = False

    def teardown(self) -> None:
        self.world.close()

    @initialize()
    def wake_stream(self) -> None:
        self.world.together([self.world.put("wake", content_type="application/json")])

    @rule(batch=st.lists(ops, min_size=1, max_size=6))
    def commit(self, batch: list[Op]) -> None:
        self.acked, self.deleted = set(), {op.stream for op in batch if op.what == "delete"}
        self.wake_deleted = self.wake_deleted or "wake" in self.deleted
        answers = self.world.together([self._submit(op) for op in batch])
        for op, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Granted):
                self.claims[op.name] = answer.claimed

    @rule(by_ms=st.sampled_from([1, LEASE_MS // 2, LEASE_MS]))
    def pass_time(self, by_ms: int) -> None:
        self.acked, self.deleted = set(), set()
        self.world.clock.advance_ms(by_ms)
        due = self.world.engine.due(self.world.clock.now_ms(), 99)
        self.world.together([self._timer(row.path) for row in due])

    @rule()
    def restart(self) -> None:
        self.acked, self.deleted = set(), set()
        self.world.restart()

    def _timer(self, path: str) -> Submit:
        return lambda settle: self.world.subscriptions.submit_timer(path, settle)

    def _submit(self, op: Op) -> Submit:  # noqa: PLR0911, C901 one per word
        streams, subscriptions = self.world.streams, self.world.subscriptions
        content_type = "application/json" if op.stream == "wake" else "text/plain"
        match op.what:
            case "append":
                payload = b"1," if op.stream == "wake" else b"x" * (1 + op.number % 9)
                return self.world.append(op.stream, payload, content_type)
            case "put":
                return self.world.put(op.stream, b"", content_type)
            case "put filled":
                return self.world.put(op.stream, b"1,", content_type)
            case "delete":
                return lambda settle: streams.submit_delete(op.stream, settle)
            case "subscribe":
                return self.world.subscribe(op.name, *([op.stream] if op.number % 2 and op.stream != "wake" else []))
            case "unsubscribe":
                return lambda settle: subscriptions.submit_delete(op.name, settle)
            case "add":
                return lambda settle: subscriptions.submit_add_streams(op.name, (op.stream,), settle)
            case "remove":
                return lambda settle: subscriptions.submit_remove_stream(op.name, op.stream, settle)
            case "claim":
                return lambda settle: subscriptions.submit_claim(op.name, f"w{op.number}", settle)
            case "nudge":
                return lambda settle: subscriptions.submit_wake(op.name, settle)
            case _:
                return self._with_claim(op)

    def _with_claim(self, op: Op) -> Submit:
        claim = self.claims.get(op.name)
        if claim is None:
            return lambda settle: self.world.subscriptions.submit_claim(op.name, "w", settle)
        generation = claim.generation - (op.what == "late")
        grant = Grant(op.name, claim.sid, generation, self.world.clock.now_ms() + 1)
        links = [link for link in claim.links if link.is_pending and op.number % 3]
        if op.what in {"ack", "done"}:
            self.acked |= {(op.name, link.path) for link in links}
        acks = tuple((link.path, f"{link.tail:016}") for link in links)
        request = WakeRequest(grant, generation, claim.wake_id, acks, op.what == "done")
        if op.what == "release":
            return lambda settle: self.world.subscriptions.submit_release(op.name, request, settle)
        return lambda settle: self.world.subscriptions.submit_ack(op.name, request, settle, webhook=False)

    @invariant()
    def subscriptions_are_sound(self) -> None:
        for name in NAMES:
            described = self.world.described(name)
            if described is not None:
                self._check(name, described)

    def _check(self, name: str, described: Described) -> None:
        subscription = described.subscription
        for link in described.links:
            assert link.acked <= link.tail, f"{link} is past its tail"
            assert subscription.phase is not Phase.IDLE or not link.is_pending, f"idle, and {link} is pending"
            assert bool(link.bits & GLOB) == (matches(PATTERNS[name], link.path) and link.path != "wake")
        assert subscription.explicit_count == sum(bool(link.bits & EXPLICIT) for link in described.links)
        assert (subscription.phase is Phase.CLAIMED) == bool(subscription.holder)

    @invariant()
    def cursors_move_by_acks_only(self) -> None:
        now: dict[tuple[str, int, str], int] = {}
        for name in NAMES:
            described = self.world.described(name)
            (head,) = self.world.engine.load([f"__ds/subscriptions/{name}"])
            if described is None or head is None:
                continue
            for link in described.links:
                key = (name, head.sid, link.path)
                now[key] = link.acked
                before = self.cursors.get(key)
                if before is not None and link.acked != before and link.path not in self.deleted:
                    assert (name, link.path) in self.acked, f"{key} moved from {before} to {link.acked} by itself"
        self.cursors = now

    @invariant()
    def every_wake_has_its_event(self) -> None:
        (wake,) = self.world.engine.load(["wake"])
        if wake is None or self.wake_deleted:
            return
        written = [event for event in self.world.messages("wake") if isinstance(event, dict)]
        for name in NAMES:
            described = self.world.described(name)
            if described is not None and described.subscription.phase is Phase.WAKING:
                own = [event["generation"] for event in written if event["subscription_id"] == name]
                assert own[-1:] == [described.subscription.generation]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.together([world.put("wake", content_type="application/json")])
    yield world
    world.close()


class TestOneCommit:
    """What is decided together in one commit, in its order."""

    def test_an_append_behind_the_first_subscription_counts(self, world: World) -> None:
        world.together([world.put("b/x")])
        world.together([world.subscribe("one", "b/x"), world.append("b/x")])

        described = world.described("one")
        assert described is not None
        assert described.subscription.phase is Phase.WAKING

    def test_an_append_before_a_subscription_does_not(self, world: World) -> None:
        world.together([world.put("b/x")])
        world.together([world.append("b/x"), world.subscribe("one", "b/x")])

        described = world.described("one")
        assert described is not None
        assert (described.subscription.phase, described.links[0].acked) == (Phase.IDLE, 1)

    def test_a_link_removed_is_not_made_again_by_an_append_behind_it(self, world: World) -> None:
        world.together([world.put("b/x"), world.subscribe("one", "b/x")])
        remove = lambda settle: world.subscriptions.submit_remove_stream("one", "b/x", settle)  # noqa: E731 one of its kind
        world.together([remove, world.append("b/x")])

        described = world.described("one")
        assert described is not None
        assert described.links == ()

    def test_a_subscription_replaced_hears_of_its_own_streams(self, world: World) -> None:
        world.together([world.put("b/x"), world.put("b/y"), world.subscribe("one", "b/x")])
        world.together([lambda settle: world.subscriptions.submit_delete("one", settle), world.subscribe("one", "b/y")])
        world.together([world.append("b/x")])
        world.together([world.append("b/y")])

        described = world.described("one")
        assert described is not None
        assert [(link.path, link.is_pending) for link in described.links] == [("b/y", True)]
        assert [event["stream"] for event in world.messages("wake")] == ["b/y"]

    def test_a_wake_released_with_a_new_append_wakes_for_it(self, world: World) -> None:
        world.together([world.subscribe("one")])
        world.together([world.put("a/x", b"1")])
        (granted,) = world.together([lambda settle: world.subscriptions.submit_claim("one", "w", settle)])
        claim = granted.claimed
        grant = Grant("one", claim.sid, claim.generation, world.clock.now_ms() + 1)
        request = WakeRequest(grant, claim.generation, claim.wake_id, (("a/x", f"{1:016}"),), done=True)
        done = lambda settle: world.subscriptions.submit_ack("one", request, settle, webhook=False)  # noqa: E731 as above
        assert world.together([done, world.append("a/x")])[0] is False

        assert [event["generation"] for event in world.messages("wake")] == [1, 2]


TestHistories = pytest.mark.slow(Histories.TestCase)
Histories.TestCase.settings = settings(max_examples=300, stateful_step_count=30)

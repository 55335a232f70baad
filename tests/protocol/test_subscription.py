from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from durable_streams.protocol.subscription import (
    RETRY_MAX_MS,
    TABLE,
    WEBHOOK_HOLDER,
    Event,
    Facts,
    Move,
    Phase,
    Subscription,
    backoff_ms,
    check_wake,
    decode_subscription,
    encode_subscription,
    event_unwritten,
    holds_lease,
    is_lease_over,
    rebased,
    step,
)
from durable_streams.protocol.subscription_config import Config, Kind
from durable_streams.protocol.subscription_errors import (
    AlreadyClaimedError,
    FencedError,
    NoPendingWorkError,
    SubscriptionError,
)

NOW_MS = 1_800_000_000_000
LEASE_MS = 30_000
PULL = Config(Kind.PULL_WAKE, "a/*", None, "wake", LEASE_MS, None)
WEBHOOK = Config(Kind.WEBHOOK, "a/*", "https://a.example", None, LEASE_MS, "d")


def made(config: Config, phase: Phase, **fields: object) -> Subscription:
    """A subscription at generation 3, as the phase goes with the other fields."""
    busy = {"wake_id": "w3", "trigger": "a/x"} if phase is not Phase.IDLE else {}
    by_phase: dict[Phase, dict[str, object]] = {
        Phase.IDLE: {},
        Phase.WAKING: {"until_ms": NOW_MS + 9 if config.kind is Kind.WEBHOOK else 0},
        Phase.CLAIMED: {"holder": "w", "until_ms": NOW_MS + 9},
        Phase.RETRYING: {"failures": 2, "until_ms": NOW_MS + 9},
    }
    plain = Subscription(config, "hash", "http://x/v1", 5, phase, 3)
    return plain._replace(**{**busy, **by_phase[phase], **fields})  # type: ignore[arg-type] # as the case has them


FACTS = Facts(NOW_MS, "w4", None, "me", 1.0)
PENDING = FACTS._replace(pending="a/y")


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(itertools.product(Phase, Event))


@pytest.mark.parametrize("config", [PULL, WEBHOOK])
@pytest.mark.parametrize(("phase", "event"), sorted(TABLE))
@pytest.mark.parametrize("facts", [FACTS, PENDING])
def test_every_event_in_every_phase(config: Config, phase: Phase, event: Event, facts: Facts) -> None:  # noqa: PLR0917 parametrized
    """What each move leaves, field by field."""
    before = made(config, phase)
    wake_until_ms = NOW_MS + LEASE_MS if before.is_webhook else 0
    woken = before._replace(
        phase=Phase.WAKING, generation=4, wake_id="w4", trigger=facts.pending or "", holder="", until_ms=wake_until_ms
    )._replace(failures=0)
    idle = before._replace(phase=Phase.IDLE, wake_id="", trigger="", holder="", until_ms=0, failures=0)
    held = before._replace(phase=Phase.CLAIMED, holder=before.holder or "me", until_ms=NOW_MS + LEASE_MS, failures=0)
    failures = before.failures + 1
    expected: dict[Move, Subscription | type[SubscriptionError]] = {
        Move.STAY: before,
        Move.WAKE: woken,
        Move.AGAIN: before._replace(phase=Phase.WAKING, until_ms=wake_until_ms),
        Move.HOLD: held,
        Move.REST: idle if facts.pending is None else woken,
        Move.RETRY: before._replace(
            phase=Phase.RETRYING, failures=failures, until_ms=NOW_MS + backoff_ms(failures, 1.0)
        ),
        Move.FENCE: FencedError,
        Move.REFUSE: AlreadyClaimedError if phase is Phase.CLAIMED else NoPendingWorkError,
    }
    wanted = expected[TABLE[phase, event]]
    if isinstance(wanted, Subscription):
        assert step(before, event, facts) == wanted
    else:
        with pytest.raises(wanted):
            step(before, event, facts)


def test_a_refused_claim_names_the_holder() -> None:
    with pytest.raises(AlreadyClaimedError) as refused:
        step(made(PULL, Phase.CLAIMED), Event.CLAIM, FACTS)
    assert (refused.value.current_holder, refused.value.generation) == ("w", 3)


@pytest.mark.parametrize(
    ("claimed", "passes"),
    [((3, 3, "w3"), True), ((2, 3, "w3"), False), ((3, 2, "w3"), False), ((3, 3, "w2"), False), ((3, 3, ""), False)],
)
@pytest.mark.parametrize("phase", [Phase.WAKING, Phase.CLAIMED, Phase.RETRYING])
def test_only_the_current_wake_passes(phase: Phase, claimed: tuple[int, int, str], *, passes: bool) -> None:
    if passes:
        check_wake(made(WEBHOOK, phase), claimed, NOW_MS)
        return
    with pytest.raises(FencedError):
        check_wake(made(WEBHOOK, phase), claimed, NOW_MS)


def test_an_idle_subscription_has_no_wake_to_speak_of() -> None:
    with pytest.raises(FencedError):
        check_wake(made(PULL, Phase.IDLE), (3, 3, ""), NOW_MS)


@pytest.mark.parametrize(("at_ms", "over"), [(NOW_MS + 8, False), (NOW_MS + 9, True), (NOW_MS + 10, True)])
def test_a_lease_that_has_run_out_fences_before_anybody_notes_it(at_ms: int, *, over: bool) -> None:
    claimed = made(PULL, Phase.CLAIMED)

    assert is_lease_over(claimed, at_ms) is over
    assert holds_lease(claimed, 3, at_ms) is not over
    assert not holds_lease(claimed, 2, at_ms)
    if over:
        with pytest.raises(FencedError):
            check_wake(claimed, (3, 3, "w3"), at_ms)


def test_no_other_phase_holds_a_lease() -> None:
    for phase in set(Phase) - {Phase.CLAIMED}:
        assert not is_lease_over(made(WEBHOOK, phase), NOW_MS + 99)
        assert not holds_lease(made(WEBHOOK, phase), 3, NOW_MS)


def test_an_event_that_could_not_be_written_is_tried_again() -> None:
    waking = made(PULL, Phase.WAKING)

    once = event_unwritten(waking, FACTS)
    assert (once.phase, once.failures, once.until_ms) == (Phase.WAKING, 1, NOW_MS + 1200)
    assert event_unwritten(once, FACTS).until_ms == NOW_MS + 2400


@pytest.mark.parametrize(
    ("config", "phase", "longest_ms"),
    [
        (PULL, Phase.CLAIMED, LEASE_MS),
        (WEBHOOK, Phase.CLAIMED, LEASE_MS),
        (WEBHOOK, Phase.WAKING, 72_000),
        (WEBHOOK, Phase.RETRYING, 72_000),
        (PULL, Phase.WAKING, 72_000),
        (WEBHOOK._replace(lease_ttl_ms=600_000), Phase.WAKING, 600_000),
    ],
)
def test_no_deadline_is_further_away_than_what_it_waits_for(config: Config, phase: Phase, longest_ms: int) -> None:
    """One that is was set while the clock was ahead."""
    for until_ms in (0, NOW_MS, NOW_MS + longest_ms):
        fine = made(config, phase, until_ms=until_ms)
        assert rebased(fine, NOW_MS) is fine
    ahead = made(config, phase, until_ms=NOW_MS + 86_400_000)
    assert rebased(ahead, NOW_MS) == ahead._replace(until_ms=NOW_MS + longest_ms)


@pytest.mark.parametrize(
    ("failures", "jitter", "expected_ms"),
    [(1, 0.0, 1000), (2, 0.0, 2000), (6, 0.0, 32_000), (7, 0.0, 60_000), (999, 0.0, RETRY_MAX_MS), (1, -1.0, 800)],
)
def test_backoff(failures: int, jitter: float, expected_ms: int) -> None:
    assert backoff_ms(failures, jitter) == expected_ms


@given(st.integers(1, 10_000), st.floats(-1, 1))
def test_backoff_stays_within_a_fifth_of_its_bounds(failures: int, jitter: float) -> None:
    assert 800 <= backoff_ms(failures, jitter) <= 72_000


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**53)
subscriptions = st.builds(
    Subscription,
    st.builds(Config, st.sampled_from(Kind), *[st.none() | texts] * 3, numbers, st.none() | texts),
    texts,
    texts,
    numbers,
    st.sampled_from(Phase),
    numbers,
    *[texts] * 3,
    *[numbers] * 3,
    st.booleans(),
)


@given(subscriptions)
def test_a_subscription_comes_back_as_it_was(subscription: Subscription) -> None:
    decoded = decode_subscription(encode_subscription(subscription))

    assert decoded == subscription
    assert [type(part) for part in decoded] == [type(part) for part in subscription]


class Life(RuleBasedStateMachine):
    """Any history of events: whatever comes, in whatever order, these stay true."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW_MS
        self.wakes = 0
        self.pending = False
        self.subscription = made(PULL, Phase.IDLE)
        self.seen: dict[int, str] = {3: ""}
        self.config = PULL

    @rule(config=st.sampled_from([PULL, WEBHOOK]))
    @precondition(lambda self: self.wakes == 0)
    def choose(self, config: Config) -> None:
        self.subscription = self.subscription._replace(config=config)

    @rule(by_ms=st.integers(1, 40_000))
    def wait(self, by_ms: int) -> None:
        self.now_ms += by_ms

    @rule(pending=st.booleans())
    def work(self, pending: bool) -> None:  # noqa: FBT001 hypothesis passes by name
        self.pending = pending

    @rule(event=st.sampled_from(Event), jitter=st.floats(-1, 1))
    def happen(self, event: Event, jitter: float) -> None:
        if event is Event.PENDING:
            self.pending = True
        before = self.subscription
        self.wakes += 1
        facts = Facts(self.now_ms, f"wake{self.wakes}", "a/x" if self.pending else None, "me", jitter)
        try:
            self.subscription = step(before, event, facts)
        except SubscriptionError:
            return
        after = self.subscription
        assert after.generation - before.generation in {0, 1}, "generations grow one by one"
        if after.phase is Phase.IDLE and before.phase is not Phase.IDLE:
            assert not self.pending, "never idle with work pending"
        if after.generation != before.generation:
            self.seen[after.generation] = after.wake_id

    @invariant()
    def every_generation_has_one_wake_id(self) -> None:
        now = self.subscription
        assert now.wake_id in {"", self.seen[now.generation]}
        assert (now.wake_id == "") == (now.phase is Phase.IDLE)

    @invariant()
    def what_must_end_by_itself_has_a_time_to(self) -> None:
        now = self.subscription
        ends = now.phase in {Phase.CLAIMED, Phase.RETRYING} or (now.phase is Phase.WAKING and now.is_webhook)
        assert bool(now.until_ms) == ends
        assert (now.holder != "") == (now.phase is Phase.CLAIMED)
        assert now.until_ms <= self.now_ms + 72_000


TestLife = Life.TestCase


def test_a_webhook_s_wake_is_held_by_it() -> None:
    delivered = step(made(WEBHOOK, Phase.WAKING), Event.DELIVERED, Facts(NOW_MS))

    assert delivered.holder == WEBHOOK_HOLDER

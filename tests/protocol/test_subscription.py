from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.subscription import (
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
    move_of,
    step,
)
from durable_streams.protocol.subscription_config import Config, Kind
from durable_streams.protocol.subscription_errors import AlreadyClaimedError, FencedError, NoPendingWorkError

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = 1_000_000
LEASE_MS = 30_000
HOOK = Config(Kind.WEBHOOK, "a/*", "https://worker.example", None, LEASE_MS, None)
PULL = Config(Kind.PULL_WAKE, "a/*", None, "wake", LEASE_MS, "d")
FACTS = Facts(NOW_MS, wake_id="w9", pending="a/b", holder="worker")
NOTHING_PENDING = FACTS._replace(pending=None)


def subscription(phase: Phase, config: Config = PULL, **fields: object) -> Subscription:
    """Return a subscription in the middle of its life, with what belongs to the phase."""
    made = Subscription(config, "hash", "http://x/v1/stream", 5, phase, generation=4)
    if phase is not Phase.IDLE:
        made = made._replace(wake_id="w4", trigger="a/a")
    if phase is Phase.CLAIMED:
        made = made._replace(holder="holder", until_ms=NOW_MS + 10)
    if phase is Phase.RETRYING:
        made = made._replace(failures=2, until_ms=NOW_MS + 10)
    return made._replace(**fields)  # type: ignore[arg-type] # as the case has them


def woken(before: Subscription, facts: Facts) -> Subscription:
    until_ms = NOW_MS + LEASE_MS if before.config is HOOK else 0
    return before._replace(
        phase=Phase.WAKING,
        generation=5,
        wake_id="w9",
        trigger=facts.pending or "",
        holder="",
        until_ms=until_ms,
        failures=0,
    )


def rested(before: Subscription, facts: Facts) -> Subscription:
    if facts.pending is not None:
        return woken(before, facts)
    return before._replace(phase=Phase.IDLE, wake_id="", trigger="", holder="", until_ms=0, failures=0)


EFFECTS: dict[Move, Callable[[Subscription, Facts], Subscription]] = {
    Move.STAY: lambda before, _facts: before,
    Move.WAKE: woken,
    Move.AGAIN: lambda before, _facts: before._replace(
        phase=Phase.WAKING, until_ms=NOW_MS + LEASE_MS if before.config is HOOK else 0
    ),
    Move.HOLD: lambda before, facts: before._replace(
        phase=Phase.CLAIMED, holder=before.holder or facts.holder, until_ms=NOW_MS + LEASE_MS, failures=0
    ),
    Move.REST: rested,
    Move.RETRY: lambda before, _facts: before._replace(
        phase=Phase.RETRYING,
        failures=before.failures + 1,
        until_ms=NOW_MS + backoff_ms(before.failures + 1, 0),
    ),
}
REFUSALS: dict[tuple[Phase, Move], type[Exception]] = {
    **{(phase, Move.FENCE): FencedError for phase in Phase},
    **{(phase, Move.REFUSE): NoPendingWorkError for phase in Phase},
    (Phase.CLAIMED, Move.REFUSE): AlreadyClaimedError,
}


@pytest.mark.parametrize("facts", [FACTS, NOTHING_PENDING])
@pytest.mark.parametrize("config", [HOOK, PULL])
@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_every_event_in_every_phase(*, phase: Phase, event: Event, config: Config, facts: Facts) -> None:
    before = subscription(phase, config)
    move = move_of(before, event)

    if move in EFFECTS:
        assert step(before, event, facts) == EFFECTS[move](before, facts)
    else:
        with pytest.raises(REFUSALS[phase, move]):
            step(before, event, facts)


def test_the_table_knows_every_pair() -> None:
    assert set(TABLE) == set(itertools.product(Phase, Event))
    assert set(TABLE.values()) == set(Move)


class TestPromises:
    """What §7 says, whatever the table's words for it."""

    @pytest.mark.parametrize("phase", [Phase.WAKING, Phase.CLAIMED, Phase.RETRYING])
    def test_one_wake_is_in_flight_at_a_time(self, phase: Phase) -> None:
        before = subscription(phase)
        assert step(before, Event.PENDING, FACTS) == before

    @pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
    def test_a_new_wake_is_a_new_generation_and_nothing_else_is(self, phase: Phase, event: Event) -> None:
        before = subscription(phase)
        try:
            after = step(before, event, FACTS)
        except (FencedError, AlreadyClaimedError, NoPendingWorkError):
            return
        assert after.generation - before.generation == (after.wake_id == "w9")

    def test_a_lease_that_ends_makes_way_for_pending_work(self) -> None:
        after = step(subscription(Phase.CLAIMED), Event.TIMER, FACTS)
        assert (after.phase, after.holder, after.generation) == (Phase.WAKING, "", 5)

    def test_a_lease_that_ends_without_work_leaves_nobody_holding_anything(self) -> None:
        after = step(subscription(Phase.CLAIMED), Event.TIMER, NOTHING_PENDING)
        assert (after.phase, after.holder, after.wake_id, after.until_ms) == (Phase.IDLE, "", "", 0)

    @pytest.mark.parametrize("event", [Event.ACK, Event.DONE, Event.RELEASE])
    def test_nobody_acks_what_is_over(self, event: Event) -> None:
        with pytest.raises(FencedError) as refused:
            step(subscription(Phase.IDLE), event, FACTS)
        assert refused.value.generation == 4

    def test_a_second_claim_learns_who_was_first(self) -> None:
        with pytest.raises(AlreadyClaimedError) as refused:
            step(subscription(Phase.CLAIMED), Event.CLAIM, FACTS)
        assert (refused.value.current_holder, refused.value.generation) == ("holder", 4)

    def test_a_claim_and_every_ack_begin_the_lease_anew(self) -> None:
        claimed = step(subscription(Phase.WAKING), Event.CLAIM, FACTS)
        acked = step(claimed, Event.ACK, FACTS._replace(now_ms=NOW_MS + 7))
        assert (claimed.holder, claimed.until_ms) == ("worker", NOW_MS + LEASE_MS)
        assert (acked.holder, acked.until_ms) == ("worker", NOW_MS + 7 + LEASE_MS)

    def test_who_is_not_named_is_the_webhook(self) -> None:
        assert step(subscription(Phase.WAKING, HOOK), Event.DELIVERED, Facts(NOW_MS)).holder == WEBHOOK_HOLDER


CURRENT = (4, 4, "w4")


@pytest.mark.parametrize("phase", [Phase.WAKING, Phase.CLAIMED, Phase.RETRYING])
def test_the_current_wake_passes(phase: Phase) -> None:
    check_wake(subscription(phase), CURRENT, NOW_MS)


@pytest.mark.parametrize("claimed", [(3, 4, "w4"), (4, 3, "w4"), (4, 4, "w3"), (5, 5, "w4"), (4, 4, "")])
def test_any_other_is_fenced(claimed: tuple[int, int, str]) -> None:
    """§7.3: token's generation, request's generation, wake id."""
    with pytest.raises(FencedError) as refused:
        check_wake(subscription(Phase.CLAIMED), claimed, NOW_MS)
    assert refused.value.generation == 4


def test_no_wake_is_current_when_idle() -> None:
    with pytest.raises(FencedError):
        check_wake(subscription(Phase.IDLE), (4, 4, ""), NOW_MS)


@pytest.mark.parametrize(("later_ms", "over"), [(9, False), (10, True), (11, True)])
def test_a_lease_is_over_when_its_time_comes(later_ms: int, *, over: bool) -> None:
    held = subscription(Phase.CLAIMED)

    assert is_lease_over(held, NOW_MS + later_ms) is over
    assert holds_lease(held, 4, NOW_MS + later_ms) is not over
    if over:
        with pytest.raises(FencedError):
            check_wake(held, CURRENT, NOW_MS + later_ms)
    else:
        check_wake(held, CURRENT, NOW_MS + later_ms)


def test_only_a_claim_of_this_generation_holds_a_lease() -> None:
    assert not holds_lease(subscription(Phase.CLAIMED), 3, NOW_MS)
    assert not holds_lease(subscription(Phase.WAKING), 4, NOW_MS)
    assert not is_lease_over(subscription(Phase.RETRYING), NOW_MS + 99)


def test_a_wake_event_that_could_not_be_written_is_tried_again_later() -> None:
    before = subscription(Phase.WAKING, failures=1)

    assert event_unwritten(before, FACTS) == before._replace(failures=2, until_ms=NOW_MS + 2_000)


@pytest.mark.parametrize(
    ("failures", "jitter", "wait_ms"),
    [(1, 0, 1_000), (2, 0, 2_000), (6, 0, 32_000), (7, 0, 60_000), (10_000, 0, 60_000), (1, -1, 800), (7, 1, 72_000)],
)
def test_backoff_doubles_up_to_a_minute(failures: int, jitter: float, wait_ms: int) -> None:
    assert backoff_ms(failures, jitter) == wait_ms


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
counts = st.integers(0, 2**53)
configs = st.builds(
    Config, st.sampled_from(Kind), st.none() | texts, st.none() | texts, st.none() | texts, counts, st.none() | texts
)


@given(
    st.builds(
        Subscription,
        configs,
        texts,
        texts,
        counts,
        st.sampled_from(Phase),
        generation=counts,
        wake_id=texts,
        trigger=texts,
        holder=texts,
        until_ms=counts,
        failures=counts,
        explicit_count=counts,
        linking=st.booleans(),
    )
)
def test_a_subscription_comes_back_as_it_was(kept: Subscription) -> None:
    decoded = decode_subscription(encode_subscription(kept))

    assert decoded == kept
    assert [type(part) for part in (*decoded, *decoded.config)] == [type(part) for part in (*kept, *kept.config)]
    assert decoded.is_webhook is (kept.config.kind is Kind.WEBHOOK)

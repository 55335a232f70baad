from __future__ import annotations

import pytest

from durable_streams.protocol.subscription_errors import (
    AlreadyClaimedError,
    FencedError,
    InvalidAckError,
    SubscriptionError,
    TooManyAcksError,
)

STRANGE = "a\udcff\r\n"


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (FencedError(7), {"generation": 7}),
        (AlreadyClaimedError(STRANGE, 7), {"current_holder": STRANGE, "generation": 7}),
        (TooManyAcksError(7), {"acks_max": 7}),
        (InvalidAckError(STRANGE, "some words"), {"stream": STRANGE}),
    ],
)
def test_a_refusal_carries_its_facts_and_can_be_shown(error: SubscriptionError, fields: dict[str, object]) -> None:
    assert vars(error) == fields
    assert str(error).isascii()
    assert len(str(error).splitlines()) == 1

from __future__ import annotations

import inspect

import pytest

from durable_streams.protocol import subscription_errors
from durable_streams.protocol.errors import StreamError
from durable_streams.protocol.subscription_errors import (
    AlreadyClaimedError,
    FencedError,
    InvalidAckError,
    InvalidSubscriptionError,
    SubscriptionError,
)

KINDS = [kind for _, kind in inspect.getmembers(subscription_errors, inspect.isclass) if kind is not StreamError]


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_refusal_of_its_branch(kind: type[StreamError]) -> None:
    assert issubclass(kind, SubscriptionError)
    assert kind.__doc__


def test_a_fenced_worker_learns_the_current_generation() -> None:
    refused = FencedError(7)

    assert refused.generation == 7
    assert "7" in str(refused)


def test_a_late_worker_learns_who_holds_the_lease() -> None:
    refused = AlreadyClaimedError("w\udcff", 7)

    assert (refused.current_holder, refused.generation) == ("w\udcff", 7)
    assert str(refused) == "'w\\udcff' holds the lease of generation 7"


def test_a_bad_ack_names_its_stream() -> None:
    refused = InvalidAckError("a\udcff", "beyond the tail")

    assert refused.stream == "a\udcff"
    assert str(refused) == "ack of 'a\\udcff': beyond the tail"


def test_the_others_say_why() -> None:
    assert str(InvalidSubscriptionError("no type")) == "no type"

from __future__ import annotations

from typing import Any

import orjson
import pytest

from durable_streams.protocol.subscription_config import (
    ID_MAX_BYTES,
    LEASE_DEFAULT_MS,
    PREFIX,
    STREAMS_MAX,
    TEXT_MAX_BYTES,
    Config,
    Creation,
    Kind,
    head_path,
    parse_creation,
    parse_id,
    parse_object,
    parse_stream,
    parse_streams,
)
from durable_streams.protocol.subscription_errors import InvalidSubscriptionError

WEBHOOK: dict[str, Any] = {"type": "webhook", "pattern": "events/*", "webhook": {"url": "https://a.example/h"}}
PULL: dict[str, Any] = {"type": "pull-wake", "streams": ["/b/", "a", "b"], "wake_stream": "wake/pool"}


def parsed(fields: dict[str, Any], **changed: Any) -> Creation:  # noqa: ANN401 whatever JSON holds
    return parse_creation(orjson.dumps({**fields, **changed}))


def test_a_webhook_subscription() -> None:
    assert parsed(WEBHOOK, lease_ttl_ms=1000, description="d", wake_stream="not/looked/at") == (
        Config(Kind.WEBHOOK, "events/*", "https://a.example/h", None, 1000, "d"),
        (),
    )


def test_a_pull_subscription_with_its_streams_in_order_each_once() -> None:
    assert parsed(PULL) == (Config(Kind.PULL_WAKE, None, None, "wake/pool", LEASE_DEFAULT_MS, None), ("a", "b"))


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        (PULL, {"type": "push"}),
        (PULL, {"type": 7}),
        (PULL, {"streams": []}),
        (PULL, {"streams": None}),
        (PULL, {"streams": "a"}),
        (PULL, {"streams": ["a", 7]}),
        (PULL, {"streams": [""]}),
        (PULL, {"streams": ["a/../b"]}),
        (PULL, {"streams": ["__ds/x"]}),
        (PULL, {"streams": ["a" * 481]}),
        (PULL, {"streams": ["a"] * (STREAMS_MAX + 1)}),
        (PULL, {"streams": ["wake/pool"]}),
        (PULL, {"wake_stream": None}),
        (PULL, {"wake_stream": "/"}),
        (PULL, {"wake_stream": 7}),
        (PULL, {"lease_ttl_ms": 999}),
        (PULL, {"lease_ttl_ms": 600_001}),
        (PULL, {"lease_ttl_ms": 1000.5}),
        (PULL, {"lease_ttl_ms": True}),
        (PULL, {"lease_ttl_ms": None}),
        (PULL, {"description": 7}),
        (PULL, {"description": "d" * (TEXT_MAX_BYTES + 1)}),
        (WEBHOOK, {"pattern": "a/b*"}),
        (WEBHOOK, {"pattern": ["a"]}),
        (WEBHOOK, {"webhook": None}),
        (WEBHOOK, {"webhook": {}}),
        (WEBHOOK, {"webhook": {"url": 7}}),
        (WEBHOOK, {"webhook": {"url": ""}}),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], changed: dict[str, Any]) -> None:
    parsed(fields)
    with pytest.raises(InvalidSubscriptionError):
        parsed(fields, **changed)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"x"'])
def test_a_body_is_a_json_object(body: bytes) -> None:
    with pytest.raises(InvalidSubscriptionError):
        parse_object(body)


def test_the_hash_is_of_what_is_normal() -> None:
    assert parsed(PULL).config_hash == parsed(PULL, streams=["b", "a"]).config_hash
    assert parsed(WEBHOOK).config_hash == parsed(WEBHOOK, lease_ttl_ms=LEASE_DEFAULT_MS).config_hash


@pytest.mark.parametrize(
    "changed",
    [
        {"pattern": "other/*"},
        {"streams": ["x"]},
        {"webhook": {"url": "https://b.example/h"}},
        {"lease_ttl_ms": 1000},
        {"description": ""},
        {"type": "pull-wake", "wake_stream": "w"},
    ],
)
def test_the_hash_differs_with_every_part(changed: dict[str, Any]) -> None:
    assert parsed(WEBHOOK).config_hash != parsed(WEBHOOK, **changed).config_hash


def test_paths_in_bodies_are_not_percent_encoded() -> None:
    assert parse_stream("/a b/50%25/ü/") == "a b/50%25/ü"
    assert parse_streams(["b", "a"]) == ("a", "b")


@pytest.mark.parametrize(
    ("encoded", "text"), [("a", "a"), ("a%2Fb", "a/b"), ("%C3%BC", "ü"), ("a" * ID_MAX_BYTES,) * 2]
)
def test_an_id(encoded: str, text: str) -> None:
    assert parse_id(encoded) == text
    assert head_path(text) == PREFIX + text


@pytest.mark.parametrize("encoded", ["", "%ff", "\udcff", "a%0A", "%7F", "a" * (ID_MAX_BYTES + 1)])
def test_what_is_no_id(encoded: str) -> None:
    with pytest.raises(InvalidSubscriptionError):
        parse_id(encoded)

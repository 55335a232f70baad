from __future__ import annotations

import json
from typing import Any

import pytest

from durable_streams.protocol.subscription_config import (
    ID_MAX_BYTES,
    LEASE_DEFAULT_MS,
    STREAMS_MAX,
    TEXT_MAX_BYTES,
    Config,
    Kind,
    head_path,
    parse_creation,
    parse_id,
    parse_object,
    parse_stream,
    parse_streams,
)
from durable_streams.protocol.subscription_errors import InvalidSubscriptionError

PULL = {"type": "pull-wake", "pattern": "events/*", "wake_stream": "wake/pool"}
HOOK = {"type": "webhook", "pattern": "events/*", "webhook": {"url": "https://worker.example/hooks"}}


def encoded(fields: dict[str, Any], **changes: object) -> bytes:
    changed = fields | changes
    return json.dumps({name: value for name, value in changed.items() if value is not ...}).encode()


def test_a_pull_wake_subscription() -> None:
    creation = parse_creation(encoded(PULL, streams=["/b/", "a", "b"], description="d", lease_ttl_ms=1_000))

    assert creation.config == Config(Kind.PULL_WAKE, "events/*", None, "wake/pool", 1_000, "d")
    assert creation.streams == ("a", "b")


def test_a_webhook_subscription() -> None:
    creation = parse_creation(encoded(HOOK, pattern=..., streams=["a"]))

    assert creation.config == Config(Kind.WEBHOOK, None, "https://worker.example/hooks", None, LEASE_DEFAULT_MS, None)
    assert creation.streams == ("a",)


def test_fields_of_the_other_kind_are_not_looked_at() -> None:
    assert parse_creation(encoded(HOOK, wake_stream=5)).config.wake_stream is None
    assert parse_creation(encoded(PULL, webhook="?")).config.webhook_url is None


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": "events/**"},
        {"streams": ["a"]},
        {"wake_stream": "wake/other"},
        {"lease_ttl_ms": 30_001},
        {"description": "d"},
    ],
)
def test_the_hash_changes_with_every_part(changes: dict[str, object]) -> None:
    """§6.2."""
    assert parse_creation(encoded(PULL, **changes)).config_hash != parse_creation(encoded(PULL)).config_hash


def test_the_hash_of_a_webhook_holds_its_url() -> None:
    other = encoded(HOOK, webhook={"url": "https://worker.example/other"})

    assert parse_creation(other).config_hash != parse_creation(encoded(HOOK)).config_hash


@pytest.mark.parametrize(
    "same",
    [
        {"pattern": "/events/*/"},
        {"lease_ttl_ms": 30_000},
        {"streams": []},
        {"description": None},
        {"wake_stream": "/wake/pool"},
    ],
)
def test_the_hash_is_of_what_is_meant(same: dict[str, object]) -> None:
    assert parse_creation(encoded(PULL, **same)).config_hash == parse_creation(encoded(PULL)).config_hash


@pytest.mark.parametrize("lease_ms", [1_000, 600_000])
def test_the_bounds_of_a_lease(lease_ms: int) -> None:
    assert parse_creation(encoded(PULL, lease_ttl_ms=lease_ms)).config.lease_ttl_ms == lease_ms


@pytest.mark.parametrize(
    ("fields", "changes", "names"),
    [
        (PULL, {"type": ...}, "type"),
        (PULL, {"type": "push"}, "type"),
        (PULL, {"type": []}, "type"),
        (PULL, {"pattern": ...}, "pattern or streams"),
        (PULL, {"pattern": "", "streams": []}, "pattern or streams"),
        (PULL, {"pattern": 5}, "pattern"),
        (PULL, {"pattern": "a//b"}, "pattern"),
        (PULL, {"streams": "a"}, "streams"),
        (PULL, {"streams": [5]}, "stream path"),
        (PULL, {"streams": [""]}, "stream path"),
        (PULL, {"streams": ["a/../b"]}, "stream path"),
        (PULL, {"streams": ["__ds/x"]}, "stream path"),
        (PULL, {"streams": ["a" * 481]}, "stream path"),
        (PULL, {"wake_stream": ...}, "wake_stream"),
        (PULL, {"wake_stream": 5}, "stream path"),
        (PULL, {"streams": ["wake/pool"]}, "wake stream"),
        (PULL, {"lease_ttl_ms": 999}, "lease_ttl_ms"),
        (PULL, {"lease_ttl_ms": 600_001}, "lease_ttl_ms"),
        (PULL, {"lease_ttl_ms": 30_000.0}, "lease_ttl_ms"),
        (PULL, {"lease_ttl_ms": True}, "lease_ttl_ms"),
        (PULL, {"lease_ttl_ms": None}, "lease_ttl_ms"),
        (PULL, {"description": 5}, "description"),
        (PULL, {"description": "é" * (TEXT_MAX_BYTES // 2) + "a"}, "description"),
        (HOOK, {"webhook": ...}, "webhook.url"),
        (HOOK, {"webhook": "https://worker.example"}, "webhook.url"),
        (HOOK, {"webhook": {}}, "webhook.url"),
        (HOOK, {"webhook": {"url": 5}}, "url"),
        (HOOK, {"webhook": {"url": ""}}, "webhook.url"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, Any], changes: dict[str, object], names: str) -> None:
    with pytest.raises(InvalidSubscriptionError, match=names):
        parse_creation(encoded(fields, **changes))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a":NaN}'])
def test_a_body_is_an_object(body: bytes) -> None:
    with pytest.raises(InvalidSubscriptionError):
        parse_object(body)


def test_streams_are_bounded() -> None:
    assert len(parse_streams([f"s{number}" for number in range(STREAMS_MAX)])) == STREAMS_MAX
    with pytest.raises(InvalidSubscriptionError):
        parse_streams(["a"] * (STREAMS_MAX + 1))


@pytest.mark.parametrize("path", ["a%2Fb", "a b", "é/?#", "100%"])
def test_stream_paths_in_bodies_are_not_encoded(path: str) -> None:
    assert parse_stream(path) == path


@pytest.mark.parametrize(
    ("segment", "subscription_id"),
    [("a", "a"), ("a%2Fb", "a/b"), ("%C3%A9", "é"), ("x" * ID_MAX_BYTES, "x" * 256), ("..", "..")],
)
def test_ids(segment: str, subscription_id: str) -> None:
    assert parse_id(segment) == subscription_id
    assert head_path(subscription_id) == f"__ds/subscriptions/{subscription_id}"


@pytest.mark.parametrize("segment", ["", "x" * 257, "%FF", "\udcff", "a%00", "a%0A", "%7F"])
def test_what_is_no_id(segment: str) -> None:
    with pytest.raises(InvalidSubscriptionError):
        parse_id(segment)

"""§6: creation, links, deletion."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.subscriptions.api import Api, code_of

if TYPE_CHECKING:
    from tests.http.site import Site

PULL: dict[str, Any] = {"type": "pull-wake", "pattern": "events/*", "wake_stream": "wake/pool"}


async def test_a_creation_answers_what_a_get_answers(api: Api) -> None:
    created = await api.create(**PULL, streams=["b", "a"], lease_ttl_ms=1000, description="d")

    assert created.status == 201
    shown = json.loads(created.body)
    assert shown == await api.show()
    assert {name: shown[name] for name in ("id", "subscription_id", "type", "pattern", "wake_stream", "status")} == {
        "id": "s",
        "subscription_id": "s",
        "type": "pull-wake",
        "pattern": "events/*",
        "wake_stream": "wake/pool",
        "status": "active",
    }
    assert (shown["lease_ttl_ms"], shown["description"], shown["webhook"]) == (1000, "d", None)
    zero = "0" * 16
    assert shown["streams"] == [{"path": path, "link_type": "explicit", "acked_offset": zero} for path in "ab"]


async def test_the_same_configuration_is_confirmed_and_another_refused(api: Api) -> None:
    first = await api.create(**PULL, streams=["a", "b"])
    again = await api.create(**PULL, streams=["b", "a"])
    other = await api.create(**PULL, streams=["a"])

    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert again.body == first.body
    assert code_of(other) == "SUBSCRIPTION_ALREADY_EXISTS"


async def test_membership_changes_leave_the_configuration_as_it_is(api: Api) -> None:
    await api.create(**PULL)
    await api.ask("POST", "/s/streams", {"streams": ["x"]})

    assert (await api.create(**PULL)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("PUT", "/s", {"type": "pull-wake"}, "INVALID_REQUEST"),
        ("PUT", "/%00", PULL, "INVALID_REQUEST"),
        ("PUT", "/s", {**PULL, "type": "webhook", "webhook": {"url": "http://10.0.0.1/"}}, "WEBHOOK_URL_REJECTED"),
        ("GET", "/none", None, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "/none/claim", {"worker": "w"}, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "/none/streams", {"streams": ["a"]}, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "/none/wake", {}, "SUBSCRIPTION_NOT_FOUND"),
        ("DELETE", "/none/streams/a", None, "SUBSCRIPTION_NOT_FOUND"),
        ("POST", "/s/streams", {"streams": []}, "INVALID_REQUEST"),
        ("POST", "/s/streams", {"streams": ["wake/pool"]}, "INVALID_REQUEST"),
        ("POST", "/s/streams", [], "INVALID_REQUEST"),
        ("DELETE", "/s/streams/a%2F..%2Fb", None, "INVALID_REQUEST"),
        ("POST", "/s/claim", {}, "INVALID_REQUEST"),
        ("POST", "/s/claim", {"worker": ""}, "INVALID_REQUEST"),
        ("POST", "/s/ack", {}, "TOKEN_INVALID"),
        ("POST", "/s/callback", {}, "TOKEN_INVALID"),
        ("POST", "/s/release", {}, "TOKEN_INVALID"),
        ("GET", "?limit=0", None, "INVALID_REQUEST"),
    ],
)
async def test_refusals(api: Api, method: str, path: str, body: object, code: str) -> None:  # noqa: PLR0917 parametrized
    await api.create(**PULL)

    reply = await api.ask(method, path, body)

    assert code_of(reply) == code
    statuses = {"SUBSCRIPTION_NOT_FOUND": 404, "TOKEN_INVALID": 401}
    assert reply.status == statuses.get(code, 400)


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/s"), ("GET", "/s/claim"), ("PUT", "/s/streams/a"), ("POST", ""), ("DELETE", "")]
)
async def test_other_methods(api: Api, method: str, path: str) -> None:
    reply = await api.ask(method, path)

    assert reply.status == 405
    assert reply.headers["allow"]


async def test_what_is_no_resource_is_not_found(api: Api) -> None:
    assert (await api.ask("POST", "/s/other", {})).status == 404


async def test_standing_streams_are_linked_at_their_tails_and_later_ones_before_their_first_append(
    site: Site, api: Api
) -> None:
    await site.client.put("events/old", body=b"12345")
    await site.client.put("events/empty")
    await site.client.put("events/gone", body=b"x")
    await site.client.delete("events/gone")
    await site.client.put("other/old", body=b"x")
    await api.create(**PULL, streams=["events/old", "other/old"])

    assert await api.cursors() == {"events/old": 5, "events/empty": 0, "other/old": 1}
    await site.client.put("events/new", body=b"1")
    await site.client.put("events/a/b", body=b"1")
    assert await api.cursors() == {"events/old": 5, "events/empty": 0, "other/old": 1, "events/new": 0}
    assert {link["path"]: link["link_type"] for link in (await api.show())["streams"]} == {
        "events/old": "explicit",
        "events/empty": "glob",
        "other/old": "explicit",
        "events/new": "glob",
    }


async def test_more_streams_than_a_slice_are_linked(site: Site, api: Api) -> None:
    for number in range(2_050):
        site.server.streams.submit_create(f"events/{number:04}", _empty(), lambda _created: None)
    await site.client.put("events/last", body=b"12")
    reply = await api.create(**PULL)

    assert reply.status == 201
    links = json.loads(reply.body)["streams"]
    assert len(links) == 2_051
    assert links[-1] == {"path": "events/last", "link_type": "glob", "acked_offset": f"{2:016}"}


def _empty() -> Any:  # noqa: ANN401 a creation
    from durable_streams.protocol.create import Create  # noqa: PLC0415 used once

    return Create("text/plain", b"")


async def test_explicit_links_come_and_go_and_those_by_pattern_stay(site: Site, api: Api) -> None:
    await site.client.put("events/a", body=b"123")
    await site.client.put("far/b", body=b"12")
    await api.create(**PULL)
    for _ in range(2):
        assert (await api.ask("POST", "/s/streams", {"streams": ["events/a", "far/b"]})).status == 204
        assert await api.cursors() == {"events/a": 3, "far/b": 2}
        assert {link["link_type"] for link in (await api.show())["streams"]} == {"explicit"}

    for stream in ("events/a", "far/b", "far/b"):
        assert (await api.delete_link(stream)).status == 204

    assert (await api.show())["streams"] == [{"path": "events/a", "link_type": "glob", "acked_offset": f"{3:016}"}]
    await site.client.post("far/b", b"x")
    assert (await api.show())["phase"] == "idle"


async def test_a_deleted_subscription_is_gone_with_its_cursors(site: Site, api: Api) -> None:
    await api.create_pull(pattern="events/*")
    await site.client.put("events/a", body=b"123")
    claim = await api.claimed()

    for _ in range(2):
        assert (await api.ask("DELETE", "/s")).status == 204
    for action in ("ack", "release"):
        assert code_of(await api.act(action, claim)) == "SUBSCRIPTION_NOT_FOUND"
    await api.create_pull(pattern="events/*")
    assert await api.cursors() == {"events/a": 3}
    await site.client.post("events/a", b"4")
    assert (await api.show())["generation"] == 1, "as the one before was"
    assert (await api.claimed())["wake_id"] != claim["wake_id"]
    assert code_of(await api.ack(claim)) == "FENCED", "the token is of the deleted one"


async def test_ids_are_any_text(api: Api) -> None:
    for name in ("a%2Fb", "%C3%BC%20", "__ds"):
        assert (await api.create(name, **PULL)).status == 201
    listed = json.loads((await api.ask("GET", "?limit=2")).body)

    assert [entry["id"] for entry in listed["subscriptions"]] == ["__ds", "a/b"]
    rest = json.loads((await api.ask("GET", f"?after={listed['next_after'].replace('/', '%2F')}")).body)
    assert [entry["id"] for entry in rest["subscriptions"]] == ["ü "]
    assert rest["next_after"] is None


async def test_subscriptions_are_no_streams(site: Site, api: Api) -> None:
    await api.create(**{**PULL, "pattern": "**"})

    assert (await site.client.get("__ds/subscriptions/s", offset=-1)).headers["content-type"] == "application/json"
    listed = json.loads((await site.client.get("__ds/streams")).body)
    assert listed["streams"] == []
    assert await api.cursors() == {}
    assert (await site.client.fork("f", "__ds/subscriptions/s")).status == 400


async def test_the_key_set_is_public(site: Site) -> None:
    reply = await site.client.get("__ds/jwks.json")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/jwk-set+json"
    assert reply.headers["cache-control"] == "public, max-age=300"
    (key,) = json.loads(reply.body)["keys"]
    assert {name: key[name] for name in ("kty", "crv", "use", "alg")} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
    }
    assert set(key) == {"kty", "crv", "use", "alg", "kid", "x"}, "and nothing private"

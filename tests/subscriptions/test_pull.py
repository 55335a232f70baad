"""§7.2, §7.3: wake events, claims, acks, releases, leases."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durable_streams.protocol.subscription_config import ACKS_MAX
from tests.subscriptions.api import LEASE_MS, WAKE_STREAM, Api, code_of, pending, tails

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.subscriptions.conftest import Run


@pytest.fixture
async def subscribed(site: Site, api: Api) -> Api:
    """A subscription to ``events/*``, nothing pending."""
    await site.client.put("events/a", body=b"old")
    await api.create_pull(pattern="events/*", lease_ttl_ms=LEASE_MS)
    return api


async def pass_time(site: Site, by_ms: int) -> None:
    site.clock.advance_ms(by_ms)
    await site.upkeep()


async def test_an_append_writes_one_wake_event_however_many_follow(site: Site, subscribed: Api) -> None:
    for body in (b"1", b"2"):
        await site.client.post("events/a", body)
    await site.client.put("events/b", body=b"3")
    await site.client.put("events/nothing")
    await site.client.put("elsewhere", body=b"4")

    assert await subscribed.wakes() == [("s", "events/a", 1)]
    claim = await subscribed.claimed()
    assert pending(claim) == {"events/a", "events/b"}
    by_path = {link["path"]: link for link in claim["streams"]}
    assert by_path["events/a"] == {
        "path": "events/a",
        "link_type": "glob",
        "acked_offset": f"{3:016}",
        "tail_offset": f"{5:016}",
        "has_pending": True,
    }
    assert (claim["generation"], claim["lease_ttl_ms"]) == (1, LEASE_MS)


async def test_a_wake_event_says_what_the_protocol_says(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")

    (event,) = json.loads((await site.client.get(WAKE_STREAM, offset=-1)).body)
    assert event == {
        "type": "wake",
        "subscription_id": "s",
        "stream": "events/a",
        "generation": 1,
        "ts": site.clock.now_ms(),
    }


async def test_work_done_rests_until_there_is_more(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()

    done = await subscribed.ack(claim, acks=tails(claim), done=True)
    assert json.loads(done.body) == {"ok": True, "next_wake": False}
    assert await subscribed.cursors() == {"events/a": 4}
    assert code_of(await subscribed.claim()) == "NO_PENDING_WORK"
    assert code_of(await subscribed.ack(claim)) == "FENCED"

    await site.client.post("events/a", b"2")
    assert await subscribed.wakes() == [("s", "events/a", 1), ("s", "events/a", 2)]


async def test_what_was_not_acked_wakes_again(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()
    await site.client.put("events/b", body=b"2")

    done = await subscribed.ack(claim, acks=[{"stream": "events/a", "offset": f"{4:016}"}], done=True)
    assert json.loads(done.body) == {"ok": True, "next_wake": True}
    assert (await subscribed.wakes())[1:] == [("s", "events/b", 2)]
    assert pending(await subscribed.claimed()) == {"events/b"}


async def test_an_ack_may_name_its_offset_as_the_reference_server_does(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()

    done = await subscribed.ack(claim, acks=[{"stream": "events/a", "offset": f"{0:016}_{4:016}"}], done=True)
    assert json.loads(done.body) == {"ok": True, "next_wake": False}
    assert await subscribed.cursors() == {"events/a": 4}


async def test_a_second_worker_is_told_who_holds_it(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    await subscribed.claimed("first")

    refused = await subscribed.claim("second")
    assert refused.status == 409
    error = json.loads(refused.body)["error"]
    assert (error["code"], error["current_holder"], error["generation"]) == ("ALREADY_CLAIMED", "first", 1)
    assert (await subscribed.show())["holder"] == "first"


async def test_a_release_wakes_the_next_and_fences_the_last(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()

    assert (await subscribed.act("release", claim)).status == 204
    for action in ("release", "ack"):
        assert code_of(await subscribed.act(action, claim)) == "FENCED"
    assert [generation for _, _, generation in await subscribed.wakes()] == [1, 2]
    assert (await subscribed.claimed())["generation"] == 2


async def test_heartbeats_keep_a_lease_and_silence_loses_it(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()
    for _ in range(3):
        await pass_time(site, LEASE_MS - 1)
        assert (await subscribed.ack(claim)).status == 200
        assert code_of(await subscribed.claim("other")) == "ALREADY_CLAIMED"

    await pass_time(site, LEASE_MS)
    for action in ("ack", "release"):
        late = await subscribed.act(action, claim, acks=tails(claim))
        assert (late.status, code_of(late)) == (409, "FENCED")
    assert await subscribed.cursors() == {"events/a": 3}
    assert [generation for _, _, generation in await subscribed.wakes()] == [1, 2]
    assert (await subscribed.claimed("other"))["generation"] == 2


async def test_a_lease_that_ran_out_fences_at_once_and_can_be_claimed_before_anybody_noted_it(
    site: Site, subscribed: Api
) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed("first")
    site.clock.advance_ms(LEASE_MS)

    assert code_of(await subscribed.ack(claim, acks=tails(claim))) == "FENCED"
    second = await subscribed.claimed("second")
    assert second["generation"] == 2
    assert code_of(await subscribed.ack(claim)) == "FENCED"
    assert (await subscribed.ack(second, acks=tails(second), done=True)).status == 200


async def test_a_lease_over_finished_work_ends_in_rest(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()
    await subscribed.ack(claim, acks=tails(claim))
    await pass_time(site, LEASE_MS)

    shown = await subscribed.show()
    assert (shown["phase"], shown["generation"]) == ("idle", 1)
    assert "holder" not in shown


@pytest.mark.parametrize(
    ("stream", "offset"),
    [
        ("events/a", f"{2:016}"),
        ("events/a", f"{5:016}"),
        ("events/a", "-1"),
        ("events/a", "now"),
        ("events/a", "4"),
        ("events/unknown", f"{0:016}"),
    ],
)
async def test_acks_outside_of_cursor_and_tail_are_refused_whole(  # noqa: PLR0917 parametrized
    site: Site, subscribed: Api, stream: str, offset: str
) -> None:
    await site.client.post("events/a", b"1")
    await site.client.put("events/b", body=b"2")
    claim = await subscribed.claimed()

    good = {"stream": "events/b", "offset": f"{1:016}"}
    refused = await subscribed.ack(claim, acks=[good, {"stream": stream, "offset": offset}], done=True)
    assert (refused.status, code_of(refused)) == (409, "INVALID_OFFSET")
    assert await subscribed.cursors() == {"events/a": 3, "events/b": 0}
    assert (await subscribed.ack(claim, acks=[good])).status == 200, "the lease is as it was"
    assert await subscribed.cursors() == {"events/a": 3, "events/b": 1}


async def test_cursors_do_not_go_back_within_a_request_either(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"12")
    claim = await subscribed.claimed()
    acks = [{"path": "events/a", "offset": f"{offset:016}"} for offset in (5, 4)]

    assert code_of(await subscribed.ack(claim, acks=acks)) == "INVALID_OFFSET"
    assert (await subscribed.ack(claim, acks=acks[::-1])).status == 200
    assert await subscribed.cursors() == {"events/a": 5}


@pytest.mark.parametrize("changed", [{"generation": 2}, {"generation": 0}, {"wake_id": "w_other"}, {"wake_id": ""}])
async def test_each_part_of_the_fence_counts(site: Site, subscribed: Api, changed: dict[str, object]) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()

    refused = await subscribed.ack({**claim, **changed}, acks=tails(claim), done=True)
    assert code_of(refused) == "FENCED"
    assert (await subscribed.ack(claim)).status == 200


@pytest.mark.slow
async def test_a_request_holds_a_bounded_number_of_acks(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()
    most = tails(claim) * ACKS_MAX

    refused = await subscribed.ack(claim, acks=[*most, most[0]], done=True)
    assert (refused.status, code_of(refused)) == (413, "TOO_MANY_ACKS")
    assert str(ACKS_MAX).encode() in refused.body
    assert (await subscribed.ack(claim, acks=most, done=True)).status == 200, "the wake is as it was"


@pytest.mark.parametrize(
    "body", [{"generation": "1"}, {"generation": True}, {"wake_id": 7}, {"done": "yes"}, {"acks": {}}]
)
async def test_malformed_acks(site: Site, subscribed: Api, body: dict[str, object]) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()
    headers = {"Authorization": f"Bearer {claim['token']}"}
    fields = {"generation": 1, "wake_id": claim["wake_id"], **body}

    assert code_of(await subscribed.ask("POST", "/s/ack", fields, headers)) == "INVALID_REQUEST"


async def test_a_token_works_for_its_own_subscription_and_use_only(site: Site, subscribed: Api) -> None:
    await subscribed.create_pull("other", pattern="events/*", wake_stream="wake/other")
    await site.client.post("events/a", b"1")
    claim, other = await subscribed.claimed(), await subscribed.claimed(name="other")

    assert code_of(await subscribed.ack(claim | {"token": other["token"]})) == "TOKEN_INVALID"
    assert code_of(await subscribed.ack(claim | {"token": claim["write_token"]})) == "TOKEN_INVALID"
    assert code_of(await subscribed.ack(claim | {"token": claim["token"][:-1]})) == "TOKEN_INVALID"
    site.clock.advance_ms(24 * 3600 * 1000)
    assert code_of(await subscribed.ack(claim)) == "TOKEN_EXPIRED"


async def test_webhook_operations_are_not_for_pull_subscriptions(site: Site, subscribed: Api) -> None:
    await site.client.post("events/a", b"1")
    claim = await subscribed.claimed()

    assert code_of(await subscribed.act("callback", claim)) == "INVALID_REQUEST"


async def test_a_missing_wake_stream_gets_its_event_once_it_is_there(site: Site, api: Api) -> None:
    await api.create(type="pull-wake", streams=["a"], wake_stream="later")
    await site.client.put("a", body=b"1")
    await pass_time(site, 2_000)
    assert (await api.show())["status"] == "failed"

    await site.client.put("later", "application/json")
    await pass_time(site, 10_000)
    assert await api.wakes("later") == [("s", "a", 1)]
    assert (await api.claimed())["generation"] == 1
    assert (await api.show())["status"] == "active"


async def test_a_wake_can_be_claimed_without_its_event(site: Site, api: Api) -> None:
    await api.create(type="pull-wake", streams=["a"], wake_stream="later")
    await site.client.put("a", body=b"1")

    assert pending(await api.claimed()) == {"a"}


async def test_a_wake_stream_of_text_gets_a_line_each(site: Site, api: Api) -> None:
    await site.client.put("lines", "application/x-ndjson")
    await api.create(type="pull-wake", streams=["a"], wake_stream="lines")
    await site.client.put("a", body=b"1")

    (line,) = (await site.client.get("lines", offset=-1)).body.splitlines()
    assert json.loads(line)["stream"] == "a"


async def test_wake_streams_wake_nobody_by_pattern(site: Site, api: Api) -> None:
    await api.create_pull("one", pattern="**", wake_stream="wake/one")
    await api.create_pull("two", pattern="**", wake_stream="wake/two")
    await site.client.put("a", body=b"1")

    assert [await api.wakes("wake/one"), await api.wakes("wake/two")] == [[("one", "a", 1)], [("two", "a", 1)]]
    for name in ("one", "two"):
        claim = await api.claimed(name=name)
        assert [link["path"] for link in claim["streams"]] == ["a"]
        await api.ack(claim, name, acks=tails(claim), done=True)
    assert [(await api.show(name))["phase"] for name in ("one", "two")] == ["idle", "idle"]


async def test_a_wake_stream_named_as_a_stream_of_another_wakes_it(site: Site, api: Api) -> None:
    await api.create_pull("one", streams=["a"], wake_stream="wake/one")
    await api.create_pull("two", streams=["wake/one"], wake_stream="wake/two")
    await site.client.put("a", body=b"1")

    assert await api.wakes("wake/two") == [("two", "wake/one", 1)]


async def test_a_stream_that_comes_again_starts_again(site: Site, api: Api) -> None:
    await site.client.put("events/a", body=b"12345")
    await site.client.put("named", body=b"12345")
    await api.create_pull(pattern="events/*", streams=["named"])
    assert await api.cursors() == {"events/a": 5, "named": 5}

    for path in ("events/a", "named"):
        await site.client.delete(path)
    assert await api.cursors() == {"named": 0}
    for path in ("events/a", "named"):
        await site.client.put(path, body=b"12")

    claim = await api.claimed()
    assert pending(claim) == {"events/a", "named"}
    assert await api.cursors() == {"events/a": 0, "named": 0}


async def test_a_stream_that_expires_leaves_too(site: Site, api: Api) -> None:
    await site.client.put("events/a", body=b"12345", stream_ttl="10")
    await api.create_pull(pattern="events/*")
    await pass_time(site, 10_001)

    assert await api.cursors() == {}


async def test_a_fork_is_linked_where_its_own_content_begins(site: Site, api: Api) -> None:
    await site.client.put("source", body=b"123")
    await api.create_pull(pattern="events/*")
    await site.client.fork("events/f", "source")
    assert (await api.show())["phase"] == "idle"
    await site.client.post("events/f", b"4")

    assert await api.cursors() == {"events/f": 3}
    assert await api.wakes() == [("s", "events/f", 1)]


async def test_a_close_is_no_work_and_a_closing_append_is(site: Site, subscribed: Api) -> None:
    await site.client.put("events/b")
    await site.client.finish("events/b")
    assert (await subscribed.show())["phase"] == "idle"
    await site.client.post("events/a", b"last", stream_closed="true")

    assert await subscribed.wakes() == [("s", "events/a", 1)]


async def test_the_operator_may_wake(site: Site, subscribed: Api) -> None:
    assert (await subscribed.ask("POST", "/s/wake", {})).status == 204
    assert (await subscribed.ask("POST", "/s/wake", {})).status == 204
    assert await subscribed.wakes() == [("s", "", 1), ("s", "", 1)]
    await subscribed.claimed("w")
    refused = await subscribed.ask("POST", "/s/wake", {})
    assert code_of(refused) == "ALREADY_CLAIMED"
    site.clock.advance_ms(LEASE_MS)
    assert (await subscribed.ask("POST", "/s/wake", {})).status == 204
    assert (await subscribed.claimed("w"))["generation"] == 2


async def test_everything_is_there_after_a_restart(run: Run) -> None:
    async with run(engine="lmdb") as site:
        api, clock = Api(site.client), site.clock
        for name in ("a", "b", "c"):
            await site.client.put(f"events/{name}")
        await api.create_pull(pattern="events/*", streams=["named"])
        for name in ("a", "b"):
            await site.client.post(f"events/{name}", b"12")
        claim = await api.claimed()
        await api.ack(claim, acks=[{"stream": "events/a", "offset": f"{1:016}"}])
        shown = await api.show()
    async with run(engine="lmdb", clock=clock) as site:
        api = Api(site.client)
        assert await api.show() == shown
        assert code_of(await api.claim("other")) == "ALREADY_CLAIMED"
        await site.client.post("events/c", b"12")
        await site.client.put("named", body=b"1")
        acks = [{"stream": f"events/{name}", "offset": f"{2:016}"} for name in "ab"]
        done = await api.ack(claim, acks=acks, done=True)
        assert json.loads(done.body) == {"ok": True, "next_wake": True}
        assert pending(await api.claimed()) == {"events/c", "named"}


async def test_work_from_before_a_restart_is_not_forgotten(run: Run) -> None:
    async with run(engine="lmdb") as site:
        api, clock = Api(site.client), site.clock
        await api.create_pull(pattern="events/*")
        await site.client.put("events/a", body=b"1")
        claim = await api.claimed()
        await site.client.put("events/b", body=b"1")
    async with run(engine="lmdb", clock=clock) as site:
        api = Api(site.client)
        acks = [{"stream": "events/a", "offset": f"{1:016}"}]
        done = await api.ack(claim, acks=acks, done=True)
        assert json.loads(done.body)["next_wake"] is True
        assert pending(await api.claimed()) == {"events/b"}


async def test_a_lease_runs_out_over_a_restart(run: Run) -> None:
    async with run(engine="lmdb") as site:
        api, clock = Api(site.client), site.clock
        await api.create_pull(pattern="events/*", lease_ttl_ms=LEASE_MS)
        await site.client.put("events/a", body=b"1")
        claim = await api.claimed()
    clock.advance_ms(LEASE_MS)
    async with run(engine="lmdb", clock=clock) as site:
        api = Api(site.client)
        await site.upkeep()
        assert [generation for _, _, generation in await api.wakes()] == [1, 2]
        assert code_of(await api.ack(claim)) == "FENCED"

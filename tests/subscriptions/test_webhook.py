"""§7.1: deliveries, callbacks, retries; receivers that misbehave."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.http.site import until
from tests.subscriptions.api import LEASE_MS, Api, code_of, pending, tails
from tests.subscriptions.receiver import DONE, OK, Delivery, Receiver, answer, cut, hang

if TYPE_CHECKING:
    import asyncio

    from tests.http.site import Site
    from tests.subscriptions.conftest import Run


ROOT = "http://test/v1/stream"
"""The stream root by the ``Host`` that the client says."""


@pytest.fixture
async def subscribed(api: Api, receiver: Receiver) -> Api:
    """A webhook subscription to ``events/*``."""
    await api.create_webhook(receiver.url, pattern="events/*", lease_ttl_ms=LEASE_MS)
    return api


async def phase(api: Api) -> str:
    return str((await api.show())["phase"])


async def until_phase(api: Api, wanted: str) -> dict[str, Any]:
    while (shown := await api.show())["phase"] != wanted:
        pass  # each look is a request, which gives the server its turn
    return shown


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_delivery_is_signed_by_a_published_key(site: Site, subscribed: Api, receiver: Receiver) -> None:
    await site.client.put("events/a", body=b"123")
    delivery = await receiver.delivery(1)

    parts = dict(part.split("=", 1) for part in delivery.headers["webhook-signature"].split(","))
    assert int(parts["t"]) == site.clock.now_ms() // 1000
    keys = json.loads((await site.client.get("__ds/jwks.json")).body)["keys"]
    (key,) = [key for key in keys if key["kid"] == parts["kid"]]
    assert (await subscribed.show())["webhook"] == {
        "url": receiver.url,
        "signing": {"alg": "ed25519", "kid": key["kid"], "jwks_url": f"{ROOT}/__ds/jwks.json"},
    }
    public, signature = Ed25519PublicKey.from_public_bytes(unbase64(key["x"])), unbase64(parts["ed25519"])
    public.verify(signature, parts["t"].encode() + b"." + delivery.raw)
    with pytest.raises(InvalidSignature):
        public.verify(signature, parts["t"].encode() + b"." + delivery.raw + b" ")


async def test_a_delivery_says_what_the_protocol_says(site: Site, subscribed: Api, receiver: Receiver) -> None:
    await site.client.put("events/a", body=b"123")
    delivery = await receiver.delivery(1)

    assert delivery.headers["content-type"] == "application/json"
    wake = delivery.wake
    assert wake == {
        "subscription_id": "s",
        "wake_id": wake["wake_id"],
        "generation": 1,
        "streams": [
            {
                "path": "events/a",
                "link_type": "glob",
                "acked_offset": f"{0:016}",
                "tail_offset": f"{3:016}",
                "has_pending": True,
            }
        ],
        "callback_url": f"{ROOT}/__ds/subscriptions/s/callback",
        "callback_token": wake["callback_token"],
    }


async def test_done_in_the_answer_acks_what_was_shown(site: Site, subscribed: Api, receiver: Receiver) -> None:
    receiver.behave = DONE
    await site.client.put("events/a", body=b"123")
    await until_phase(subscribed, "idle")

    assert await subscribed.cursors() == {"events/a": 3}
    assert len(receiver.deliveries) == 1


async def test_what_came_after_the_snapshot_is_delivered_anew(site: Site, subscribed: Api, receiver: Receiver) -> None:
    async def append_and_finish(delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        if delivery.wake["generation"] == 1:
            await site.client.post("events/a", b"45")
            await site.client.put("events/b", body=b"1")
        await DONE(delivery, writer)

    receiver.behave = append_and_finish
    await site.client.put("events/a", body=b"123")
    first, second = await receiver.delivery(1), await receiver.delivery(2)
    await until_phase(subscribed, "idle")

    assert pending(second.wake) == {"events/a", "events/b"}
    by_path = {link["path"]: link["acked_offset"] for link in second.wake["streams"]}
    assert by_path == {"events/a": f"{3:016}", "events/b": f"{0:016}"}
    assert (second.wake["generation"], len(receiver.deliveries)) == (2, 2)
    assert first.wake["wake_id"] != second.wake["wake_id"]
    assert await subscribed.cursors() == {"events/a": 5, "events/b": 1}


async def test_a_stream_replaced_meanwhile_is_not_acked_by_its_old_tail(
    site: Site, subscribed: Api, receiver: Receiver
) -> None:
    async def replace_and_finish(delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        if delivery.wake["generation"] == 1:
            await site.client.delete("events/a")
            await site.client.put("events/a", body=b"12345")
            await DONE(delivery, writer)
        else:
            await OK(delivery, writer)

    receiver.behave = replace_and_finish
    await site.client.put("events/a", body=b"123")

    assert pending((await receiver.delivery(2)).wake) == {"events/a"}
    assert await subscribed.cursors() == {"events/a": 0}


async def test_a_callback_acks_and_finishes(site: Site, subscribed: Api, receiver: Receiver) -> None:
    await site.client.put("events/a", body=b"123")
    wake = (await receiver.delivery(1)).wake
    await until_phase(subscribed, "claimed")

    beat = await subscribed.act("callback", wake)
    assert json.loads(beat.body) == {"ok": True, "next_wake": False}
    assert await phase(subscribed) == "claimed"
    done = await subscribed.act("callback", wake, acks=tails(wake), done=True)
    assert json.loads(done.body) == {"ok": True, "next_wake": False}
    assert await subscribed.cursors() == {"events/a": 3}
    assert code_of(await subscribed.act("callback", wake)) == "FENCED"


async def test_a_callback_may_come_before_the_answer(site: Site, subscribed: Api, receiver: Receiver) -> None:
    async def call_back_first(delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        done = await subscribed.act("callback", delivery.wake, acks=tails(delivery.wake), done=True)
        assert done.status == 200
        await answer(500)(delivery, writer)

    receiver.behave = call_back_first
    await site.client.put("events/a", body=b"123")
    await receiver.delivery(1)
    await until_phase(subscribed, "idle")
    receiver.behave = OK
    await site.client.post("events/a", b"4")

    assert (await receiver.delivery(2)).wake["generation"] == 2
    shown = await until_phase(subscribed, "claimed")
    assert shown["status"] == "active", "the answer to a wake that was over counted for nothing"


async def test_a_callback_without_done_outweighs_a_failed_answer(
    site: Site, subscribed: Api, receiver: Receiver
) -> None:
    async def call_back_first(delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        assert (await subscribed.act("callback", delivery.wake)).status == 200
        await answer(500)(delivery, writer)

    receiver.behave = call_back_first
    await site.client.put("events/a", body=b"123")
    await receiver.delivery(1)
    await until(lambda: not site.server._dispatcher._tasks)

    assert await phase(subscribed) == "claimed"


async def test_silence_after_the_answer_loses_the_lease(site: Site, subscribed: Api, receiver: Receiver) -> None:
    await site.client.put("events/a", body=b"123")
    wake = (await receiver.delivery(1)).wake
    await until_phase(subscribed, "claimed")
    site.clock.advance_ms(LEASE_MS)
    assert code_of(await subscribed.act("callback", wake, acks=tails(wake))) == "FENCED"
    await site.upkeep()

    assert (await receiver.delivery(2)).wake["generation"] == 2
    assert await subscribed.cursors() == {"events/a": 0}


FAILURES = {
    "500": answer(500),
    "404": answer(404, b'{"done": true}'),
    "redirect": answer(307, Location="http://127.0.0.1:1/"),
    "not modified": answer(304, b""),
    "cut": cut,
}


@pytest.mark.parametrize("behave", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failed_delivery_is_tried_again_as_the_same_wake(  # noqa: PLR0917 parametrized
    site: Site,
    subscribed: Api,
    receiver: Receiver,
    behave: Any,  # noqa: ANN401 a behaviour
) -> None:
    receiver.behave = behave
    await site.client.put("events/a", body=b"123")
    first = await receiver.delivery(1)
    delays_ms = []
    for attempt in range(2, 6):
        shown = await until_phase(subscribed, "retrying")
        assert shown["status"] == "failed"
        assert shown["next_attempt_at"]
        (head,) = site.engine.load(["__ds/subscriptions/s"])
        assert head is not None
        delays_ms.append(head.due_ms - site.clock.now_ms())
        site.clock.advance_ms(head.due_ms - site.clock.now_ms() - 1)
        await site.upkeep()
        assert len(receiver.deliveries) == attempt - 1, "not before its time"
        site.clock.advance_ms(1)
        await site.upkeep()
        again = await receiver.delivery(attempt)
        assert (again.wake["wake_id"], again.wake["generation"]) == (first.wake["wake_id"], 1)

    for number, delay_ms in enumerate(delays_ms):
        assert 0.8 * 1000 * 2**number <= delay_ms <= 1.2 * 1000 * 2**number
    assert await subscribed.cursors() == {"events/a": 0}
    receiver.behave = DONE
    await until_phase(subscribed, "retrying")
    site.clock.advance_ms(60_000)
    await site.upkeep()
    assert (await until_phase(subscribed, "idle"))["status"] == "active"
    assert await subscribed.cursors() == {"events/a": 3}


async def test_new_events_during_a_retry_are_part_of_it(site: Site, subscribed: Api, receiver: Receiver) -> None:
    receiver.behave = answer(500)
    await site.client.put("events/a", body=b"123")
    await until_phase(subscribed, "retrying")
    await site.client.put("events/b", body=b"1")
    receiver.behave = DONE
    assert (await subscribed.ask("POST", "/s/wake", {})).status == 204
    await until_phase(subscribed, "idle")

    assert len(receiver.deliveries) == 2, "the operator's wake was the retry"
    assert await subscribed.cursors() == {"events/a": 3, "events/b": 1}


async def test_nobody_there_is_a_failure_too(site: Site, api: Api) -> None:
    await api.create_webhook("http://127.0.0.1:1/", pattern="events/*")
    await site.client.put("events/a", body=b"123")

    await until_phase(api, "retrying")


@pytest.mark.slow
async def test_a_receiver_that_hangs_is_cut_after_the_lease(site: Site, api: Api, receiver: Receiver) -> None:
    receiver.behave = hang
    await api.create_webhook(receiver.url, pattern="events/*", lease_ttl_ms=1_000)
    await site.client.put("events/a", body=b"123")
    await receiver.delivery(1)

    await until_phase(api, "retrying")
    await until(lambda: not site.server._dispatcher._tasks)


async def test_an_endless_answer_is_read_to_its_bound_only(site: Site, subscribed: Api, receiver: Receiver) -> None:
    sent = 0

    async def flood(_delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        body = b'{"done": true, "padding": "' + b"x" * 10_000_000 + b'"}'
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 65_536):
            writer.write(body[start : start + 65_536])
            sent = start
            await writer.drain()

    receiver.behave = flood
    await site.client.put("events/a", body=b"123")
    await until_phase(subscribed, "claimed")

    assert await subscribed.cursors() == {"events/a": 0}, "a done too far behind counts for nothing"
    assert sent < 9_000_000, "the rest was not taken"


@pytest.mark.parametrize("body", [b"", b"done", b"[]", b'{"done": 1}', b'{"done": false}', b"\xff", b'"done"'])
async def test_an_answer_that_does_not_say_done_is_taken_for_received(  # noqa: PLR0917 parametrized
    site: Site, subscribed: Api, receiver: Receiver, body: bytes
) -> None:
    receiver.behave = answer(200, body)
    await site.client.put("events/a", body=b"123")

    assert (await until_phase(subscribed, "claimed"))["holder"] == "webhook"
    assert await subscribed.cursors() == {"events/a": 0}


async def test_webhooks_are_not_claimed(subscribed: Api) -> None:
    assert code_of(await subscribed.claim()) == "INVALID_REQUEST"


async def test_the_public_url_is_what_receivers_are_told(run: Run, receiver: Receiver) -> None:
    async with run(public_url="https://streams.example/") as site:
        await Api(site.client).create_webhook(receiver.url, pattern="events/*")
        await site.client.put("events/a", body=b"123")

        url = (await receiver.delivery(1)).wake["callback_url"]
        assert url == "https://streams.example/v1/stream/__ds/subscriptions/s/callback"


async def test_a_delivery_cut_short_by_a_stop_is_made_after_the_start(run: Run, receiver: Receiver) -> None:
    receiver.behave = hang
    async with run(engine="lmdb") as site:
        clock = site.clock
        await Api(site.client).create_webhook(receiver.url, pattern="events/*")
        await site.client.put("events/a", body=b"123")
        first = await receiver.delivery(1)
    receiver.behave = DONE
    async with run(engine="lmdb", clock=clock) as site:
        again = await receiver.delivery(2)
        assert again.wake["wake_id"] == first.wake["wake_id"]
        await until_phase(Api(site.client), "idle")
        assert await Api(site.client).cursors() == {"events/a": 3}


async def test_a_token_works_over_a_restart_and_keys_stay(run: Run, receiver: Receiver) -> None:
    async with run(engine="lmdb") as site:
        clock = site.clock
        await Api(site.client).create_webhook(receiver.url, pattern="events/*")
        await site.client.put("events/a", body=b"123")
        wake = (await receiver.delivery(1)).wake
        await until_phase(Api(site.client), "claimed")
        keys = (await site.client.get("__ds/jwks.json")).body
    async with run(engine="lmdb", clock=clock) as site:
        done = await Api(site.client).act("callback", wake, acks=tails(wake), done=True)
        assert done.status == 200
        assert (await site.client.get("__ds/jwks.json")).body == keys


async def test_the_retry_schedule_holds_over_a_restart(run: Run, receiver: Receiver) -> None:
    receiver.behave = answer(500)
    async with run(engine="lmdb") as site:
        clock, api = site.clock, Api(site.client)
        await api.create_webhook(receiver.url, pattern="events/*")
        await site.client.put("events/a", body=b"123")
        for number in range(2, 5):
            await until_phase(api, "retrying")
            clock.advance_ms(60_000)
            await site.upkeep()
            await receiver.delivery(number)
        scheduled = await until_phase(api, "retrying")
    receiver.behave = DONE
    async with run(engine="lmdb", clock=clock) as site:
        api = Api(site.client)
        assert await api.show() == scheduled
        clock.advance_ms(6_000)
        await site.upkeep()
        assert len(receiver.deliveries) == 4, "8 s less a fifth have not passed"
        clock.advance_ms(4_000)
        await site.upkeep()
        await receiver.delivery(5)
        await until_phase(api, "idle")

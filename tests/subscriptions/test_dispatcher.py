"""Deliveries as a whole: one wake once at a time, a bounded number at once, through faults of ours and to the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from durable_streams.delivery.dispatcher import Dispatcher
from durable_streams.delivery.webhooks import WebhookClient
from durable_streams.protocol.subscription_config import head_path
from durable_streams.runtime.clock import ManualClock
from durable_streams.subscriptions.keys import Keyring
from durable_streams.subscriptions.waking import HOST_MAX, Wake, WakingQueue
from tests.http.site import until
from tests.subscriptions.api import LEASE_MS, Api
from tests.subscriptions.receiver import OK, Delivery, Receiver, hang

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.subscriptions.conftest import Run


class Held:
    """Answers well, one after another, when the test lets it."""

    def __init__(self) -> None:
        self.let = asyncio.Semaphore(0)

    async def __call__(self, delivery: Delivery, writer: asyncio.StreamWriter) -> None:
        await self.let.acquire()
        await OK(delivery, writer)


class FaultyQueue(WakingQueue):
    """Fails as often as told before it works."""

    faults = 2

    async def take(self) -> Wake:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault of ours")
        return await super().take()


async def test_a_wake_offered_while_it_is_delivered_is_not_delivered_beside_itself(
    site: Site, api: Api, receiver: Receiver
) -> None:
    receiver.behave = held = Held()
    await api.create_webhook(receiver.url, pattern="events/*", lease_ttl_ms=LEASE_MS)
    await site.client.put("events/a", body=b"1")
    await receiver.delivery(1)

    for _ in range(3):
        assert (await api.ask("POST", "/s/wake", {})).status == 204, "each offers the same wake again"
    await until(lambda: len(site.server._dispatcher._tasks) == 1)
    held.let.release()
    while (await api.show())["phase"] != "claimed":
        pass  # each look is a request, which gives the server its turn

    assert receiver.connections == 1
    assert not site.server._dispatcher._under_way


async def wake_more_than_go_at_once(site: Site, receiver: Receiver) -> Api:
    api = Api(site.client)
    for number in range(HOST_MAX + 2):
        await api.create_webhook(receiver.url, f"s{number}", pattern="events/*", lease_ttl_ms=LEASE_MS)
    await site.client.put("events/a", body=b"1")
    await receiver.delivery(HOST_MAX)
    return api


@pytest.mark.slow
async def test_so_many_go_at_once_and_the_rest_in_their_turn(site: Site, receiver: Receiver) -> None:
    receiver.behave = held = Held()
    await wake_more_than_go_at_once(site, receiver)
    assert len(site.server._dispatcher._tasks) == receiver.connections == HOST_MAX

    held.let.release()
    await receiver.delivery(HOST_MAX + 1)
    assert len(site.server._dispatcher._tasks) == HOST_MAX
    for _ in range(HOST_MAX + 1):
        held.let.release()
    await receiver.delivery(HOST_MAX + 2)
    await until(lambda: not site.server._dispatcher._tasks)

    told = {delivery.wake["subscription_id"] for delivery in receiver.deliveries}
    assert len(told) == len(receiver.deliveries) == HOST_MAX + 2


@pytest.mark.slow
async def test_what_waits_for_a_slot_at_a_shutdown_is_delivered_after_the_next_start(
    run: Run, receiver: Receiver
) -> None:
    receiver.behave = hang
    async with run(engine="lmdb") as site:
        await wake_more_than_go_at_once(site, receiver)
        cut_count = len(receiver.deliveries)
    receiver.behave = OK
    async with run(engine="lmdb"):
        await receiver.delivery(cut_count + HOST_MAX + 2)

    told = {delivery.wake["subscription_id"] for delivery in receiver.deliveries[cut_count:]}
    assert len(told) == HOST_MAX + 2


async def test_a_fault_of_ours_is_loud_and_ends_nothing(site: Site, api: Api, receiver: Receiver) -> None:
    receiver.behave = hang
    await api.create_webhook(receiver.url, pattern="events/*", lease_ttl_ms=LEASE_MS)
    await site.client.put("events/a", body=b"1")
    await receiver.delivery(1)
    waking = FaultyQueue()
    client = WebhookClient(Keyring(None, ManualClock()), allow_local=True)
    dispatcher = Dispatcher(waking, site.server.subscriptions, client)
    dispatcher._slots = asyncio.Semaphore(1)  # so that one lost to a fault would be missed

    with capture_logs() as logs:
        dispatcher.start()
        waking.offer(head_path("s"))
        await receiver.delivery(2)
        await dispatcher.close()

    assert [line["log_level"] for line in logs if "taking wakes failed" in line["event"]] == ["critical"] * 2

from __future__ import annotations

import asyncio

import pytest

from durable_streams.client.outbox import Outbox, OutgoingBatch, Receipt
from durable_streams.client.values import IdempotentAppendResult


def bodies(outbox: Outbox) -> list[bytes]:
    taken = []
    while (batch := outbox.take()) is not None:
        taken.append(batch.body("text/plain"))
    return taken


async def test_an_unripe_batch_stays() -> None:
    outbox = Outbox(100)
    outbox.add(b"a")
    assert outbox.take() is None
    outbox.ripen()
    outbox.add(b"b")
    assert bodies(outbox) == [b"ab"]


async def test_ripeness_ends_with_the_batch() -> None:
    outbox = Outbox(100)
    outbox.ripen()
    outbox.add(b"a")
    assert outbox.take() is None
    outbox.ripen()
    assert bodies(outbox) == [b"a"]
    outbox.add(b"b")
    assert outbox.take() is None


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_no_body_is_over_the_bound(content_type: str) -> None:
    outbox = Outbox(20)
    for _ in range(50):
        outbox.add(b'"abc"')
    outbox.seal()
    sizes = []
    while (batch := outbox.take()) is not None:
        sizes.append(len(batch.body(content_type)))
    assert max(sizes) <= 20
    assert len(sizes) == 17


async def test_a_message_over_the_bound_travels_alone() -> None:
    outbox = Outbox(10)
    for message in (b"a", b"b" * 30, b"c"):
        outbox.add(message)
    outbox.seal()
    assert bodies(outbox) == [b"a", b"b" * 30, b"c"]


async def test_a_closing_batch_comes_last() -> None:
    outbox = Outbox(100)
    outbox.add(b"a")
    closing = outbox.add_closing(None)
    first, second = outbox.take(), outbox.take()
    assert first is not None
    assert not first.closes
    assert second is closing
    assert closing.closes
    assert closing.body("application/json") == b""


async def test_what_is_put_back_comes_first_and_in_order() -> None:
    outbox = Outbox(2)
    for message in (b"a", b"b", b"c", b"d"):
        outbox.add(message)
    outbox.seal()
    taken = [outbox.take(), outbox.take()]
    outbox.put_back([batch for batch in taken if batch is not None])
    assert bodies(outbox) == [b"a", b"b", b"c", b"d"]


async def test_cancelling_one_receipt_leaves_the_others() -> None:
    batch = OutgoingBatch()
    impatient = asyncio.create_task(Receipt(batch).durable())
    patient = asyncio.create_task(Receipt(batch).durable())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    batch.settled.set_result(IdempotentAppendResult("1", duplicate=False))
    assert (await patient).offset == "1"

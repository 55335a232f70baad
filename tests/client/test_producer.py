"""The producer against the real server, and against answers that one server alone would not give."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from durable_streams.client import (
    AsyncDurableStream,
    DurableStreamError,
    FetchError,
    IdempotentProducer,
    ProducerBufferFullError,
    SequenceGapError,
    StaleEpochError,
    StreamClosedError,
    StreamNotFoundError,
)
from tests.client.conftest import ONCE, QUICK
from tests.client.proxy import Cut, CuttingProxy, ScriptedServer, answer
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Make = Callable[..., Awaitable[AsyncDurableStream]]

JSON = "application/json"


def producing(url: str, producer_id: str = "p", **options: Any) -> IdempotentProducer:  # noqa: ANN401 passed on as given
    return IdempotentProducer(url, producer_id, **{"content_type": JSON, "retry": QUICK, **options})


async def stored(stream: AsyncDurableStream) -> list[object]:
    async with stream.stream(live=False) as response:
        return await response.read_json()


async def test_every_message_once_in_order(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, max_batch_bytes=100) as producer:
        receipts = [producer.append(str(n)) for n in range(1000)]
        await producer.flush()
        assert all(receipt.done for receipt in receipts)
        assert (producer.pending_count, producer.in_flight_count, producer.buffered_bytes) == (0, 0, 0)
        last = await receipts[-1].durable()
        assert (last.offset, last.duplicate) == ((await stream.head()).offset, False)
    assert await stored(stream) == list(range(1000))
    assert producer.next_seq > 5


async def test_bytes_are_concatenated(make: Make) -> None:
    stream = await make(content_type="text/plain")
    async with producing(stream.url, content_type="text/plain") as producer:
        for text in ("a", b"\r\n", "é"):
            producer.append(text)
    async with stream.stream(live=False) as response:
        assert await response.read_text() == "a\r\né"


async def test_json_arrives_as_the_bytes_that_were_appended(make: Make) -> None:
    stream = await make()
    sent = [b"1.0", b"[1,2]", b'{"a":1,"a":2}', b"12345678901234567890123", rb'"\ud800"']
    async with producing(stream.url) as producer:
        for message in sent:
            producer.append(message)
    async with stream.stream(live=False) as response:
        assert [message async for message in response.iter_messages()] == sent


async def test_messages_that_come_together_travel_together(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, linger_ms=1) as producer:
        for n in range(10):
            producer.append(str(n))
        assert producer.pending_count == 10
        await producer.append("10").durable()
        assert producer.next_seq == 1


async def test_a_lingering_batch_leaves_by_itself(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, linger_ms=0) as producer:
        assert not (await producer.append("1").durable()).duplicate
        assert not (await producer.append("2").durable()).duplicate
        assert producer.next_seq == 2


async def test_messages_gather_while_the_flight_is_full(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, max_in_flight=1, linger_ms=0) as producer:
        for n in range(500):
            producer.append(str(n))
            await asyncio.sleep(0)
        await producer.flush()
        assert producer.next_seq < 250
    assert await stored(stream) == list(range(500))


async def test_what_is_not_one_message_spoils_nothing(make: Make) -> None:
    stream = await make()
    async with producing(stream.url) as producer:
        producer.append("1")
        for wrong in ("{", "1,2", "", b"NaN"):
            with pytest.raises(DurableStreamError):
                producer.append(wrong)
        producer.append("2")
    assert await stored(stream) == [1, 2]


@pytest.mark.slow
async def test_answers_cut_at_every_byte(make: Make) -> None:
    stream = await make()
    async with CuttingProxy(stream.url) as proxy, producing(proxy.url) as producer:
        await producer.append("0").durable()
        size = len(proxy.answers[0])
    for position in range(size):
        async with (
            CuttingProxy(stream.url, [Cut(answer_bytes=position)]) as proxy,
            producing(proxy.url, f"at {position}") as producer,
        ):
            result = await producer.append(str(position + 1)).durable()
            assert result.duplicate
    assert await stored(stream) == list(range(size + 1))


@pytest.mark.slow
async def test_requests_cut_at_every_byte(make: Make) -> None:
    stream = await make()
    async with CuttingProxy(stream.url) as proxy, producing(proxy.url, "at 12345") as producer:
        await producer.append("0").durable()
        size = len(proxy.requests[0])
    for position in range(size + 1):
        async with (
            CuttingProxy(stream.url, [Cut(request_bytes=position)]) as proxy,
            producing(proxy.url, f"at {position:05}") as producer,
        ):
            await producer.append(str(position + 1)).durable()
    assert await stored(stream) == list(range(size + 2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_many_batches_over_connections_that_are_cut_anywhere(make: Make, seed: int) -> None:
    stream = await make()
    cuts = [
        Cut(answer_bytes=(seed * 37 + n * 61) % 400) if n % 2 else Cut(request_bytes=(seed * 53 + n * 71) % 900)
        for n in range(60)
    ]
    async with (
        CuttingProxy(stream.url, cuts) as proxy,
        producing(proxy.url, max_batch_bytes=60, timeout=HANG_S) as producer,
    ):
        for n in range(600):
            producer.append(str(n))
        await producer.close_stream('"end"')
    assert await stored(stream) == [*range(600), "end"]


async def test_an_early_batch_waits_for_its_predecessor(make: Make) -> None:
    # The first connection's answer is lost, so that the second batch, on a connection of its own, overtakes the retry.
    stream = await make()
    async with (
        CuttingProxy(stream.url, [Cut(request_bytes=20)]) as proxy,
        producing(proxy.url, max_batch_bytes=10, max_in_flight=5) as producer,
    ):
        for n in range(100):
            producer.append(f'"{n:08}"')
        await producer.flush()
        gaps = sum(bytes(seen).count(b" 409 ") for seen in proxy.answers)
    assert await stored(stream) == [f"{n:08}" for n in range(100)]
    assert gaps > 0


async def test_a_stale_producer_stops_and_says_so_once(make: Make) -> None:
    stream = await make()
    errors: list[Exception] = []
    async with producing(stream.url, epoch=5) as newer:
        await newer.append("1").durable()
    stale = producing(stream.url, max_batch_bytes=10, on_error=errors.append)
    receipts = [stale.append('"12345678"') for _ in range(20)]
    for receipt in receipts:
        with pytest.raises(StaleEpochError) as refused:
            await receipt.durable()
        assert refused.value.current_epoch == 5
    for wait in (stale.flush, stale.drain):
        with pytest.raises(StaleEpochError):
            await wait()
    with pytest.raises(StaleEpochError):
        stale.append("2")
    assert len(errors) == 1
    await stale.restart()
    assert (stale.epoch, stale.next_seq) == (6, 0)
    await stale.append("3").durable()
    await stale.close()
    assert await stored(stream) == [1, 3]


async def test_claiming_goes_on_above_the_current_epoch(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, epoch=5) as newer:
        await newer.append("0").durable()
    async with producing(stream.url, auto_claim=True, max_batch_bytes=10) as producer:
        for n in range(1, 50):
            producer.append(str(n))
        await producer.flush()
        assert producer.epoch == 6
    assert await stored(stream) == list(range(50))


async def test_a_second_session_is_not_taken_for_the_first_one(make: Make) -> None:
    stream = await make()
    for session in range(3):
        async with producing(stream.url, auto_claim=True) as producer:
            producer.append(str(session))
            await producer.flush()
            assert producer.epoch == session
    assert await stored(stream) == [0, 1, 2]


async def test_an_epoch_that_was_used_is_known_by_its_seq_even_in_doubt(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, max_batch_bytes=1) as earlier:
        earlier.append("1")
        earlier.append("2")
    async with (
        CuttingProxy(stream.url, [Cut(answer_bytes=0)]) as proxy,
        producing(proxy.url, auto_claim=True) as producer,
    ):
        await producer.append("3").durable()
        assert producer.epoch == 1
    assert await stored(stream) == [1, 2, 3]


async def test_under_an_epoch_of_the_callers_choice_a_duplicate_is_one(make: Make) -> None:
    stream = await make()
    for duplicate in (False, True):
        async with producing(stream.url) as producer:
            assert (await producer.append("1").durable()).duplicate == duplicate
    assert await stored(stream) == [1]


async def test_two_producers_that_claim_from_each_other_lose_and_double_nothing(make: Make) -> None:
    stream = await make()
    async with (
        producing(stream.url, auto_claim=True, max_batch_bytes=20) as one,
        producing(stream.url, auto_claim=True, max_batch_bytes=20) as other,
    ):
        for start in range(0, 200, 20):
            for n in range(start, start + 20):
                one.append(f'"one {n}"')
                other.append(f'"other {n}"')
            await one.flush()
            await other.flush()
    items = await stored(stream)
    for name in ("one", "other"):
        assert [item for item in items if str(item).startswith(f"{name} ")] == [f"{name} {n}" for n in range(200)]


async def test_what_may_have_been_written_is_not_claimed_again(make: Make) -> None:
    """The answer is lost, another producer takes over, the retry is refused as stale: nobody can know."""
    stream = await make()
    async with CuttingProxy(stream.url, [Cut(answer_bytes=0)]) as proxy:
        between = asyncio.Event()

        async def take_over_before_the_retry() -> str:
            if proxy.connection_count == 1 and not between.is_set():
                between.set()
                async with producing(stream.url, epoch=7) as other:
                    await other.append('"other"').durable()
            return "x"

        producer = producing(proxy.url, auto_claim=True, headers={"X": take_over_before_the_retry})
        with pytest.raises(StaleEpochError):
            await producer.append('"once"').durable()
        await producer.abort()
    assert await stored(stream) == ["once", "other"]


ACKNOWLEDGED = answer(200, Stream_Next_Offset="1", Producer_Epoch="0", Producer_Seq="0")


async def test_claims_have_an_end() -> None:
    async with ScriptedServer([answer(403, Producer_Epoch="9")]) as server:
        producer = producing(server.url, auto_claim=True)
        with pytest.raises(StaleEpochError):
            await producer.append("1").durable()
        assert len(server.requests) == 9
        await producer.abort()


async def test_an_attempt_is_repeated_byte_by_byte_under_the_same_triple() -> None:
    script = [
        answer(500),
        answer(502),
        answer(503),
        answer(504),
        answer(507),
        answer(429),
        answer(408),
        b"",
        ACKNOWLEDGED,
    ]
    async with ScriptedServer(script) as server:
        async with producing(server.url, linger_ms=0) as producer:
            await producer.append("1").durable()
        assert len(server.requests) == len(script)
        assert len({body for _, body in server.requests}) == 1
        assert len({head for head, _ in server.requests}) == 1
        head, body = server.requests[0]
        assert body == b"[1]"
        for line in ("Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0", f"Content-Type: {JSON}"):
            assert f"\r\n{line}\r\n" in head


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 413, 302, 501])
async def test_a_refusal_for_good_stops_the_producer(status: int) -> None:
    errors: list[Exception] = []
    async with ScriptedServer([answer(status)]) as server:
        producer = producing(server.url, max_in_flight=1, max_batch_bytes=3, on_error=errors.append)
        receipts = [producer.append(str(n)) for n in range(5)]
        for receipt in receipts:
            with pytest.raises(DurableStreamError) as refused:
                await receipt.durable()
            assert refused.value.status == status
        assert len(server.requests) == 1
        assert len(errors) == 1
        await producer.abort()


async def test_a_connection_that_never_comes_ends_with_patience() -> None:
    async with ScriptedServer([]) as server:
        url = server.url
    producer = producing(url, retry=ONCE)
    with pytest.raises(FetchError):
        await producer.append("1").durable()
    await producer.abort()


async def test_a_server_that_forgot_what_it_acknowledged() -> None:
    async with ScriptedServer(
        [ACKNOWLEDGED, answer(409, Producer_Expected_Seq="0", Producer_Received_Seq="1")]
    ) as server:
        producer = producing(server.url, max_batch_bytes=1)
        await producer.append("1").durable()
        with pytest.raises(SequenceGapError) as refused:
            await producer.append("2").durable()
        assert (refused.value.expected_seq, refused.value.received_seq) == (0, 1)
        await producer.abort()


async def test_an_answer_that_acknowledges_nothing() -> None:
    async with ScriptedServer([answer(200, b"<html>welcome to the hotel</html>")]) as server:
        producer = producing(server.url)
        with pytest.raises(DurableStreamError, match="acknowledges nothing"):
            await producer.append("1").durable()
        await producer.abort()


async def test_a_body_over_the_servers_limit_is_refused_and_not_repeated(make: Make) -> None:
    stream = await make(content_type="text/plain")
    producer = producing(stream.url, content_type="text/plain", max_buffer_bytes=2**26)
    with pytest.raises(DurableStreamError) as refused:
        await producer.append(b"x" * (2**24 + 1)).durable()
    assert refused.value.status == 413
    await producer.abort()


async def test_a_stream_that_is_not_there(root: str) -> None:
    producer = producing(f"{root}/nowhere")
    with pytest.raises(StreamNotFoundError):
        await producer.append("1").durable()
    await producer.abort()


async def test_closing_the_stream_with_a_last_message(make: Make) -> None:
    stream = await make()
    async with producing(stream.url) as producer:
        producer.append("1")
        closed = await producer.close_stream('"end"')
        assert closed.offset == (await stream.head()).offset
        again = await producer.close_stream()
        assert again.duplicate
        with pytest.raises(StreamClosedError):
            producer.append("2")
    assert (await stream.head()).stream_closed
    assert await stored(stream) == [1, "end"]


async def test_closing_the_stream_alone(make: Make) -> None:
    stream = await make()
    async with producing(stream.url) as producer:
        await producer.close_stream()
    assert (await stream.head()).stream_closed


@pytest.mark.parametrize("message", [None, '"end"'])
async def test_a_close_whose_answer_is_lost_is_still_one(make: Make, message: str | None) -> None:
    stream = await make()
    async with CuttingProxy(stream.url, [Cut(answer_bytes=0)]) as proxy, producing(proxy.url) as producer:
        closed = await producer.close_stream(message)
        assert (closed.duplicate, closed.in_doubt) == (message is not None, True)
        assert proxy.connection_count == 2
    assert await stored(stream) == ([] if message is None else ["end"])


async def test_a_stream_closed_by_somebody_else(make: Make) -> None:
    stream = await make()
    await stream.close_stream()
    producer = producing(stream.url)
    with pytest.raises(StreamClosedError) as refused:
        await producer.append("1").durable()
    assert refused.value.final_offset == (await stream.head()).offset
    await producer.abort()


async def test_a_buffer_has_a_bound_and_drain_waits_for_room(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, max_buffer_bytes=1000, max_batch_bytes=100) as producer:
        for _ in range(1000):
            producer.append("1")
        with pytest.raises(ProducerBufferFullError):
            producer.append("1")
        assert producer.buffered_bytes == 1000
        await producer.drain()
        assert producer.buffered_bytes <= 500
        producer.append("1")
    assert await stored(stream) == [1] * 1001


async def test_a_larger_message_than_the_buffer_goes_alone(make: Make) -> None:
    stream = await make()
    async with producing(stream.url, max_buffer_bytes=10) as producer:
        producer.append('"' + "x" * 100 + '"')
    assert len(await stored(stream)) == 1


async def test_restarting_a_healthy_producer_flushes_first(make: Make) -> None:
    stream = await make()
    async with producing(stream.url) as producer:
        producer.append("1")
        await producer.restart()
        assert (producer.epoch, producer.next_seq) == (1, 0)
        producer.append("2")
    assert await stored(stream) == [1, 2]


async def test_closing_twice_and_appending_after_it(make: Make) -> None:
    stream = await make()
    producer = producing(stream.url)
    producer.append("1")
    await producer.close()
    await producer.close()
    with pytest.raises(DurableStreamError) as refused:
        producer.append("2")
    assert refused.value.code == "ALREADY_CLOSED"
    assert await stored(stream) == [1]


async def test_an_exception_in_the_body_is_shown_and_what_was_appended_is_sent(make: Make) -> None:
    stream = await make()

    async def body() -> None:
        async with producing(stream.url, linger_ms=1000) as producer:
            producer.append("1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert await stored(stream) == [1]


async def test_a_cancelled_body_waits_for_nothing() -> None:
    async with ScriptedServer([]) as server:
        url = server.url
    entered = asyncio.Event()
    receipts = []

    async def body() -> None:
        async with producing(url) as producer:
            receipts.append(producer.append("1"))
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(DurableStreamError) as refused:
        await receipts[0].durable()
    assert refused.value.code == "ABORTED"


async def test_a_session_handed_in_stays_open(make: Make) -> None:
    stream = await make()
    async with aiohttp.ClientSession() as session:
        async with producing(stream.url, client=session) as producer:
            producer.append("1")
        assert not session.closed


@pytest.mark.parametrize(
    "wrong", [{"epoch": -1}, {"linger_ms": -1}, {"max_batch_bytes": 0}, {"max_in_flight": 0}, {"max_buffer_bytes": 0}]
)
async def test_options_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        IdempotentProducer("http://127.0.0.1:1/s", "p", **wrong)

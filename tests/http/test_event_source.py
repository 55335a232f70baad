"""A browser's ``EventSource`` comes back to where it was: the id of the last event it dispatched wins over its URL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import pytest

from durable_streams.protocol.offsets import format_offset
from tests.http.site import until
from tests.http.wire import Event, Events, Wire, request_bytes

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.http.wire import Client


class EventSource:
    """What the HTML standard (§9.2) makes of one URL: after any cut the same request again, and the last event's id.

    An id counts once its event has been dispatched. ``seen``: the messages of all data events, in order.
    """

    def __init__(self, client: Client, path: str, **query: str | int) -> None:
        self._client, self._target = client, client.target(path, **query, live="sse")
        self._wire: Wire | None = None
        self._events: Events | None = None
        self.last_event_id = ""
        self.status = 0
        self.seen: list[int] = []
        self.controls: list[dict[str, object]] = []

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    async def connect(self) -> None:
        """Ask, the first time or again."""
        self.cut()
        headers = {"Accept": "text/event-stream"} | (
            {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        )
        self._wire = await Wire.open(self._client.origin, limit=1 << 20)
        await self._wire.send(request_bytes("GET", self._target, headers))
        head = await self._wire.reply_head()
        self.status, self._events = head.status, Events(self._wire, head)

    def cut(self) -> None:
        """Lose the connection."""
        if self._wire is not None:
            self._wire.close()

    async def take(self) -> Event:
        """Dispatch the next event."""
        assert self._events is not None
        event = await self._events.take()
        self.last_event_id = event.event_id or self.last_event_id
        if event.kind == "data":
            self.seen += json.loads(event.text)
        elif event.kind == "control":
            self.controls.append(event.control)
        return event

    async def pair(self) -> None:
        """Dispatch a data event and its control event."""
        assert (await self.take()).kind == "data"
        assert (await self.take()).kind == "control"


async def append(client: Client, *numbers: int) -> None:
    for number in numbers:
        assert (await client.post("s", b"%d" % number, "application/json")).status == 204


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ({"offset": "-1"}, [1, 2]),
        ({"offset": format_offset(0)}, [1, 2]),
        ({"offset": format_offset(2)}, [2]),
        ({"offset": "now"}, []),
        ({"tail": 1}, [2]),
    ],
    ids=str,
)
async def test_it_resumes_after_every_cut_and_gets_nothing_again(
    fronted: Site, query: dict[str, str | int], first: list[int]
) -> None:
    client = fronted.client
    await client.put("s", "application/json", b"[1,2]")
    async with EventSource(client, "s", **query) as source:
        if first:
            await source.take()
        await source.take()
        assert source.seen == first
        for number in (3, 5, 7):
            await append(client, number)
            await source.pair()
            source.cut()
            await append(client, number + 1)  # while nobody is connected
            await source.connect()
            await source.pair()
        assert source.seen == [*first, *range(3, 9)]


async def test_a_cut_between_data_and_its_control_event_repeats_and_never_skips(fronted: Site) -> None:
    """The id is the control event's: what no control event has confirmed is sent again."""
    client = fronted.client
    await client.put("s", "application/json", b"[1]")
    async with EventSource(client, "s", offset="-1") as source:
        await source.pair()
        await append(client, 2)
        await source.take()
        source.cut()
        await source.connect()
        await source.pair()
        assert source.seen == [1, 2, 2]


async def test_the_id_is_on_control_events_only_and_moves_with_them(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "application/json", b"[1]")
    async with client.events("s", offset="-1") as events:
        assert (await events.take()).event_id == ""
        first = await events.take()
        assert first.event_id.startswith(str(first.control["streamNextOffset"]))
        await append(client, 2)
        assert (await events.take()).event_id == first.event_id
        second = await events.take()
        assert second.event_id.startswith(str(second.control["streamNextOffset"]))
        assert second.event_id > first.event_id
        await client.finish("s")
        assert (await events.take()).event_id == second.event_id


async def test_after_the_end_it_gets_the_end_and_no_data(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "application/json", b"[1]", stream_closed="true")
    async with EventSource(client, "s", offset="-1") as source:
        await source.pair()
        await source.connect()
        assert (await source.take()).control["streamClosed"] is True
        assert source.seen == [1]


async def test_an_offset_further_on_than_the_id_is_taken_at_its_word(fronted: Site) -> None:
    client = fronted.client
    await client.put("s", "application/json", b"[1,2,3]")
    async with client.events("s", offset="-1") as events:
        await events.take()
        event_id = (await events.take()).event_id
    earlier = format_offset(2) + event_id[16:]
    async with client.events("s", last_event_id=earlier, offset=format_offset(4)) as events:
        assert (await events.pair())[0] == "[3]"
    async with client.events("s", last_event_id=earlier, offset="-1") as events:
        assert (await events.pair())[0] == "[2,3]"


@pytest.mark.parametrize("offset", ["-1", "now", format_offset(2)])
async def test_it_is_stopped_where_its_stream_was_replaced(fronted: Site, offset: str) -> None:
    """Anything but 200 ends an ``EventSource`` for good, and its page is told."""
    client = fronted.client
    await client.put("s", "application/json", b"[1,2]")
    async with EventSource(client, "s", offset=offset) as source:
        await until(lambda: fronted.followers() == 1)
        while not source.controls:
            await source.take()
        source.cut()
        await client.delete("s")
        await source.connect()
        assert source.status == 404
        await client.put("s", "application/json", b"[4,5,6,7]")
        await source.connect()
        assert source.status == 410


@pytest.mark.parametrize("event_id", ["5", "x", format_offset(1), f"{format_offset(1)}:", f"{format_offset(1)}:G", "é"])
async def test_an_id_that_is_none_of_ours_is_refused(fronted: Site, event_id: str) -> None:
    client = fronted.client
    await client.put("s", "application/json", b"[1]")
    reply = await client.get("s", {"Last-Event-ID": event_id}, offset="-1", live="sse")
    assert (reply.status, reply.code) == (400, "invalid-header")


async def test_elsewhere_the_header_says_nothing(fronted: Site) -> None:
    """Only event streams have ids; an empty one is none."""
    client = fronted.client
    await client.put("s", "application/json", b"[1]")
    for live in ({}, {"live": "long-poll"}):
        reply = await client.get("s", {"Last-Event-ID": "x"}, offset="-1", **live)
        assert (reply.status, reply.body) == (200, b"[1]")
    async with client.events("s", last_event_id="", offset="-1") as events:
        assert (await events.pair())[0] == "[1]"

"""Rules that create, append, close and delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.model.harness import Harness, rfc3339
from tests.model.strategies import (
    CONTENT_TYPES,
    FIRST_TYPES,
    LIFETIMES,
    MOVES,
    PICK_MAX,
    PICKS,
    PLACES,
    PRODUCERS,
    RARELY,
    STREAM_SEQS,
    bodies,
    next_triple,
)
from tests.model.streams import Body, Creation, ForkAsk, Lifetime, media_type
from tests.model.wire import Request, Wire

if TYPE_CHECKING:
    from tests.model.streams import Triple
    from tests.model.wire import Reply

Bodies = tuple[Body, Body]


def put(path: str, ask: Creation) -> Request:
    """The PUT that says what a creation asks for."""
    headers = {}
    if ask.content_type is not None:
        headers["Content-Type"] = ask.content_type
    if ask.closed:
        headers["Stream-Closed"] = "true"
    if ask.lifetime.ttl_s is not None:
        headers["Stream-TTL"] = str(ask.lifetime.ttl_s)
    if ask.lifetime.expires_at_ms is not None:
        headers["Stream-Expires-At"] = rfc3339(ask.lifetime.expires_at_ms)
    if ask.fork is not None:
        headers["Stream-Forked-From"] = f"/v1/stream/{ask.fork.source}"
        if ask.fork.offset is not None:
            headers["Stream-Fork-Offset"] = ask.fork.offset
        if ask.fork.sub_offset:
            headers["Stream-Fork-Sub-Offset"] = str(ask.fork.sub_offset)
    return Request("PUT", path, headers, ask.body.raw)


def post(path: str, body: Body, content_type: str, **named: str) -> Request:
    """The POST of a body; a bodiless one carries no content type."""
    headers = {name.replace("_", "-"): value for name, value in named.items()}
    if body.raw:
        headers["Content-Type"] = content_type
    return Request("POST", path, headers, body.raw)


def fields_of(triple: Triple) -> dict[str, str]:
    return {
        "Producer_Id": triple.producer_id,
        "Producer_Epoch": str(triple.epoch),
        "Producer_Seq": str(triple.seq),
    }


class WriteRules(Harness):
    """PUT, POST and DELETE."""

    def lifetime(self, drawn: tuple[str, int] | None) -> Lifetime:
        if drawn is None:
            return Lifetime()
        kind, seconds = drawn
        if kind == "ttl":
            return Lifetime(ttl_s=seconds)
        return Lifetime(expires_at_ms=self.model.now_ms + seconds * 1000)

    @initialize(
        patient=st.booleans(),
        lane=st.booleans(),
        first=st.lists(st.tuples(FIRST_TYPES, bodies(), LIFETIMES), min_size=1, max_size=3),
    )
    def begin(self, *, patient: bool, lane: bool, first: list[tuple[str, Bodies, tuple[str, int] | None]]) -> None:
        """A server, and something in it to work with."""
        self.serve(patient=patient, lane=lane)
        for content_type, body, lifetime in first:
            self._create(self.free_path(0), content_type, body, closed=False, lifetime=lifetime)

    @rule(
        place=PLACES,
        content_type=CONTENT_TYPES,
        body=bodies(empty=True),
        closed=RARELY,
        lifetime=LIFETIMES,
    )
    def create(
        self, *, place: int, content_type: str | None, body: Bodies, closed: bool, lifetime: tuple[str, int] | None
    ) -> None:
        self._create(self.free_path(place), content_type, body, closed=closed, lifetime=lifetime)

    def _create(
        self, path: str, content_type: str | None, body: Bodies, *, closed: bool, lifetime: tuple[str, int] | None
    ) -> None:
        is_json = content_type is not None and media_type(content_type) == "application/json"
        ask = Creation(content_type, body[0 if is_json else 1], closed, self.lifetime(lifetime))
        self.ask(put(path, ask), self.model.create(path, ask))

    @rule(place=PLACES)
    def create_again(self, *, place: int) -> None:
        """The request that made the stream, once more."""
        path = self.path(place)
        stream = self.model.streams.get(path)
        if stream is not None:
            self.ask(put(path, stream.asked), self.model.create(path, stream.asked))

    @rule(
        place=PLACES,
        source_place=PLACES,
        anchor=st.none() | PICKS,
        sub_offset=st.sampled_from([0, 0, 0, 1, 2, 40]),
        content_type=st.sampled_from(["inherit"] * 4 + ["same"] * 3 + ["text/html"]),
        lifetime=LIFETIMES,
        body=st.none() | bodies(empty=True),
    )
    def fork(  # noqa: PLR0913 - a fork has that many parts
        self,
        *,
        place: int,
        source_place: int,
        anchor: int | None,
        sub_offset: int,
        content_type: str,
        lifetime: tuple[str, int] | None,
        body: Bodies | None,
    ) -> None:
        path = self.free_path(place)
        source = self.path(source_place)
        fitting, source_type = self.fitting(source, body or (Body(), Body()))
        # A body needs a content type, as nothing else says whether it is JSON.
        kept_type = None if content_type == "inherit" and not fitting.raw else source_type
        asked_type = "text/html" if content_type == "text/html" and not fitting.raw else kept_type
        offset = None if anchor is None else self.known_offset(source, anchor)
        ask = Creation(asked_type, fitting, lifetime=self.lifetime(lifetime), fork=ForkAsk(source, offset, sub_offset))
        self.ask(put(path, ask), self.model.create(path, ask))

    def known_offset(self, path: str, pick: int) -> str | None:
        """An offset that the stream has handed out, or, for the highest pick, one past its tail."""
        stream = self.model.living(path)
        if stream is None:
            return None
        if pick == PICK_MAX:
            longer = [one.tokens.by_position[max(one.tokens.by_position)] for one in self.model.streams.values()]
            return max(longer)
        known = [token for _, token in sorted(stream.tokens.by_position.items())]
        return known[pick % len(known)]

    @rule(
        place=PLACES,
        body=bodies(empty=True),
        close=RARELY,
        stream_seq=st.none() | STREAM_SEQS,
        other_type=RARELY,
    )
    def append(self, *, place: int, body: Bodies, close: bool, stream_seq: str | None, other_type: bool) -> None:
        path = self.path(place)
        fitting, content_type = self.fitting(path, body)
        self.append_to(
            path,
            fitting,
            "image/png" if other_type else content_type,
            close=close or not fitting.raw,
            stream_seq=stream_seq,
        )

    @rule(
        place=PLACES,
        producer_id=PRODUCERS,
        moves=MOVES,
        body=bodies(empty=True),
        close=RARELY,
        stream_seq=st.none() | STREAM_SEQS,
    )
    def produce(
        self, *, place: int, producer_id: str, moves: list[str], body: Bodies, close: bool, stream_seq: str | None
    ) -> None:
        """A few requests of one producer; the last one may close, the first one may carry a `Stream-Seq`."""
        path = self.path(place)
        for number, move in enumerate(moves):
            fitting, content_type = self.fitting(path, body)
            triple = next_triple(self.model.living(path), producer_id, move)
            closes = not fitting.raw or (close and number == len(moves) - 1)
            self.append_to(
                path, fitting, content_type, close=closes, triple=triple, stream_seq=None if number else stream_seq
            )

    def append_to(
        self,
        path: str,
        body: Body,
        content_type: str,
        *,
        close: bool,
        triple: Triple | None = None,
        stream_seq: str | None = None,
    ) -> None:
        named = fields_of(triple) if triple is not None else {}
        named["Stream_Closed"] = "TRUE" if close else "yes"  # §4.1: only `true` counts
        if stream_seq is not None:
            named["Stream_Seq"] = stream_seq
        stream = self.model.living(path)
        expected = self.model.append(path, body, content_type, close=close, triple=triple, stream_seq=stream_seq)
        self.ask(post(path, body, content_type, **named), expected)
        self.wake(stream)

    @rule(place=PLACES, several=st.lists(bodies(), min_size=2, max_size=5))
    def append_at_once(self, *, place: int, several: list[Bodies]) -> None:
        """Over as many connections: the offsets answered say in which order they stand."""
        path = self.path(place)
        stream = self.model.living(path)
        if stream is None or stream.closed or stream.followers:
            return
        sent = [self.fitting(path, body) for body in several]
        replies = self.run(self._ask_at_once([post(path, body, content_type) for body, content_type in sent]))
        order = sorted(range(len(sent)), key=lambda index: replies[index].headers["stream-next-offset"])
        for index in order:
            self.check(replies[index], self.model.append(path, *sent[index]))

    async def _ask_at_once(self, requests: list[Request]) -> list[Reply]:
        wires = [await Wire.open(self.server.port) for _ in requests]
        replies = await asyncio.gather(*(wire.ask(one) for wire, one in zip(wires, requests, strict=True)))
        await asyncio.gather(*(wire.close() for wire in wires))
        return replies

    @rule(place=PLACES)
    def delete(self, *, place: int) -> None:
        path = self.path(place)
        if len(self.model.streams) == 1:
            return
        stream = self.model.living(path)
        self.ask(Request("DELETE", path), self.model.delete(path))
        self.wake(stream)

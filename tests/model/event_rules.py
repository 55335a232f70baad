"""Rules for what happens to the server: time passes, it tidies up, it is restarted, it crashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model.expected import refused
from tests.model.strategies import PLACES, PRODUCERS, bodies, next_triple
from tests.model.streams import TEXT, Body, Creation, ForkAsk, Lifetime
from tests.model.wire import Request, Wire
from tests.model.write_rules import Bodies, WriteRules, fields_of, post, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.streams import Stream


class EventRules(WriteRules):
    """Time, and on every engine what its process does by itself."""

    @rule(by_ms=st.sampled_from([400, 1_000, 1_900, 2_000, 30_000, 64_000, 600_000, 3_600_000]), sweep=st.booleans())
    def let_time_pass(self, *, by_ms: int, sweep: bool) -> None:
        self.clock.advance_ms(by_ms)
        if sweep:
            self.run(self.server.upkeep())
        self.settle_lifetimes()
        self.look_at_every_path()

    @rule(place=PLACES, left_ms=st.sampled_from([0, 0, 1]))
    def let_a_lifetime_run_out(self, *, place: int, left_ms: int) -> None:
        """To the very millisecond, or the one before."""
        stream = self.model.living(self.path(place))
        if stream is not None:
            self._let_run_out(stream, left_ms=left_ms)

    @rule(share=st.sampled_from([0.5, 0.99]), restarted=st.booleans())
    def live_on_by_a_read(self, *, share: float, restarted: bool) -> None:
        """A read late in a TTL starts it anew, across a restart too: the stream is there until the very end of it."""
        stream = self._with_lifetime(lambda one: one.lifetime.ttl_s is not None)
        if stream is None or stream.lifetime.ttl_s is None:
            return
        self.clock.advance_ms(int(stream.lifetime.ttl_s * 1000 * share))
        self.settle_lifetimes()
        self.ask(Request("GET", stream.path, query={"offset": "now"}), self.model.read_now(stream.path))
        if restarted and self.restartable:
            self.stop()
            self.run(self.server.start())
        self._let_run_out(stream, left_ms=1)
        self._let_run_out(stream, left_ms=0)

    @rule(source_place=PLACES, place=PLACES)
    def outlive_the_source(self, *, source_place: int, place: int) -> None:
        """A fork with a life of its own reads on when its source's is over."""
        source = self.model.living(self.path(source_place))
        if source is None or source.deadlines_ms()[1] is None:
            source = self._with_lifetime(lambda one: one.deadlines_ms()[1] is not None)
        if source is None:
            return
        ask = Creation(None, lifetime=Lifetime(ttl_s=1_000_000), fork=ForkAsk(source.path))
        path = self.free_path(place)
        self.ask(put(path, ask), self.model.create(path, ask))
        self._let_run_out(source, left_ms=0)
        if self.model.living(path) is not None:
            self.read_to_the_end(path)

    @rule(source_place=PLACES, place=PLACES, body=bodies(), more=bodies(), count=st.integers(1, 5))
    def part_from_the_source(self, *, source_place: int, place: int, body: Bodies, more: Bodies, count: int) -> None:
        """A fork and its source go their own ways, and each shows its own last messages."""
        source = self.model.living(self.path(source_place))
        path = self.free_path(place)
        if source is None or path in self.model.streams:
            return
        ask = Creation(None, fork=ForkAsk(source.path))
        self.ask(put(path, ask), self.model.create(path, ask))
        for each, content in ((path, body), (source.path, more)):
            self.append_to(each, *self.fitting(each, content), close=False)
        for each in (path, source.path):
            self.read_the_last(each, count)

    @rule(place=PLACES, body=bodies(), live=st.sampled_from([{}, {"live": "long-poll"}, {"live": "sse"}]))
    def replace_under_a_reader(self, *, place: int, body: Bodies, live: dict[str, str]) -> None:
        """Its offsets, with a cursor that it was given, are refused in the stream that follows at the path."""
        path = self.path(place)
        stream = self.model.living(path)
        if stream is None or stream.forks or not stream.tail:
            return
        stream.read(self.model.now_ms)
        poll = Request("GET", path, query={"offset": "-1", "live": "long-poll"})
        reply = self.ask(poll, self.model.poll_brings(stream, 0, "", relative=False))
        at = {"offset": reply.headers["stream-next-offset"], "cursor": reply.headers["stream-cursor"]}
        self.ask(Request("DELETE", path), self.model.delete(path))
        self.wake(stream)
        ask = Creation(stream.content_type, body[0 if stream.is_json else 1])
        self.ask(put(path, ask), self.model.create(path, ask))
        self.ask(Request("GET", path, query=at | live), refused(410))

    def _with_lifetime(self, fits: Callable[[Stream], bool]) -> Stream | None:
        """A living stream that fits, else one with a short TTL made for this, if there is a path left for it."""
        for stream in self.model.streams.values():
            if not stream.soft_deleted and fits(stream):
                return stream
        path = self.free_path(0)
        if path in self.model.streams:
            return None
        ask = Creation(TEXT, Body(b"x"), lifetime=Lifetime(ttl_s=64))
        self.ask(put(path, ask), self.model.create(path, ask))
        return self.model.streams[path]

    def _let_run_out(self, stream: Stream, *, left_ms: int) -> None:
        deadline_ms = stream.deadlines_ms()[1]
        if deadline_ms is not None:
            self.clock.advance_ms(max(0, deadline_ms - left_ms - self.clock.now_ms()))
            self.settle_lifetimes()
            self.look_at_every_path()

    @rule()
    def sweep(self) -> None:
        self.run(self.server.upkeep())


class RestartRules(WriteRules):
    """What a store on disk survives."""

    restartable = True

    @rule()
    def restart(self) -> None:
        self.stop()
        self.server.check()
        self.run(self.server.start())
        self.settle_lifetimes()
        self.look_at_every_path()

    @rule()
    def crash_and_restart(self) -> None:
        self.crash()
        self.server.check()
        self.run(self.server.start())
        self.settle_lifetimes()
        self.look_at_every_path()

    @rule(place=PLACES, producer_id=PRODUCERS, body=bodies(), turns=st.integers(0, 12))
    def crash_under_an_append(self, *, place: int, producer_id: str, body: Bodies, turns: int) -> None:
        """Nobody knows whether it was stored; the retry makes sure that it is, once."""
        path = self.path(place)
        stream = self.model.living(path)
        if stream is None or stream.closed or stream.followers:
            return
        fitting, content_type = self.fitting(path, body)
        triple = next_triple(stream, producer_id, "next")
        request = post(path, fitting, content_type, **fields_of(triple))
        wire = self.run(self._leave_unanswered(request, turns))
        self.crash()
        self.run(wire.close())
        self.run(self.server.start())
        self.settle_lifetimes()
        expected = self.model.append(path, fitting, content_type, triple=triple)
        if expected.status == (200,):
            expected = replace(expected, status=(200, 204))
        self.ask(request, expected)
        self.look_at_every_path()

    async def _leave_unanswered(self, request: Request, turns: int) -> Wire:
        wire = await Wire.open(self.server.port)
        wire.send(request)
        for _ in range(turns):
            await asyncio.sleep(0)
        return wire

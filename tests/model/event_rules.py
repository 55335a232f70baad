"""Rules for what happens to the server: time passes, it tidies up, it is restarted, it crashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model.harness import Harness
from tests.model.strategies import PLACES, PRODUCERS, bodies, next_claim
from tests.model.wire import Wire
from tests.model.write_rules import Bodies, claimed, post

if TYPE_CHECKING:
    from tests.model.wire import Request


class EventRules(Harness):
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
        deadline_ms = stream.deadlines_ms()[1] if stream is not None else None
        if deadline_ms is not None:
            self.clock.advance_ms(max(0, deadline_ms - left_ms - self.clock.now_ms()))
            self.settle_lifetimes()
            self.look_at_every_path()

    @rule()
    def sweep(self) -> None:
        self.run(self.server.upkeep())


class RestartRules(Harness):
    """What a store on disk survives."""

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
        claim = next_claim(stream, producer_id, "next")
        request = post(path, fitting, content_type, **claimed(claim))
        wire = self.run(self._leave_unanswered(request, turns))
        self.crash()
        self.run(wire.close())
        self.run(self.server.start())
        self.settle_lifetimes()
        expected = self.model.append(path, fitting, content_type, claim=claim)
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

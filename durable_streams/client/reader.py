"""Hands a follower's portions to the caller, decoded, and keeps the position that fits what was handed out.

Must not know: requests, formats. Invariant: ``position`` never runs ahead of the caller, so resuming from it never
skips; after every event, and after the last item of a portion, it is exactly behind what the caller has, so it never
repeats either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from durable_streams.client.values import StreamEvent
from durable_streams.protocol.offsets import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_streams.client.decoding import Decoder
    from durable_streams.client.follower import Follower
    from durable_streams.client.portion import Portion, Position

T = TypeVar("T")


class Reader:
    """One pass over a stream, behind its first page.

    Args:
        follower: brings the further portions.
        start: where the pass starts.
        first: the first page.
        follow: go on at the tail; false ends there.
    """

    def __init__(self, follower: Follower, start: Position, first: Portion, *, follow: bool) -> None:
        self.position = start if first.parts else first.after
        self._follower = follower
        self._first = first
        self._follow = follow

    async def events(
        self, decoder: Decoder[T], *, by_events: bool = False, to_tail: bool = False
    ) -> AsyncIterator[StreamEvent[T]]:
        """Yield one event per portion, and one without data for every other change of state.

        Args:
            decoder: gives the events' payloads.
            by_events: at the tail, use an event stream rather than long-polls.
            to_tail: end at the tail even if this pass follows.
        """
        last = None
        async for value, after in self._deliveries(decoder, by_events=by_events, to_tail=to_tail):
            self.position = after
            state = (after.offset, after.up_to_date, after.closed)
            if value is not None or state != last:
                last = state
                yield StreamEvent(value, after.offset or START, after.up_to_date, after.cursor, after.closed)

    async def items(self, decoder: Decoder[list[T]], *, by_events: bool) -> AsyncIterator[T]:
        """Yield the items of all portions; the position moves with the last item of each."""
        async for items, after in self._deliveries(decoder, by_events=by_events, to_tail=False):
            for item in (items or [])[:-1]:
                yield item
            self.position = after
            if items:
                yield items[-1]

    async def _deliveries(
        self, decoder: Decoder[T], *, by_events: bool, to_tail: bool
    ) -> AsyncIterator[tuple[T | None, Position]]:
        portion = self._first
        while True:
            value = decoder.feed(portion.parts) if portion.parts else None
            ends = portion.after.closed or (portion.after.up_to_date and (to_tail or not self._follow))
            if decoder.holding and ends:
                value = decoder.finish()
            if not decoder.holding or ends:
                yield value, portion.after
            if ends:
                return
            # An event stream opened within a character could only show its second half as broken.
            portion = await self._follower.next_portion(by_events=by_events and not decoder.holding)

"""What is on its way to clients, over all connections: counted, bounded, and held once however many are sent it.

Owns: the account of unsent bytes; which parcels may be shared; who waits for room.
Must not know: transports, what is sent.

A parcel is bytes that were made for clients. It counts from its making until nobody holds it any more: its maker while
it is written, and every connection whose client has not taken it. Where the account is full, nothing more is made: a
request is refused (503), who reads already waits for room, and who follows a tail falls behind and reads by offset.
Invariants: ``held_bytes`` is the sum of the parcels there are; who waits is called once there is room.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from durable_streams.protocol.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

PARCEL_BYTES: Final = 256
"""What a parcel costs beside its bytes, and so counts for."""
SMALL_MAX_BYTES: Final = 16 * 1024
"""What a connection may hold unsent before it counts: its transport says nothing of less."""


class Parcel:
    """Bytes on their way. ``payload``: what is written to each connection that is sent it."""

    __slots__ = ("__weakref__", "_outgoing", "payload")

    def __init__(self, outgoing: Outgoing, payload: bytes) -> None:
        self._outgoing, self.payload = outgoing, payload
        outgoing.count(len(payload) + PARCEL_BYTES)

    def __del__(self) -> None:
        """The last connection that held it has sent it, or has gone."""
        self._outgoing.count(-len(self.payload) - PARCEL_BYTES)


class Outgoing:
    """The account. The loop's thread only.

    Args:
        max_bytes: when so many are held nothing more is made. What is made while there is room may exceed it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0
        self._shared: WeakValueDictionary[Hashable, Parcel] = WeakValueDictionary()
        self._waiting: dict[Callable[[], None], None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_due = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be made."""
        return self.held_bytes >= self._max_bytes

    def check(self) -> None:
        """Raise ``OverloadedError`` where the account is full."""
        if self.is_full:
            raise OverloadedError("clients take their answers too slowly: too much of them is held")

    def parcel(self, payload: bytes) -> Parcel:
        """Return a parcel of its own, whether there is room or not."""
        return Parcel(self, payload)

    def shared(self, key: Hashable, make: Callable[[], bytes]) -> Parcel:
        """Return the parcel that is on its way under this key, or one of what ``make`` returns.

        Args:
            key: equal keys mean equal bytes, for ever.
            make: called if there is none.
        """
        parcel = self._shared.get(key)
        if parcel is None:
            parcel = self._shared[key] = Parcel(self, make())
        return parcel

    def count(self, by_bytes: int) -> None:
        """Something that counts has come, or with less than 0 has gone: a parcel, or what a live reader costs."""
        self.held_bytes += by_bytes
        if by_bytes < 0 and self._waiting:
            self._soon()

    def _soon(self) -> None:
        if self._loop is not None and not (self._is_due or self.is_full or self._loop.is_closed()):
            self._is_due = True
            self._loop.call_soon(self._tell)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` in a later turn, once there is room; it may find that others have taken it."""
        self._loop = asyncio.get_running_loop()
        self._waiting[go_on] = None
        self._soon()

    async def room(self) -> None:
        """Wait until there is room, or was a moment ago."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not told.done():
                told.set_result(None)

        self.wait(tell)
        try:
            await told
        finally:
            self.leave(tell)

    def leave(self, go_on: Callable[[], None]) -> None:
        """Wait no longer, no error if it does not."""
        self._waiting.pop(go_on, None)

    def _tell(self) -> None:
        """Call one after the other while there is room; who makes nothing leaves it to the next."""
        self._is_due = False
        for go_on in tuple(self._waiting):
            if self.is_full:
                return
            if go_on in self._waiting:
                del self._waiting[go_on]
                go_on()

"""What commits do to streams, told to those who follow them and to the packer.

Must not know: who follows, what is packed when. Implements ``commit.committer.Observer``.
Invariant: writers are answered first; a thousand readers may follow one stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.protocol.errors import GoneError, NotFoundError, ReplacedError

if TYPE_CHECKING:
    from durable_streams.commit.batch import Slot
    from durable_streams.protocol.errors import StreamError
    from durable_streams.protocol.head import Head
    from durable_streams.streams.packer import Packer
    from durable_streams.streams.tail import Hub


class Publisher:
    """Tells the tail and the packer. The loop's thread only."""

    def __init__(self, hub: Hub, packer: Packer) -> None:
        self._hub, self._packer = hub, packer
        self._unpublished: list[tuple[Head, bytes]] = []

    def applied(self, slot: Slot) -> None:
        """Say at once what has gone; keep what was added until its writers are answered."""
        before, head = slot.before, slot.head
        if before is not None and (head is None or head.sid != before.sid or head.soft_deleted):
            self._hub.gone(before.sid, _ending_of(head, slot.path))
            self._packer.forget(before.sid)
        if head is not None and not head.soft_deleted:
            payload = slot.pieces[0] if len(slot.pieces) == 1 else b"".join(slot.pieces)
            if payload:
                self._packer.appended(head.sid, head.tail - len(payload), head.tail, now_ms=head.touched_ms)
            if self._hub.is_followed(head.sid):
                self._unpublished.append((head, payload))

    def lost(self, slot: Slot) -> None:
        """Nobody was told of it."""

    def settled(self) -> None:
        """Hand what the commit added to those who follow."""
        unpublished, self._unpublished = self._unpublished, []
        for head, payload in unpublished:
            self._hub.publish(head, payload)
        self._hub.tell()


def _ending_of(head: Head | None, path: str) -> StreamError:
    """Return what has become of an incarnation of which ``head`` is what now stands at its path."""
    if head is None:
        return NotFoundError(path)
    return GoneError(path) if head.soft_deleted else ReplacedError(path)

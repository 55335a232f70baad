"""The links of one subscription: which streams, by what, and how far acknowledged.

Owns: their place in the store. A link is a producer row of the subscription's incarnation: the id is the stream's path,
the epoch its link bits, the seq its cursor as a byte position. Must not know: what a cursor's move means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.protocol.offsets import format_offset
from durable_streams.subscriptions.matcher import EXPLICIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.engine.base import Engine
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.producer import Fence

PAGE: Final = 1_000
SHOWN_MAX: Final = 1_000
"""Links shown to a worker at once; of a subscription with more, only pending ones."""


class Link(NamedTuple):
    """One linked stream as a worker sees it (§7.1).

    acked, tail: byte positions. sid: the stream's incarnation, 0 for none.
    """

    path: str
    bits: int
    acked: int
    tail: int
    sid: int

    @property
    def is_pending(self) -> bool:
        """Whether the stream is past the cursor."""
        return self.tail > self.acked

    @property
    def link_type(self) -> str:
        """§6.1: explicit takes precedence."""
        return "explicit" if self.bits & EXPLICIT else "glob"


def link_fields(link: Link) -> dict[str, object]:
    """Return a link as receivers and claimants are shown it (§7.1, §7.2)."""
    return {
        "path": link.path,
        "link_type": link.link_type,
        "acked_offset": format_offset(link.acked),
        "tail_offset": format_offset(link.tail),
        "has_pending": link.is_pending,
    }


def stream_state(batch: Batch, path: str) -> tuple[int, int]:
    """Return (tail, sid) of a stream as this batch leaves it; zeros for none, or a deleted one."""
    slot = batch.slots.get(path) or batch.slot(path)
    draft = slot.draft
    return (draft.tail, draft.sid) if draft is not None and not draft.soft_deleted else (0, 0)


def load_links(engine: Engine, sid: int, overlay: Mapping[str, Fence | None], *, after: str = "") -> Iterator[Link]:
    """Yield the links of a subscription in path order, streams as committed.

    Args:
        engine: the store.
        sid: the subscription's incarnation.
        overlay: links changed by a batch but not committed yet, ``None`` for removed ones.
        after: only paths that sort after this.
    """
    added = sorted((path for path, link in overlay.items() if link is not None), key=str.encode)
    while True:
        rows = engine.scan_producers(sid, after, PAGE)
        last = len(rows) < PAGE
        present = {row.producer_id: (row.epoch, row.seq) for row in rows}
        end = rows[-1].producer_id if rows else after
        for path in added:
            if path.encode() > after.encode() and (last or path.encode() <= end.encode()):
                present[path] = (0, 0)
        paths = sorted((path for path in present if overlay.get(path, True) is not None), key=str.encode)
        for path, head in zip(paths, engine.load(paths), strict=True):
            link = overlay.get(path)
            bits, acked = (link.epoch, link.seq) if link is not None else present[path]
            yield Link(path, bits, acked, *_committed(head))
        if last:
            return
        after = end


def load_some(engine: Engine, sid: int, streams: Sequence[str]) -> list[Link]:
    """Return the links of these streams that stand, as committed."""
    rows = engine.load_producers([(sid, stream) for stream in streams])
    found = zip(rows, engine.load(streams), strict=True)
    return [Link(row.producer_id, row.epoch, row.seq, *_committed(head)) for row, head in found if row is not None]


def has_many(engine: Engine, sid: int) -> bool:
    """Whether a subscription has more links than are shown at once."""
    return len(engine.scan_producers(sid, "", SHOWN_MAX + 1)) > SHOWN_MAX


def cut(links: list[Link]) -> list[Link]:
    """Return at most ``SHOWN_MAX`` links: all, or pending ones only."""
    return links if len(links) <= SHOWN_MAX else [link for link in links if link.is_pending][:SHOWN_MAX]


def load_link(batch: Batch, slot: Slot, stream: str) -> Link | None:
    """Return one link as this batch leaves it."""
    fence = batch.fence(slot, stream)
    return None if fence is None else Link(stream, fence.epoch, fence.seq, *stream_state(batch, stream))


def _committed(head: Head | None) -> tuple[int, int]:
    return (head.tail, head.sid) if head is not None and not head.soft_deleted else (0, 0)

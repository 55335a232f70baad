"""The links of one subscription: which streams, by what, and how far acknowledged.

Owns: their place in the store, where engines know rows of producers only. A link is the row of a producer on the
subscription's incarnation whose id is the stream's path; ``encode_link`` and ``decode_link`` say what its numbers are.
Must not know: what a cursor's move means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.protocol.errors import DamagedError
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.producer import Fence
from durable_streams.subscriptions.matcher import EXPLICIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.engine.base import Engine, ProducerRow
    from durable_streams.protocol.head import Head

PAGE: Final = 1_000
SHOWN_MAX: Final = 1_000
"""Links shown to a worker at once; of a subscription with more, only pending ones."""


class LinkRow(NamedTuple):
    """What is stored of a link.

    bits: by what the stream is linked, ``EXPLICIT`` and ``GLOB``; never 0. acked: the cursor, a byte position.
    """

    bits: int
    acked: int

    @property
    def is_explicit(self) -> bool:
        """Whether the stream is linked by name, be it by pattern too."""
        return bool(self.bits & EXPLICIT)


def encode_link(row: LinkRow) -> Fence:
    """Return the numbers by which the store keeps a link: the bits as an epoch, the cursor as a seq."""
    return Fence(epoch=row.bits, seq=row.acked)


def decode_link(stored: Fence | ProducerRow) -> LinkRow:
    """Return the link that ``encode_link`` made these numbers of."""
    return LinkRow(bits=stored.epoch, acked=stored.seq)


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
    """Return (tail, sid) of a stream as this batch leaves it; zeros for none, a deleted or a damaged one."""
    try:
        slot = batch.slots.get(path) or batch.slot(path)
    except DamagedError:
        return (0, 0)
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
    while True:
        rows = engine.scan_producers(sid, after, PAGE)
        last = len(rows) < PAGE
        present: dict[str, Fence | ProducerRow] = {row.producer_id: row for row in rows}
        end = rows[-1].producer_id if rows else after
        for path, changed in overlay.items():
            if changed is None:
                present.pop(path, None)
            elif path.encode() > after.encode() and (last or path.encode() <= end.encode()):
                present[path] = changed
        paths = sorted(present, key=str.encode)
        for path, head in zip(paths, _loaded(engine, paths), strict=True):
            yield Link(path, *decode_link(present[path]), *_committed(head))
        if last:
            return
        after = end


def load_some(engine: Engine, sid: int, streams: Sequence[str]) -> list[Link]:
    """Return the links of these streams that stand, as committed."""
    rows = engine.load_producers([(sid, stream) for stream in streams])
    found = zip(rows, _loaded(engine, streams), strict=True)
    return [Link(row.producer_id, *decode_link(row), *_committed(head)) for row, head in found if row is not None]


def has_many(engine: Engine, sid: int) -> bool:
    """Whether a subscription has more links than are shown at once."""
    return len(engine.scan_producers(sid, "", SHOWN_MAX + 1)) > SHOWN_MAX


def cut(links: list[Link]) -> list[Link]:
    """Return at most ``SHOWN_MAX`` links: all, or pending ones only."""
    return links if len(links) <= SHOWN_MAX else [link for link in links if link.is_pending][:SHOWN_MAX]


def link_row(batch: Batch, slot: Slot, stream: str) -> LinkRow | None:
    """Return what is stored of one link as this batch leaves it."""
    stored = batch.fence(slot, stream)
    return None if stored is None else decode_link(stored)


def load_link(batch: Batch, slot: Slot, stream: str) -> Link | None:
    """Return one link as this batch leaves it."""
    row = link_row(batch, slot, stream)
    return None if row is None else Link(stream, *row, *stream_state(batch, stream))


def _loaded(engine: Engine, paths: Sequence[str]) -> list[Head | None]:
    """Return the heads at these paths; a damaged one is none, so that the links beside it are served."""
    try:
        return engine.load(paths)
    except DamagedError:
        return [_standing(engine, path) for path in paths]


def _standing(engine: Engine, path: str) -> Head | None:
    try:
        return engine.load([path])[0]
    except DamagedError:
        return None


def _committed(head: Head | None) -> tuple[int, int]:
    return (head.tail, head.sid) if head is not None and not head.soft_deleted else (0, 0)

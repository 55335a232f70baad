"""A batch: the drafts of every stream that one commit touches, and the mutations they become.

Owns: drafts, appended bytes and fences between loading and committing; which streams must win or lose together.
Must not know: where commands come from or who waits for them.
Invariant: nothing here is visible to a reader; a batch that loses is simply dropped.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from durable_streams.engine.base import Chunk, Mutation, ProducerRow
from durable_streams.protocol import content_types
from durable_streams.protocol.chunks import CHUNK_TARGET_BYTES, split_chunks
from durable_streams.protocol.create import decide_delete, release
from durable_streams.protocol.draft import Draft
from durable_streams.protocol.errors import GoneError, NotFoundError
from durable_streams.protocol.expiry import is_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.commit.heads import Entry, HeadCache
    from durable_streams.protocol.head import Head, Record
    from durable_streams.protocol.producer import Fence


class Watch(Protocol):
    """Hears of changes of streams while they are decided, and may add its own to the same batch."""

    def grew(self, batch: Batch, slot: Slot, start: int) -> None:
        """A stream has bytes from ``start`` to its draft's tail that it had not before."""

    def removed(self, batch: Batch, path: str) -> None:
        """A stream was deleted, softly or at once, or has expired."""

    def permits(self, batch: Batch, path: str, write_token: str) -> bool:
        """Whether this token lets its holder append to the stream now."""

    def reset(self) -> None:
        """What was told of the present batch has come to nothing."""


class Slot:
    """One path in a batch: the head before, the draft after, and what was added in between.

    start: offset of the first of ``pieces``. fences: changed producers, ``None`` for one to be forgotten.
    group: the slots that must be applied together with this one.
    """

    __slots__ = ("before", "changed", "draft", "fences", "group", "head", "path", "pieces", "start")

    def __init__(self, path: str, before: Head | None, draft: Draft | None) -> None:
        self.path, self.before, self.draft = path, before, draft
        self.pieces: list[bytes] = []
        self.start = draft.tail if draft else 0
        self.fences: dict[str, Fence | None] = {}
        self.changed = False
        self.group: list[Slot] = [self]
        self.head: Head | None = None

    def mutation(self, version: int) -> Mutation:
        """Return what the engine has to do; fixes ``head``."""
        expected = (self.before.sid, self.before.version) if self.before else None
        if self.draft is None:
            return Mutation(self.path, expected, None)
        self.head = self.draft.head(version)
        chunks = self._chunks(self.draft.record)
        if not self.fences:
            return Mutation(self.path, expected, self.head, chunks)
        rows = [ProducerRow(producer_id, *fence) for producer_id, fence in self.fences.items() if fence]
        forgotten = [producer_id for producer_id, fence in self.fences.items() if fence is None]
        return Mutation(self.path, expected, self.head, chunks, rows, forgotten)

    def _chunks(self, record: Record) -> list[Chunk]:
        pieces = self.pieces
        if len(pieces) == 1 and len(pieces[0]) <= CHUNK_TARGET_BYTES:  # the usual case of a batch over many streams
            return [Chunk(self.start, pieces[0])]
        offset, chunks = self.start, []
        for payload in split_chunks(pieces, is_json=content_types.is_json(record.content_type)):
            chunks.append(Chunk(offset, payload))
            offset += len(payload)
        return chunks


class Batch:
    """The working state of one commit.

    Args:
        cache: heads and fences as last committed.
        now_ms: the batch's one moment.
        followed: whether a live reader holds this sid, which keeps its TTL from running out (§5.1).
        watch: is told of what grows and goes; ``None`` for nobody.
    """

    def __init__(
        self, cache: HeadCache, now_ms: int, followed: Callable[[int], bool], *, watch: Watch | None = None
    ) -> None:
        self._cache, self.followed, self.watch = cache, followed, watch
        self.now_ms = now_ms
        self.slots: dict[str, Slot] = {}
        self._loaded: dict[str, Entry | None] = {}
        self.looks = 0

    def look(self, count: int = 1) -> None:
        """Note that a command has looked at so many rows or slices beside its own: they count against the batch."""
        self.looks += count

    def load(self, paths: Sequence[str]) -> None:
        """Load the heads of many paths at once, for the commands that are about to look at them."""
        self._loaded.update(self._cache.load([path for path in paths if path not in self.slots]))

    def is_changing(self, path: str) -> bool:
        """Whether a command of this batch has changed what stands at a path."""
        slot = self.slots.get(path)
        return slot is not None and slot.changed

    def load_fences(self, paths: Sequence[str], producer_id: str) -> None:
        """Load one producer's fences on many streams at once, for the command that is about to look at them."""
        self._cache.load_fences(paths, producer_id)

    def slot(self, path: str) -> Slot:
        """Return the slot of a path, loading its head at first sight and ending it first if its time is over."""
        slot = self.slots.get(path)
        if slot is None:
            entry = self._loaded[path] if path in self._loaded else self._cache.entry(path)
            draft = Draft.of(entry.head, entry.touched_ms) if entry else None
            slot = self.slots[path] = Slot(path, entry.head if entry else None, draft)
        draft = slot.draft
        # Most streams have no deadline, and so no row in the due index. (Nor has one at 1970-01-01T00:00:00Z.)
        if draft is not None and (draft.due_ms or draft.record.expires_at_ms is not None):
            self._end_if_over(slot, draft)
        return slot

    def _end_if_over(self, slot: Slot, draft: Draft) -> None:
        if not draft.soft_deleted and self._is_over(draft):
            self.delete(slot)

    def _is_over(self, draft: Draft) -> bool:
        return is_over(draft.record, draft.touched_ms, self.now_ms, followed=partial(self.followed, draft.sid))

    def existing(self, path: str) -> tuple[Slot, Draft]:
        """Return slot and draft of a stream that clients may use.

        Raises:
            NotFoundError: none, or expired.
            GoneError: soft-deleted.
        """
        slot = self.slot(path)
        draft = slot.draft
        if draft is None:
            raise NotFoundError(path)
        if draft.state and draft.soft_deleted:
            raise GoneError(path)
        return slot, draft

    def fence(self, slot: Slot, producer_id: str) -> Fence | None:
        """Return a producer's fence as this batch sees it."""
        fence = slot.fences.get(producer_id)
        if producer_id in slot.fences:
            return fence
        if slot.draft is not None and slot.before is not None and slot.before.sid == slot.draft.sid:
            fence = self._cache.fence(slot.path, slot.draft.sid, producer_id)
        return fence

    def add(self, slot: Slot, added: bytes) -> None:
        """Record the bytes by which an accepted append has moved its draft's tail, which may be none."""
        slot.changed = True
        if added:
            slot.pieces.append(added)
        if self.watch is not None and added and slot.draft is not None:
            self.watch.grew(self, slot, slot.draft.tail - len(added))

    def put(self, slot: Slot, sid: int, record: Record) -> Draft:
        """Set a new incarnation at a path that holds none; its own bytes start where its lineage ends."""
        if slot.draft is not None:
            raise AssertionError(f"{slot.path!r} is taken")
        slot.draft = Draft(slot.path, sid, record, now_ms=self.now_ms)
        slot.start = record.fork.base if record.fork else 0
        slot.changed = True
        return slot.draft

    def refer(self, slot: Slot, source: Slot) -> None:
        """Count a fork that is about to be put at ``slot`` on its source (§2 Reference Count), and slide its TTL."""
        if source.draft is None:
            raise AssertionError(f"{source.path!r} is no source")
        source.draft.refs += 1
        source.draft.touch(self.now_ms)
        source.changed = True
        self.link(slot, source)

    def delete(self, slot: Slot) -> None:
        """Delete or soft-delete, and take the reference off the source, up the chain (§4.2 cascade).

        Raises:
            DamagedError: a source that goes or loses a reference with it is damaged; nothing has changed.
        """
        if slot.draft is not None:
            self._load_sources(slot.draft)
        slot.changed = True
        if slot.draft is not None and decide_delete(slot.draft):
            self._remove(slot, slot.draft)
        if self.watch is not None:
            self.watch.removed(self, slot.path)

    def _load_sources(self, draft: Draft) -> None:
        """Load whatever changes with this one, so that what cannot be loaded refuses before anything has changed."""
        goes = draft.refs == 0
        while goes and draft.record.fork is not None:
            source = self.slot(draft.record.fork.source_path).draft
            if source is None:
                return
            draft, goes = source, source.soft_deleted and source.refs == 1

    def _remove(self, slot: Slot, draft: Draft) -> None:
        slot.draft, slot.pieces, slot.fences, slot.changed = None, [], {}, True
        fork = draft.record.fork
        if fork is None:
            return
        source = self.slot(fork.source_path)
        if source.draft is None or source.draft.sid != fork.source_sid:
            raise AssertionError(f"{draft.path!r} held a reference on a stream that is gone")
        self.link(slot, source)
        source.changed = True
        if release(source.draft):
            self._remove(source, source.draft)

    def link(self, one: Slot, other: Slot) -> None:
        """Make two slots win or lose together."""
        if one.group is not other.group:
            one.group.extend(other.group)
            for slot in other.group:
                slot.group = one.group

    def groups(self) -> list[list[Slot]]:
        """Return the changed slots by group, each group once, in the order first touched. Called once, at the end."""
        seen: set[int] = set()
        groups = []
        for slot in self.slots.values():
            if id(slot.group) not in seen:
                seen.add(id(slot.group))
                changed = [member for member in slot.group if member.changed and (member.before or member.draft)]
                if changed:
                    groups.append(changed)
        for slot in self.slots.values():
            slot.group = []  # a slot in a cycle would keep its bytes until the next full garbage collection
        return groups

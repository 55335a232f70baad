"""Heads in memory: what this process last saw of each stream it uses.

Owns: a bounded cache of heads and producer fences, and read touches that are not written down yet.
Must not know: who decides on them.
Invariant: an entry is a hint. A write built on a stale head loses its compare-and-swap; then the entry is dropped
(``forget``), and the next look loads the head from the engine.

A touch is the time of a read or write that slides a TTL (§5.1). Writes store it with their head. Reads must not cost a
commit each, so a touch by a read is kept here, and written down when it is far enough from the stored one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from durable_streams.engine.base import Touch
from durable_streams.protocol.errors import DamagedError
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.producer import Fence, as_fence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durable_streams.engine.base import Engine
    from durable_streams.protocol.head import Head

FENCES_MAX: Final = 1024
"""Fences kept for each stream. One that was dropped is loaded again."""
CACHE_MAX_BYTES: Final = 64 * 1024 * 1024
"""What all that is kept may cost, heads and fences; beyond it the streams used longest ago are dropped."""
_HEAD_BYTES: Final = 2_048
_FENCE_BYTES: Final = 320
"""What a head costs beside its record, and a fence beside its producer's id."""
TOUCH_SHARE: Final = 32
"""A read touch is written down once it is newer than the stored one by this share of the TTL, a 32nd."""
TOUCH_MIN_MS: Final = 1_000
"""A read touch that is newer by less than this is not written down, however short the TTL."""


class Entry:
    """One cached stream. touched_ms: its last touch known here, Unix milliseconds, whether it is stored or not."""

    __slots__ = ("cost_bytes", "fences", "head", "touched_ms")

    def __init__(self, head: Head) -> None:
        self.head, self.touched_ms = head, head.touched_ms
        self.fences: dict[str, Fence | None] = {}
        self.cost_bytes = _HEAD_BYTES + 2 * len(head.record) + len(head.path)


class HeadCache:
    """Heads loaded from the engine on demand. The loop's thread only.

    Args:
        engine: the store.
        max_count: heads kept; beyond it the one used longest ago is dropped.
    """

    def __init__(self, engine: Engine, max_count: int) -> None:
        self._engine, self._max_count = engine, max_count
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._touches: dict[str, Touch] = {}
        self.cost_bytes = 0

    def entry(self, path: str) -> Entry | None:
        """Return what stands at a path, ``None`` for nothing. That nothing stands there is not cached."""
        entry = self._entries.get(path)
        if entry is not None:
            self._entries.move_to_end(path)
            return entry
        (head,) = self._engine.load([path])
        return None if head is None else self._take_in(head)

    def _take_in(self, head: Head) -> Entry:
        entry = self._keep(head)
        touch = self._touches.get(head.path)
        if touch is not None and touch.sid == head.sid:
            entry.touched_ms = max(entry.touched_ms, touch.touched_ms)
        return entry

    def load(self, paths: Sequence[str]) -> dict[str, Entry | None]:
        """Return what stands at each of many paths, by one look into the store for all that are not kept.

        Where one of those is damaged they are left out: whoever looks at that one is told.
        """
        unknown = dict.fromkeys(path for path in paths if path not in self._entries)
        found: dict[str, Entry | None] = {path: self._entries[path] for path in paths if path not in unknown}
        if unknown:
            try:
                heads = self._engine.load([*unknown])
            except DamagedError:
                return found
            for path, head in zip(unknown, heads, strict=True):
                found[path] = None if head is None else self._take_in(head)
        return found

    def fence(self, path: str, sid: int, producer_id: str) -> Fence | None:
        """Return a producer's committed fence on incarnation ``sid``, ``None`` for a producer not seen there."""
        entry = self._entries.get(path)
        if entry is None or entry.head.sid != sid:
            return as_fence(self._engine.load_producers([(sid, producer_id)])[0])
        if producer_id not in entry.fences:
            row = self._engine.load_producers([(sid, producer_id)])[0]
            self._remember(entry, {producer_id: as_fence(row)})
        return entry.fences[producer_id]

    def load_fences(self, paths: Sequence[str], producer_id: str) -> None:
        """Have a producer's fences on many streams that are kept ready, by one look into the store.

        Where one of them is damaged nothing is: whoever looks at that one is told.
        """
        kept = [entry for path in paths if (entry := self._entries.get(path)) is not None]
        unknown = [entry for entry in kept if producer_id not in entry.fences]
        if not unknown:
            return
        try:
            rows = self._engine.load_producers([(entry.head.sid, producer_id) for entry in unknown])
        except DamagedError:
            return
        for entry, row in zip(unknown, rows, strict=True):
            self._remember(entry, {producer_id: as_fence(row)})

    def store(self, head: Head, fences: Mapping[str, Fence | None]) -> None:
        """Keep a committed head, and the fences committed with it by producer id: ``None`` for one removed."""
        entry = self._entries.get(head.path)
        if entry is None or entry.head.sid != head.sid:
            entry = self._keep(head)
        entry.head = head
        if head.touched_ms > entry.touched_ms:  # noqa: PLR1730 max() costs three times as much
            entry.touched_ms = head.touched_ms
        if fences:
            self._remember(entry, fences)

    def forget(self, path: str) -> None:
        """Drop an entry: its stream was removed, or the entry proved stale."""
        entry = self._entries.pop(path, None)
        if entry is not None:
            self.cost_bytes -= entry.cost_bytes

    def latest_touch_ms(self, head: Head) -> int:
        """Return when a stored head was last touched as far as is known here, whether that is written down or not."""
        known_ms = [head.touched_ms]
        entry, touch = self._entries.get(head.path), self._touches.get(head.path)
        if entry is not None and entry.head.sid == head.sid:
            known_ms.append(entry.touched_ms)
        if touch is not None and touch.sid == head.sid:
            known_ms.append(touch.touched_ms)
        return max(known_ms)

    def touch(self, entry: Entry, now_ms: int) -> None:
        """Note a read or write that slides a TTL (§5.1); upkeep writes it down by ``take_touches``.

        Args:
            entry: the stream's.
            now_ms: Unix milliseconds; an earlier time than the last one changes nothing.
        """
        if now_ms <= entry.touched_ms:
            return
        entry.touched_ms = now_ms
        head = entry.head
        ttl_s = decode_record(head.record).ttl_s
        if ttl_s is not None and now_ms - head.touched_ms >= max(TOUCH_MIN_MS, ttl_s * 1000 // TOUCH_SHARE):
            self._touches[head.path] = Touch(head.path, head.sid, now_ms)

    def rebase(self, now_ms: int) -> None:
        """Take back touches later than this, Unix milliseconds: the clock was ahead when they were noted."""
        for entry in self._entries.values():
            entry.touched_ms = min(entry.touched_ms, now_ms)
        for path, touch in self._touches.items():
            self._touches[path] = touch._replace(touched_ms=min(touch.touched_ms, now_ms))

    def take_touches(self) -> list[Touch]:
        """Return the touches to write down, and count them as written."""
        touches, self._touches = list(self._touches.values()), {}
        for touch in touches:
            entry = self._entries.get(touch.path)
            if entry is not None and entry.head.sid == touch.sid:
                entry.head = entry.head._replace(touched_ms=max(entry.head.touched_ms, touch.touched_ms))
        return touches

    def put_back(self, touches: list[Touch]) -> None:
        """Keep touches for another time: the store had no room for them."""
        for touch in touches:
            self._touches.setdefault(touch.path, touch)

    def take_all_touches(self) -> list[Touch]:
        """Return every touch newer than its stored head, for a clean shutdown."""
        for entry in self._entries.values():
            if entry.touched_ms > entry.head.touched_ms:
                self._touches[entry.head.path] = Touch(entry.head.path, entry.head.sid, entry.touched_ms)
        return self.take_touches()

    def _keep(self, head: Head) -> Entry:
        self.forget(head.path)
        entry = self._entries[head.path] = Entry(head)
        self.cost_bytes += entry.cost_bytes
        if len(self._entries) > self._max_count:
            self._drop_oldest()
        self._keep_within()
        return entry

    def _keep_within(self) -> None:
        while self.cost_bytes > CACHE_MAX_BYTES and len(self._entries) > 1:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._entries.popitem(last=False)
        self.cost_bytes -= oldest.cost_bytes
        if oldest.touched_ms > oldest.head.touched_ms:
            stale = oldest.head
            self._touches[stale.path] = Touch(stale.path, stale.sid, oldest.touched_ms)

    def _remember(self, entry: Entry, fences: Mapping[str, Fence | None]) -> None:
        known = entry.fences
        added_bytes = sum(_FENCE_BYTES + len(name) for name in fences if name not in known)
        known.update(fences)
        while len(known) > FENCES_MAX:
            name = next(iter(known))
            added_bytes -= _FENCE_BYTES + len(name)
            del known[name]
        if added_bytes:
            entry.cost_bytes += added_bytes
            if self._entries.get(entry.head.path) is entry:
                self.cost_bytes += added_bytes
                self._keep_within()

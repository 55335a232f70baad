"""The use cases: create, append, close, read, follow, fork, delete, list.

Owns: what happens to a stream when it is asked for something. Must not know: HTTP, sockets, how bytes are stored.
Invariants: every change goes through the committer; every read sees committed state only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.commands import AppendCommand, CreateCommand, DeleteCommand, ExpireCommand
from durable_streams.engine.base import EngineError
from durable_streams.many import ManyCommand
from durable_streams.protocol.errors import GoneError, NotFoundError, ReplacedError
from durable_streams.protocol.expiry import deadline_ms, is_expired
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.paths import RESERVED
from durable_streams.protocol.read import resolve_start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.batch import Slot
    from durable_streams.committer import Committer
    from durable_streams.engine.base import Engine
    from durable_streams.heads import Entry, HeadCache
    from durable_streams.many import AppendOutcome
    from durable_streams.protocol.append import Append, Appended, Duplicate
    from durable_streams.protocol.create import Create, Created
    from durable_streams.protocol.errors import StreamError
    from durable_streams.protocol.head import Head
    from durable_streams.reader import Reader
    from durable_streams.runtime import Runtime
    from durable_streams.tail import Hub

_RESERVED_START: Final = f"{RESERVED}/"
_RESERVED_END: Final = f"{RESERVED}/\U0010ffff"
"""Sorts after every control path, by code point as by UTF-8 byte."""


class Streams:
    """The streams of one store. The loop's thread only."""

    def __init__(
        self, engine: Engine, committer: Committer, cache: HeadCache, *, reader: Reader, hub: Hub, runtime: Runtime
    ) -> None:
        self._engine, self._committer, self._cache, self.reader = engine, committer, cache, reader
        self._packer = reader.packer
        self._unpublished: list[tuple[Head, bytes]] = []
        self.hub, self._clock, self._chance = hub, runtime.clock, runtime.chance
        committer.on_applied = self._applied
        committer.on_settled = self._publish
        committer.followed = hub.is_followed
        hub.on_left = self._left

    def submit_append(
        self, path: str, request: Append, settle: Callable[[Appended | Duplicate | StreamError], None]
    ) -> None:
        """Queue an append; ``settle`` is called once, when its commit is durable or it is refused (§5.2)."""
        self._committer.submit(AppendCommand(path, request, settle))

    def submit_many(
        self,
        appends: Sequence[tuple[str, Append]],
        settle: Callable[[list[AppendOutcome] | StreamError], None],
        *,
        stop_at_refusal: bool,
    ) -> None:
        """Queue appends to be decided together and committed in one transaction; see ``ManyCommand``."""
        self._committer.submit(ManyCommand(appends, settle, stop_at_refusal=stop_at_refusal))

    def submit_create(self, path: str, request: Create, settle: Callable[[Created | StreamError], None]) -> None:
        """Queue a creation, or a fork (§5.1, §4.2)."""
        self._committer.submit(
            CreateCommand(path, request, settle, chance=self._chance, fork_base=self.reader.fork_base)
        )

    def submit_delete(
        self, path: str, settle: Callable[[bool | StreamError], None], if_match: frozenset[str] | None = None
    ) -> None:
        """Queue a deletion (§5.4); settled with whether the stream went at once rather than soft."""
        self._committer.submit(DeleteCommand(path, settle, if_match))

    def submit_expiry(self, path: str, settle: Callable[[bool | StreamError], None]) -> None:
        """Queue a look at whether a stream's time is over."""
        self._committer.submit(ExpireCommand(path, settle, self.hub.is_followed))

    def head(self, path: str) -> Head:
        """Return a stream's committed head, without sliding its TTL (§5.5).

        Raises:
            NotFoundError: none, or expired.
            GoneError: soft-deleted.
        """
        return self._entry(path).head

    def touched_head(self, path: str) -> Head:
        """Return a stream's committed head and slide its TTL, as every read does first (§5.1). Raises as ``head``."""
        entry = self._entry(path)
        self._cache.touch(entry, self._clock.now_ms())
        return entry.head

    def _entry(self, path: str) -> Entry:
        entry = self._cache.entry(path)
        if entry is None:
            raise NotFoundError(path)
        head = entry.head
        if head.soft_deleted:
            raise GoneError(path)
        if head.due_ms and self._is_over(head, entry.touched_ms, self._clock.now_ms()):
            # With forks it is deleted softly, now or when the sweep comes by: the answer is the same (§4.2).
            raise GoneError(path) if head.refs else NotFoundError(path)
        return entry

    def _is_over(self, head: Head, touched_ms: int, now_ms: int) -> bool:
        """Whether a stream has expired; a live reader keeps a TTL from running out (§5.1)."""
        record = decode_record(head.record)
        if not is_expired(record, touched_ms, now_ms):
            return False
        return record.ttl_s is None or not self.hub.is_followed(head.sid)

    def _left(self, path: str, sid: int) -> None:
        """The last live reader of a stream has left: its TTL starts anew, so that it can come back."""
        try:
            entry = self._cache.entry(path)
        except EngineError:  # the store has failed; nothing lives on in it
            return
        if entry is not None and entry.head.sid == sid:
            self._cache.touch(entry, self._clock.now_ms())

    def remaining_ms(self, head: Head) -> int | None:
        """Return how long the stream still lives if nobody touches it, ``None`` for ever."""
        entry = self._cache.entry(head.path)
        touched_ms = entry.touched_ms if entry else head.touched_ms
        deadline = deadline_ms(decode_record(head.record), touched_ms)
        return None if deadline is None else max(0, deadline - self._clock.now_ms())

    def begin_read(self, path: str, start: int | None) -> tuple[Head, int]:
        """Return a stream's head, its TTL slid, and the position at which a read begins: ``None`` is the tail (§5.6).

        Raises:
            NotFoundError, GoneError: no such stream.
            OffsetBeyondTailError, OffsetInsideMessageError: no such position.
        """
        head = self.touched_head(path)
        position = resolve_start(head, start)
        if start is not None:
            self.reader.check_aligned(head, position)
        return head, position

    def scan(self, prefix: str, after: str, limit: int) -> tuple[list[Head], str | None]:
        """Return one page of streams in path order, and the path to go on after, ``None`` at the end.

        Looks at ``limit`` heads; expired and deleted ones are left out of the page. Control paths count for nothing.
        """
        now_ms = self._clock.now_ms()
        heads = self._engine.scan(prefix, after, limit)
        if any(head.path.startswith(_RESERVED_START) for head in heads):
            heads = [head for head in heads if head.path < _RESERVED_START]
            heads += self._engine.scan(prefix, max(after, _RESERVED_END), limit - len(heads))
        next_after = heads[-1].path if len(heads) == limit else None
        return [head for head in heads if self._listed(head, now_ms)], next_after

    def _listed(self, head: Head, now_ms: int) -> bool:
        if head.soft_deleted:
            return False
        return not self._is_over(head, self._cache.latest_touch_ms(head), now_ms)

    def _applied(self, slot: Slot) -> None:
        """Tell the tail what a commit did to one path."""
        before, head = slot.before, slot.head
        if before is not None and (head is None or head.sid != before.sid or head.soft_deleted):
            self.hub.gone(before.sid, _ending_of(head, slot.path))
            self._packer.forget(before.sid)
        if head is not None and not head.soft_deleted:
            payload = slot.pieces[0] if len(slot.pieces) == 1 else b"".join(slot.pieces)
            if payload:
                self._packer.appended(head.sid, head.tail - len(payload), head.tail, now_ms=head.touched_ms)
            if self.hub.is_followed(head.sid):
                self._unpublished.append((head, payload))

    def _publish(self) -> None:
        """Hand what a commit added to those who follow: writers are answered first, readers may be a thousand."""
        unpublished, self._unpublished = self._unpublished, []
        for head, payload in unpublished:
            self.hub.publish(head, payload)


def _ending_of(head: Head | None, path: str) -> StreamError:
    """Return what has become of an incarnation of which ``head`` is what now stands at its path."""
    if head is None:
        return NotFoundError(path)
    return GoneError(path) if head.soft_deleted else ReplacedError(path)

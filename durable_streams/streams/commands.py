"""The commands a batch is made of: append, create, delete, expire.

Owns: how one request becomes changes of drafts. Must not know: queues, threads, HTTP.
Invariant: ``decide`` checks everything before it changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from durable_streams.commit.command import SettledCommand
from durable_streams.protocol import create as rules
from durable_streams.protocol.append import Append, Appended, Duplicate, decide_append
from durable_streams.protocol.conditions import check_tail
from durable_streams.protocol.errors import NotFoundError, StreamError
from durable_streams.protocol.expiry import deadline_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.protocol.create import Create, Created, ForkRequest
    from durable_streams.protocol.draft import Draft
    from durable_streams.protocol.head import Record
    from durable_streams.runtime.clock import Chance


class ForkBase(Protocol):
    """Finds the byte position of ``sub_offset`` bytes or messages past ``anchor`` in a source (§4.2)."""

    def decide(self, batch: Batch, source: Draft, anchor: int, sub_offset: int) -> int:  # noqa: PLR0917 where and how far
        """Return the position; raise ``InvalidRequestError`` if there is none."""


class AppendCommand(SettledCommand["Appended | Duplicate"]):
    """Append and close (§5.2, §5.3)."""

    __slots__ = ("_request",)

    def __init__(
        self, path: str, request: Append, settle: Callable[[Appended | Duplicate | StreamError], None]
    ) -> None:
        payload = request.payload
        super().__init__(path, len(payload) if isinstance(payload, bytes) else 0, settle)
        self._request = request

    def decide(self, batch: Batch) -> None:
        """Apply to the draft, or find it applied before."""
        _, self._result = decide_on(batch, self.path, self._request)


def decide_on(batch: Batch, path: str, request: Append) -> tuple[Slot, Appended | Duplicate]:
    """Decide one append and put what it adds into the batch. Raises what ``decide_append`` raises, and 404 and 410."""
    slot, draft = batch.existing(path)
    fence = batch.fence(slot, request.triple.producer_id) if request.triple is not None else None
    permitted = draft.record.write_fenced and _is_permitted(batch, path, request.write_token)
    verdict = decide_append(draft, fence, request, now_ms=batch.now_ms, permitted=permitted)
    if isinstance(verdict, Appended):
        batch.add(slot, verdict.added)
        if verdict.triple is not None:
            slot.fences[verdict.triple.producer_id] = verdict.fence
    return slot, verdict


def _is_permitted(batch: Batch, path: str, token: str | None) -> bool:
    return token is not None and batch.watch is not None and batch.watch.permits(batch, path, token)


class CreateCommand(SettledCommand["Created"]):
    """Create, or fork (§5.1, §4.2)."""

    __slots__ = ("_chance", "_fork_base", "_request")

    def __init__(
        self,
        path: str,
        request: Create,
        settle: Callable[[Created | StreamError], None],
        *,
        chance: Chance,
        fork_base: ForkBase,
    ) -> None:
        super().__init__(path, len(request.payload) if isinstance(request.payload, bytes) else 0, settle)
        self._request, self._chance, self._fork_base = request, chance, fork_base

    def paths(self) -> Sequence[str]:
        """A fork rests on its source as well."""
        return (self.path, self._request.fork.source_path) if self._request.fork else (self.path,)

    def decide(self, batch: Batch) -> None:
        """Match what stands at the path, or put a new stream there."""
        slot = batch.slot(self.path)
        if slot.draft is not None:
            self._result = rules.match_existing(slot.draft, self._request)
            return
        fork, payload = self._request.fork, self._request.payload
        source = batch.slot(fork.source_path) if fork is not None else None
        if fork is not None and source is not None:
            record, base = self._inherit(batch, source, fork)
        else:
            record, base = rules.new_record(self._request), 0
        if isinstance(payload, StreamError):
            raise payload
        if source is not None:
            batch.refer(slot, source)
        draft = batch.put(slot, self._chance.sid(batch.now_ms), record)
        if payload:
            slot.pieces.append(payload)
        self._result = rules.start(draft, base, payload, closed=self._request.closed)
        if batch.watch is not None and draft.tail:
            batch.watch.grew(batch, slot, base)

    def _inherit(self, batch: Batch, source: Slot, fork: ForkRequest) -> tuple[Record, int]:
        if source.draft is None:
            raise NotFoundError(fork.source_path)
        anchor = rules.check_source(source.draft, self._request)
        base = self._fork_base.decide(batch, source.draft, anchor, fork.sub_offset)
        return rules.fork_record(source.draft, self._request, anchor=anchor, base=base), base


class DeleteCommand(SettledCommand[bool]):
    """Delete (§5.4). Result: whether it went at once rather than soft. ``if_match``: the tails it is deleted at."""

    __slots__ = ("_if_match",)

    def __init__(
        self, path: str, settle: Callable[[bool | StreamError], None], if_match: frozenset[str] | None = None
    ) -> None:
        super().__init__(path, 0, settle)
        self._if_match = if_match

    def decide(self, batch: Batch) -> None:
        """Take the stream away, or keep it for its forks only."""
        slot, draft = batch.existing(self.path)
        check_tail(self._if_match, draft.tail, closed=draft.closed)
        batch.delete(slot)
        self._result = slot.draft is None


class RebaseCommand(SettledCommand[bool]):
    """Take back a touch of a time that has not come: the clock was ahead. Result: whether there was one."""

    __slots__ = ()

    def __init__(self, path: str, settle: Callable[[bool | StreamError], None]) -> None:
        super().__init__(path, 0, settle)

    def decide(self, batch: Batch) -> None:
        """The stream counts as touched now."""
        slot = batch.slot(self.path)
        draft = slot.draft
        self._result = draft is not None and not draft.soft_deleted and draft.touched_ms > batch.now_ms
        if draft is not None and self._result:
            draft.touched_ms = batch.now_ms
            draft.due_ms = deadline_ms(draft.record, draft.touched_ms) or 0
            slot.changed = True


class ExpireCommand(SettledCommand[bool]):
    """End a stream whose time is over, or move its due row to its present deadline. Result: whether it ended."""

    __slots__ = ()

    def __init__(self, path: str, settle: Callable[[bool | StreamError], None]) -> None:
        super().__init__(path, 0, settle)

    def decide(self, batch: Batch) -> None:
        """Looking at the slot ends it if it is over; otherwise the row moves."""
        slot = batch.slot(self.path)
        draft = slot.draft
        self._result = draft is None
        if draft is None or draft.soft_deleted or draft.due_ms > batch.now_ms:
            return  # a soft-deleted one waits for its forks, not for a time
        if batch.followed(draft.sid):
            draft.touch(batch.now_ms)
        draft.due_ms = deadline_ms(draft.record, draft.touched_ms) or 0
        slot.changed = True

"""The use cases: create, append, close, read, follow, fork, delete, list.

Owns: what happens to a stream when it is asked for something. Must not know: HTTP, sockets, how bytes are stored.
Invariants: every change goes through the committer; every read sees committed state only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from durable_streams.engine.base import EngineError
from durable_streams.protocol.errors import GoneError, NotFoundError
from durable_streams.protocol.expiry import deadline_ms, is_over
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.paths import RESERVED
from durable_streams.protocol.read import Page, resolve_start
from durable_streams.streams.commands import AppendCommand, CreateCommand, DeleteCommand, ExpireCommand, RebaseCommand
from durable_streams.streams.forks import ForkBase
from durable_streams.streams.many import ManyCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from durable_streams.commit.committer import Committer
    from durable_streams.commit.heads import Entry, HeadCache
    from durable_streams.engine.base import Engine
    from durable_streams.protocol.append import Append, Appended, Duplicate
    from durable_streams.protocol.create import Create, Created
    from durable_streams.protocol.errors import StreamError
    from durable_streams.protocol.head import Head
    from durable_streams.protocol.sse import Encoding
    from durable_streams.runtime import Runtime
    from durable_streams.streams.many import Verdict
    from durable_streams.streams.pages import Pages
    from durable_streams.streams.tail import Follower, Hub

_RESERVED_START: Final = f"{RESERVED}/"
_RESERVED_END: Final = f"{RESERVED}/\U0010ffff"
"""Sorts after every control path, by code point as by UTF-8 byte."""


class Streams:
    """The streams of one store. The loop's thread only."""

    def __init__(
        self, engine: Engine, committer: Committer, cache: HeadCache, *, pages: Pages, hub: Hub, runtime: Runtime
    ) -> None:
        self._engine, self._committer, self._cache, self._pages = engine, committer, cache, pages
        self._hub, self._clock, self._chance = hub, runtime.clock, runtime.chance

    def submit_append(
        self, path: str, request: Append, settle: Callable[[Appended | Duplicate | StreamError], None]
    ) -> None:
        """Queue an append (§5.2).

        Args:
            path: the stream's.
            request: what to append.
            settle: called once: when the commit is durable, or with the refusal; at once if the queue is full.
        """
        self._committer.submit(AppendCommand(path, request, settle))

    def submit_many(
        self,
        appends: Sequence[tuple[str, Append]],
        settle: Callable[[list[Verdict] | StreamError], None],
        *,
        stop_at_refusal: bool,
    ) -> None:
        """Queue appends to be decided together and committed in one transaction.

        Args:
            appends: (path, request), in order.
            settle: called once: with a verdict on each append, or with the error that met all.
            stop_at_refusal: whether the first refusal ends them; see ``ManyCommand``.
        """
        self._committer.submit(ManyCommand(appends, settle, stop_at_refusal=stop_at_refusal))

    def fork_base(self) -> ForkBase:
        """Return what finds where one fork begins: to ``look`` ahead with, and to be given to ``submit_create``."""
        return ForkBase(self._pages, self._cache)

    def submit_create(
        self,
        path: str,
        request: Create,
        settle: Callable[[Created | StreamError], None],
        *,
        fork_base: ForkBase | None = None,
    ) -> None:
        """Queue a creation, or a fork (§5.1, §4.2); ``fork_base``: of this one, if it was looked for."""
        base = fork_base or self.fork_base()
        self._committer.submit(CreateCommand(path, request, settle, chance=self._chance, fork_base=base))

    def submit_delete(
        self, path: str, settle: Callable[[bool | StreamError], None], if_match: frozenset[str] | None = None
    ) -> None:
        """Queue a deletion (§5.4).

        Args:
            path: the stream's.
            settle: called once: with True if the stream went at once, False if it is kept for its forks.
            if_match: tags one of which must name the tail; ``None`` for no condition.
        """
        self._committer.submit(DeleteCommand(path, settle, if_match))

    def submit_expiry(self, path: str, settle: Callable[[bool | StreamError], None]) -> None:
        """Queue a look at whether a stream's time is over."""
        self._committer.submit(ExpireCommand(path, settle))

    def submit_rebase(self, path: str, settle: Callable[[bool | StreamError], None]) -> None:
        """Queue a look at whether a stream was touched at a time that has not come."""
        self._committer.submit(RebaseCommand(path, settle))

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
        return is_over(
            decode_record(head.record), touched_ms, now_ms, followed=partial(self._hub.is_followed, head.sid)
        )

    def load(self, paths: Sequence[str]) -> None:
        """Have the heads of many streams ready, by one look into the store, for whoever asks for each of them next."""
        self._cache.load(paths)

    def follow(self, head: Head, encoding: Encoding, follower: Follower, *, held: bytes = b"") -> None:
        """Tell ``follower`` of everything committed from ``head.tail`` on; see ``Hub.follow``."""
        self._hub.follow(head, encoding, follower, held=held)

    def unfollow(self, sid: int, follower: Follower) -> None:
        """Forget a follower. After the last one the stream's TTL starts anew, so that it can come back (§5.1)."""
        path = self._hub.unfollow(sid, follower)
        if path is None:
            return
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

    def open_at(self, path: str, start: int | None) -> tuple[Head, int]:
        """Return a stream's head, its TTL slid, and the position at which a read begins (§5.6).

        Args:
            path: the stream's.
            start: the offset asked for; ``None`` is the tail.

        Raises:
            NotFoundError, GoneError: no such stream.
            OffsetBeyondTailError, OffsetInsideMessageError: no such position.
        """
        head = self.touched_head(path)
        position = resolve_start(head, start)
        if start is not None:
            self._pages.check_aligned(head, position)
        return head, position

    @property
    def page_max_bytes(self) -> int:
        """Most bytes of a page, save that a single larger message goes whole."""
        return self._pages.page_max_bytes

    def page(self, head: Head, start: int, max_bytes: int | None = None) -> Page:
        """Return the page from ``start`` on; ``max_bytes`` and errors as in ``Pages.page``."""
        return self._pages.page(head, start, max_bytes)

    def piece(self, head: Head, start: int, end: int) -> bytes:
        """Return stored bytes from ``start`` on, for an answer that holds all up to ``end``; see ``Pages.piece``."""
        return self._pages.piece(head, start, end)

    def last_messages(self, path: str, count: int) -> Generator[None, None, int]:
        """Look for where the last ``count`` messages begin, in steps; see ``Pages.last_messages``."""
        return self._pages.last_messages(self.head(path), count)

    def scan(self, prefix: str, after: str, limit: int) -> tuple[list[Head], str | None]:
        """Return one page of streams in path order, and the path to go on after, ``None`` at the end.

        Args:
            prefix: what the paths start with; empty for all.
            after: the path behind which the page starts; empty for the first page.
            limit: heads looked at. Expired and deleted streams are among them and left out, so a page may be shorter.
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

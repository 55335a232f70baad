"""Decide what a commit changes, before anything is changed.

Owns: the compare-and-swap of groups of mutations, and which rows of which database follow from the ones that pass.
Must not know: LMDB; it sees stored head rows and answers with rows to put and to delete.
Invariant: a refused group leaves no trace in the plan.

All groups of a commit are checked against the heads as they were loaded plus the changes planned so far, and only then
written, each database in key order: one LMDB call per row costs a hand-over of the interpreter lock, so a head that ten
groups change is written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.engine.base import Outcome
from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.rows import Stamp, encode_head, encode_producer_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from durable_streams.engine.base import Chunk, Mutation
    from durable_streams.protocol.head import Head

    Rows: TypeAlias = dict[bytes, bytes | None]
    Step: TypeAlias = tuple[bytes, Stamp | None, Stamp | None, Mutation]
    """Path key, stamp before, stamp after, mutation."""


class Plan:
    """The rows that the admitted groups change: value by key in each database, ``None`` to delete.

    heads, sids, due, gc, chunks, producers: by encoded key; ``gc`` and ``chunks`` never delete.
    stamps: of the heads as planned, ``None`` for none. appended: sid and chunk of each row of ``chunks``, in order.
    """

    def __init__(
        self, path_keys: Mapping[str, bytes], stamps: dict[bytes, Stamp | None], is_taken: Callable[[bytes], bool]
    ) -> None:
        """Plan against stored heads.

        Args:
            path_keys: the encoded key of each path of the groups.
            stamps: what is stored under these keys; taken over.
            is_taken: whether a sid key is in use or in gc.
        """
        self._path_keys, self.stamps, self._is_taken = path_keys, stamps, is_taken
        self.appended: list[tuple[int, Chunk]] = []
        self.heads: Rows = {}
        self.sids: Rows = {}
        self.due: Rows = {}
        self.gc: Rows = {}
        self.chunks: Rows = {}
        self.producers: Rows = {}

    @property
    def adds(self) -> bool:
        """Whether the rows take more room than those they replace: bytes, producers or streams are new."""
        return bool(self.chunks or self.producers) or any(path is not None for path in self.sids.values())

    @property
    def only_appends(self) -> bool:
        """Whether all it does is to put rows of streams that are there: nothing is created, removed, or due anew."""
        if self.sids or self.due or self.gc or not self.heads:
            return False
        return None not in self.heads.values() and None not in self.producers.values()

    @property
    def chunk_bytes(self) -> int:
        """How many bytes of streams the rows add."""
        return sum(len(payload) for payload in self.chunks.values() if payload is not None)

    def apply(self, group: Sequence[Mutation]) -> Outcome:
        """Admit the group and plan its rows, or refuse it and plan nothing."""
        steps = self._check(group)
        if steps is None:
            return Outcome.CONFLICT
        for step in steps:
            self._stage(*step)
        return Outcome.APPLIED

    def _check(self, group: Sequence[Mutation]) -> list[Step] | None:
        steps: list[Step] = []
        seen: dict[bytes, Stamp | None] = {}
        fresh: set[int] = set()
        for mutation in group:
            key, head = self._path_keys[mutation.path], mutation.head
            old = seen[key] if key in seen else self.stamps.get(key)
            if mutation.expected != (old and old[:2]):
                return None
            new = None
            if head is not None:
                new = Stamp(head.sid, head.version, head.due_ms)
                if old is None or old.sid != head.sid:
                    if head.sid in fresh or self._sid_taken(head.sid):
                        return None
                    fresh.add(head.sid)
            seen[key] = new
            steps.append((key, old, new, mutation))
        return steps

    def _sid_taken(self, sid: int) -> bool:
        key = keys.encode_sid(sid)
        return key in self.sids or self._is_taken(key)

    def _stage(self, key: bytes, old: Stamp | None, new: Stamp | None, mutation: Mutation) -> None:  # noqa: PLR0917 - a step
        head = mutation.head
        if old is not None and (new is None or new.sid != old.sid):
            self._drop(old)
            old = None
        self.stamps[key] = new
        if head is None:
            self.heads[key] = None
            return
        if old is None:
            self.sids[keys.encode_sid(head.sid)] = key
        old_due_ms = old.due_ms if old else 0
        if head.due_ms != old_due_ms:
            self._move_due(old_due_ms, head, key)
        self.heads[key] = encode_head(head)
        self._add_rows(head.sid, mutation)

    def _drop(self, old: Stamp) -> None:
        """Take an incarnation away at once, but for its chunks and producer rows: those are ``collect``'s."""
        sid_key = keys.encode_sid(old.sid)
        self.sids[sid_key] = None
        self.gc[sid_key] = b""
        if old.due_ms:
            self.due[keys.encode_due(old.due_ms, old.sid)] = None

    def _move_due(self, old_due_ms: int, head: Head, path_key: bytes) -> None:
        if old_due_ms:
            self.due[keys.encode_due(old_due_ms, head.sid)] = None
        if head.due_ms:
            self.due[keys.encode_due(head.due_ms, head.sid)] = path_key

    def _add_rows(self, sid: int, mutation: Mutation) -> None:
        for chunk in mutation.chunks:
            self.chunks[keys.encode_chunk(sid, chunk.offset)] = chunk.payload
            self.appended.append((sid, chunk))
        for producer in mutation.producers:
            self.producers[keys.encode_producer(sid, producer.producer_id)] = encode_producer_row(producer)
        for producer_id in mutation.forgotten:
            self.producers[keys.encode_producer(sid, producer_id)] = None

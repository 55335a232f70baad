"""Whatever is done to it, in whatever order, the LMDB engine answers as the memory engine does, reopened or not."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durable_streams.engine.base import Chunk, Mutation, ProducerRow, Touch
from durable_streams.engine.lmdb.check_rows import check_dropped, check_due, check_owners, check_producers, check_sids
from durable_streams.engine.lmdb.engine import LmdbEngine
from durable_streams.engine.lmdb.journal import JOURNAL_MAX_BYTES
from durable_streams.engine.lmdb.report import Findings, Problem
from durable_streams.engine.lmdb.snapshot import Snapshot
from durable_streams.engine.memory import MemoryEngine
from durable_streams.protocol.head import Head
from tests.engine.stores import behind_the_back

PATHS = ("a", "a/b", "a0", "b", "ü")
SIDS = (1, 2, 3, 4, 5)
PRODUCER_IDS = ("p", "q", "ü")
PRODUCER_KEYS = [(sid, producer_id) for sid in SIDS for producer_id in PRODUCER_IDS]
END = 40
"""Above every offset drawn; few and small numbers, so that spans, gaps and page bounds meet often."""
APPENDS_END = END + 25 * 4 * 3
"""Above every offset that appends can reach."""

SMALL = st.integers(0, 6)
HEADS = st.builds(
    Head,
    path=st.sampled_from(PATHS),
    sid=st.sampled_from(SIDS),
    version=SMALL,
    tail=SMALL,
    state=st.integers(0, 3),
    touched_ms=SMALL,
    refs=SMALL,
    due_ms=SMALL,
    record=st.binary(max_size=3),
)
PRODUCERS = st.one_of(
    st.builds(ProducerRow, st.sampled_from(PRODUCER_IDS), SMALL, SMALL, st.none(), st.just(True)),  # noqa: FBT003
    st.builds(ProducerRow, st.sampled_from(PRODUCER_IDS), SMALL, SMALL, SMALL, st.booleans()),
)


@st.composite
def chunk_lists(draw: st.DrawFn) -> list[Chunk]:
    """Draw chunks in offset order without overlap, some of them with a gap before, some larger than a page."""
    chunks, offset = [], draw(st.integers(0, 4)) * 8
    for size in draw(st.lists(st.sampled_from((1, 2, 3, 8)), max_size=3)):
        offset += draw(st.sampled_from((0, 0, 1)))
        chunks.append(Chunk(offset, draw(st.binary(min_size=size, max_size=size))))
        offset += size
    return chunks


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Head, bool, bool, list[Chunk], list[ProducerRow]]:
    """Draw a new head with its rows, whether it expects the head that is there, and whether it removes it instead."""
    chunks, producers = draw(chunk_lists()), draw(st.lists(PRODUCERS, max_size=2))
    return draw(HEADS), draw(st.integers(0, 4)) > 0, draw(st.integers(0, 4)) == 0, chunks, producers


class EnginesAgree(RuleBasedStateMachine):
    @initialize(journal_max_bytes=st.sampled_from((0, 600, 6_000, JOURNAL_MAX_BYTES)))
    def open_both(self, journal_max_bytes: int) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.generation = 0
        self.journal_max_bytes = journal_max_bytes
        self.model = MemoryEngine()
        self.model.open()
        self._open()

    def _open(self) -> None:
        self.engine = LmdbEngine(self._store, journal_max_bytes=self.journal_max_bytes)
        self.engine.open()

    @property
    def _store(self) -> Path:
        return self.directory / f"store-{self.generation}"

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            assert self._index_problems() == []
            shutil.rmtree(self.directory)

    def _index_problems(self) -> list[Problem]:
        """Return what a check finds wrong around the heads; drawn heads themselves make no sense."""
        with behind_the_back(self._store) as (txn, databases):
            snapshot = Snapshot(txn, databases, Findings())  # type: ignore[arg-type] # copies do as well as views
            assert txn.stat(databases.journal)["entries"] == 0
            for check in (check_sids, check_due, check_dropped, check_owners, check_producers):
                check(snapshot)
        return snapshot.findings.problems

    def _mutation(self, drawn: tuple[Head, bool, bool, list[Chunk], list[ProducerRow]]) -> Mutation:
        """Aim a drawn mutation at the head that is there now, most of the time."""
        head, aimed, removes, chunks, producers = drawn
        [standing] = self.model.load([head.path])
        expected = (standing.sid, standing.version) if standing else None
        if not aimed:
            expected = (head.sid, head.version)
        if removes:
            return Mutation(head.path, expected, None)
        if standing and head.version % 2:
            head = head._replace(sid=standing.sid)
        return Mutation(head.path, expected, head, chunks, producers)

    @rule(drawn=st.lists(st.lists(mutations(), min_size=1, max_size=2), min_size=1, max_size=3))
    def commit(self, drawn: list[list[tuple[Head, bool, bool, list[Chunk], list[ProducerRow]]]]) -> None:
        groups = [[self._mutation(each) for each in group] for group in drawn]
        assert self.engine.commit(groups) == self.model.commit(groups)

    @rule(
        paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=4),
        payload=st.binary(min_size=1, max_size=3),
        producers=st.lists(PRODUCERS, max_size=2, unique_by=lambda row: row.producer_id),
    )
    def append(self, paths: list[str], payload: bytes, producers: list[ProducerRow]) -> None:
        """Append as the server does, behind all that is there: what the journal is for."""
        groups = []
        heads = {head.path: head for head in self.model.load(paths) if head is not None}
        ends = {head.sid: self._end(head.sid) for head in heads.values()}
        for path in paths:
            if path in heads:
                old = heads[path]
                end = ends[old.sid]
                new = heads[path] = old._replace(version=old.version + 1, tail=end + len(payload))
                ends[old.sid] = new.tail
                groups.append([Mutation(path, (old.sid, old.version), new, [Chunk(end, payload)], producers)])
        assert self.engine.commit(groups) == self.model.commit(groups)

    def _end(self, sid: int) -> int:
        """Return where the last chunk of an incarnation ends in the model."""
        last = [self.model.read_before(sid, end) for end in range(1, APPENDS_END)]
        return max((chunk.offset + len(chunk.payload) for chunk in last if chunk is not None), default=0)

    @rule()
    def crash(self) -> None:
        """Go on with the files as they are, as after a kill."""
        before = self._store
        self.generation += 1
        shutil.copytree(before, self._store)
        self.engine.close()
        self._open()

    @rule(touches=st.lists(st.builds(Touch, st.sampled_from(PATHS), st.sampled_from(SIDS), SMALL), max_size=3))
    def touch(self, touches: list[Touch]) -> None:
        self.engine.touch(touches)
        self.model.touch(touches)

    @rule(limit=st.integers(1, 5))
    def collect(self, limit: int) -> None:
        assert self.engine.collect(limit) == self.model.collect(limit)

    @rule(sid=st.sampled_from(SIDS), start=st.integers(0, END), end=st.integers(0, END), limit=st.integers(1, 5))
    def pack(self, **asked: int) -> None:
        """Where it goes on depends on the rows there are; that nothing but rows changed is seen by all that is read."""
        assert asked["start"] <= self.engine.pack(**asked) or asked["end"] <= asked["start"]
        self.model.pack(**asked)

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self._open()

    @rule(
        sid=st.sampled_from(SIDS),
        start=st.integers(0, END),
        end=st.integers(0, END),
        max_bytes=st.integers(0, END),
    )
    def read(self, **asked: int) -> None:
        self._reads_alike(**asked)

    def _reads_alike(self, sid: int, start: int, end: int, max_bytes: int) -> None:  # noqa: PLR0917 - a range and its bound
        """The same bytes, cut anywhere; as many as are wanted, or else one chunk."""
        found = self.engine.read(sid, start, end, max_bytes)
        stored = b"".join(chunk.payload for chunk in self.model.read(sid, start, end, APPENDS_END))
        read = b"".join(chunk.payload for chunk in found)
        assert stored.startswith(read)
        assert bool(stored) == bool(read)
        assert len(found) <= 1 or len(read) <= max_bytes
        offset = start
        for chunk in found:
            assert chunk.offset == offset
            assert chunk.payload
            offset += len(chunk.payload)
        if len(read) < len(stored):  # the next chunk would not have fitted, whatever rows there are
            (more,) = self.engine.read(sid, offset, end, 0)
            assert len(read) + len(more.payload) > max_bytes

    @rule(prefix=st.sampled_from(("", "a", "a/", "ü", "z")), after=st.sampled_from(("", "z", *PATHS)), limit=SMALL)
    def scan(self, prefix: str, after: str, limit: int) -> None:
        assert self.engine.scan(prefix, after, limit) == self.model.scan(prefix, after, limit)

    @rule(now_ms=SMALL, limit=SMALL)
    def due(self, now_ms: int, limit: int) -> None:
        assert self.engine.due(now_ms, limit) == self.model.due(now_ms, limit)

    @invariant()
    def everything_reads_the_same(self) -> None:
        engine, model = self.engine, self.model
        assert engine.load(PATHS) == model.load(PATHS)
        assert engine.load_producers(PRODUCER_KEYS) == model.load_producers(PRODUCER_KEYS)
        assert engine.scan("", "", 99) == model.scan("", "", 99)
        assert engine.due(99, 99) == model.due(99, 99)
        for sid in SIDS:
            for start in range(0, APPENDS_END, 5):
                self._reads_alike(sid, start, APPENDS_END, END)
                self._reads_alike(sid, start, END, start % 7)
                self._ends_alike(sid, start)

    def _ends_alike(self, sid: int, before: int) -> None:
        """The same last byte at the same place, and before it what is stored there."""
        found, stored = self.engine.read_before(sid, before), self.model.read_before(sid, before)
        assert (found is None) == (stored is None)
        if found is not None and stored is not None:
            end = stored.offset + len(stored.payload)
            assert found.offset + len(found.payload) == end
            model = self.model.read(sid, found.offset, end, APPENDS_END)
            assert found.payload == b"".join(chunk.payload for chunk in model)


TestEnginesAgree = pytest.mark.slow(EnginesAgree.TestCase)
TestEnginesAgree.settings = settings(max_examples=120, stateful_step_count=25)

"""What every engine must do: subclass ``EngineContract`` with a fixture ``engine`` that yields an open, empty one."""

from __future__ import annotations

import pytest

from durable_streams.engine.base import Chunk, Due, Engine, Mutation, Outcome, ProducerRow, Touch
from tests.engine.heads import ALL, create, head, read_bytes, replace

APPLIED, CONFLICT = Outcome.APPLIED, Outcome.CONFLICT


class CommitContract:
    """Compare-and-swap on heads."""

    def test_an_empty_engine_has_no_head(self, engine: Engine) -> None:
        assert engine.load(["a", "b"]) == [None, None]

    def test_nothing_to_commit_is_no_outcome(self, engine: Engine) -> None:
        assert engine.commit([]) == []

    def test_a_created_head_loads_as_it_was_given(self, engine: Engine) -> None:
        new = head("a/ü", 7, 9, tail=3, state=3, touched_ms=5, refs=2, due_ms=4, record=b"\x00\xff")
        assert engine.commit([[create(new, Chunk(0, b"abc"))]]) == [APPLIED]
        assert engine.load(["b", "a/ü", "a/ü"]) == [None, new, new]

    def test_largest_numbers_survive(self, engine: Engine) -> None:
        most = (1 << 63) - 1
        new = head("p" * 480, most, most, tail=most, touched_ms=most, refs=most, due_ms=most)
        row = ProducerRow("i" * 400, (1 << 53) - 1, (1 << 53) - 1)
        engine.commit([[create(new, producers=[row])]])
        assert engine.load([new.path]) == [new]
        assert engine.load_producers([(most, row.producer_id)]) == [row]

    def test_replacing_the_expected_head_applies(self, engine: Engine) -> None:
        old = head("a")
        new = old._replace(version=2, tail=2)
        engine.commit([[create(old)]])
        assert engine.commit([[replace(old, new, Chunk(0, b"xy"))]]) == [APPLIED]
        assert engine.load(["a"]) == [new]
        assert read_bytes(engine, 1) == b"xy"

    @pytest.mark.parametrize("expected", [None, (1, 2), (2, 1)])
    def test_any_other_head_conflicts(self, engine: Engine, expected: tuple[int, int] | None) -> None:
        old = head("a", 1, 1)
        engine.commit([[create(old)]])
        refused = Mutation("a", expected, old._replace(version=3), [Chunk(0, b"no")], [ProducerRow("p", 0, 0)])
        assert engine.commit([[refused]]) == [CONFLICT]
        assert engine.load(["a"]) == [old]
        assert read_bytes(engine, 1) == b""
        assert engine.load_producers([(1, "p")]) == [None]

    def test_expecting_a_head_where_there_is_none_conflicts(self, engine: Engine) -> None:
        assert engine.commit([[replace(head("a"), head("a", version=2))]]) == [CONFLICT]
        assert engine.load(["a"]) == [None]

    def test_a_refused_group_is_refused_whole_and_alone(self, engine: Engine) -> None:
        taken = head("taken", 1)
        engine.commit([[create(taken)]])
        groups = [
            [create(head("before", 2), Chunk(0, b"2"))],
            [create(head("half", 3), Chunk(0, b"3"), producers=[ProducerRow("p", 0, 0)]), create(head("taken", 4))],
            [create(head("after", 5))],
        ]
        assert engine.commit(groups) == [APPLIED, CONFLICT, APPLIED]
        assert engine.load(["before", "half", "taken", "after"]) == [head("before", 2), None, taken, head("after", 5)]
        assert read_bytes(engine, 3) == b""
        assert engine.load_producers([(3, "p")]) == [None]
        assert engine.commit([[create(head("later", 3))]]) == [APPLIED]

    def test_later_groups_see_earlier_ones(self, engine: Engine) -> None:
        first, second, third = (head("a", 1, version, tail=version - 1) for version in (1, 2, 3))
        groups = [
            [create(first)],
            [create(first)],
            [replace(first, second, Chunk(0, b"x"))],
            [replace(first, third)],
            [replace(second, third, Chunk(1, b"y"))],
        ]
        assert engine.commit(groups) == [APPLIED, CONFLICT, APPLIED, CONFLICT, APPLIED]
        assert engine.load(["a"]) == [third]
        assert read_bytes(engine, 1) == b"xy"

    def test_later_mutations_of_a_group_see_earlier_ones(self, engine: Engine) -> None:
        first, second = head("a", 1, 1), head("a", 1, 2)
        assert engine.commit([[create(first), replace(first, second)]]) == [APPLIED]
        assert engine.load(["a"]) == [second]
        assert engine.commit([[replace(second, None), create(head("a", 2)), create(head("b", 2))]]) == [CONFLICT]
        assert engine.load(["a", "b"]) == [second, None]

    def test_a_group_changes_several_streams_at_once(self, engine: Engine) -> None:
        source = head("source", 1)
        engine.commit([[create(source)]])
        counted, fork = source._replace(version=2, refs=1), head("fork", 2)
        assert engine.commit([[replace(source, counted), create(fork)]]) == [APPLIED]
        assert engine.load(["source", "fork"]) == [counted, fork]


class IncarnationContract:
    """What happens when an incarnation comes and goes."""

    def test_a_removed_head_is_gone_and_its_path_is_free(self, engine: Engine) -> None:
        old = head("a", 1, due_ms=5)
        engine.commit([[create(old, Chunk(0, b"old"))]])
        assert engine.commit([[replace(old, None)]]) == [APPLIED]
        assert engine.load(["a"]) == [None]
        assert engine.scan("", "", 9) == []
        assert engine.due(ALL, 9) == []
        assert engine.commit([[create(head("a", 2))]]) == [APPLIED]

    def test_a_sid_in_use_cannot_be_taken(self, engine: Engine) -> None:
        engine.commit([[create(head("a", 1))]])
        assert engine.commit([[create(head("b", 1))]]) == [CONFLICT]
        assert engine.commit([[create(head("b", 2)), create(head("c", 2))]]) == [CONFLICT]
        assert engine.commit([[create(head("b", 2))], [create(head("c", 2))]]) == [APPLIED, CONFLICT]

    def test_a_dropped_sid_cannot_be_taken_until_it_is_collected(self, engine: Engine) -> None:
        old = head("a", 1)
        engine.commit([[create(old, Chunk(0, b"old"))]])
        assert engine.commit([[replace(old, None)], [create(head("b", 1))]]) == [APPLIED, CONFLICT]
        assert engine.commit([[create(head("b", 1))]]) == [CONFLICT]
        engine.collect(9)
        assert engine.commit([[create(head("b", 1))]]) == [APPLIED]
        assert read_bytes(engine, 1) == b""

    def test_another_incarnation_replaces_the_whole_stream(self, engine: Engine) -> None:
        old, new = head("a", 1, due_ms=5), head("a", 2, due_ms=6)
        engine.commit([[create(old, Chunk(0, b"old"))]])
        assert engine.commit([[replace(old, new, Chunk(0, b"new"))]]) == [APPLIED]
        assert engine.load(["a"]) == [new]
        assert engine.due(ALL, 9) == [Due(6, 2, "a")]
        assert read_bytes(engine, 2) == b"new"
        assert engine.collect(9) == 2
        assert read_bytes(engine, 1) == b""

    def test_created_and_removed_in_one_commit_leaves_only_work_for_collect(self, engine: Engine) -> None:
        new = head("a", 1, due_ms=5)
        assert engine.commit([[create(new, Chunk(0, b"x"))], [replace(new, None)]]) == [APPLIED, APPLIED]
        assert engine.load(["a"]) == [None]
        assert engine.due(ALL, 9) == []
        assert engine.collect(9) == 2

    def test_collect_is_bounded_and_leaves_others_alone(self, engine: Engine) -> None:
        for sid in (1, 2, 3):
            rows = [ProducerRow(f"p{n}", n, n) for n in range(3)]
            engine.commit([[create(head(f"s{sid}", sid, tail=3), *(Chunk(n, b"c") for n in range(3)), producers=rows)]])
        engine.commit([[replace(head(f"s{sid}", sid, tail=3), None)] for sid in (1, 3)])
        assert engine.collect(4) == 4
        assert read_bytes(engine, 1) == b""
        assert engine.load_producers([(1, "p0"), (1, "p1")]) == [None, ProducerRow("p1", 1, 1)]
        assert read_bytes(engine, 3) == b"ccc"
        assert engine.collect(9) == 9
        assert engine.collect(9) == 1
        assert engine.collect(9) == 0
        assert read_bytes(engine, 2) == b"ccc"
        assert engine.load_producers([(2, "p2"), (3, "p2")]) == [ProducerRow("p2", 2, 2), None]

    def test_collect_counts_incarnations_without_rows(self, engine: Engine) -> None:
        heads = [head(f"s{sid}", sid) for sid in range(1, 6)]
        engine.commit([[create(each)] for each in heads])
        engine.commit([[replace(each, None)] for each in heads])
        assert [engine.collect(2) for _ in range(4)] == [2, 2, 1, 0]


class ReadContract:
    """Chunks, producers, and the walks over heads."""

    @pytest.fixture
    def stored(self, engine: Engine) -> Engine:
        """Return the engine with ``abc``, ``de``, a gap at 5, ``gh`` at 6, under sid 5; neighbours on both sides."""
        chunks = [Chunk(0, b"abc"), Chunk(3, b"de"), Chunk(6, b"gh")]
        neighbours = [[create(head(f"n{sid}", sid), Chunk(0, b"......"))] for sid in (4, 6)]
        engine.commit([*neighbours, [create(head("s", 5, tail=8), *chunks)]])
        return engine

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ((0, 5, ALL), [Chunk(0, b"abc"), Chunk(3, b"de")]),
            ((0, 5, 5), [Chunk(0, b"abc"), Chunk(3, b"de")]),
            ((0, 5, 4), [Chunk(0, b"abc")]),
            ((0, 5, 1), [Chunk(0, b"abc")]),
            ((0, 5, 0), [Chunk(0, b"abc")]),
            ((0, 4, 4), [Chunk(0, b"abc"), Chunk(3, b"d")]),
            ((1, 5, 4), [Chunk(1, b"bc"), Chunk(3, b"de")]),
            ((1, 2, ALL), [Chunk(1, b"b")]),
            ((3, 4, ALL), [Chunk(3, b"d")]),
            ((4, 99, ALL), [Chunk(4, b"e")]),
            ((0, 99, ALL), [Chunk(0, b"abc"), Chunk(3, b"de")]),
            ((5, 99, ALL), []),
            ((6, 99, ALL), [Chunk(6, b"gh")]),
            ((7, 8, ALL), [Chunk(7, b"h")]),
            ((8, 99, ALL), []),
            ((3, 3, ALL), []),
            ((3, 2, ALL), []),
        ],
    )
    def test_read(self, stored: Engine, asked: tuple[int, int, int], expected: list[Chunk]) -> None:
        start, end, max_bytes = asked
        assert stored.read(5, start, end, max_bytes) == expected

    @pytest.mark.parametrize("sid", [1, 99])
    def test_read_of_an_unknown_sid_is_empty(self, stored: Engine, sid: int) -> None:
        assert stored.read(sid, 0, ALL, ALL) == []
        assert stored.read(sid, 3, ALL, ALL) == []
        assert stored.read_before(sid, 1) is None

    @pytest.mark.parametrize(
        ("end", "expected"),
        [
            (0, None),
            (1, Chunk(0, b"a")),
            (3, Chunk(0, b"abc")),
            (4, Chunk(3, b"d")),
            (5, Chunk(3, b"de")),
            (6, None),
            (7, Chunk(6, b"g")),
            (8, Chunk(6, b"gh")),
            (9, None),
        ],
    )
    def test_read_before(self, stored: Engine, end: int, expected: Chunk | None) -> None:
        assert stored.read_before(5, end) == expected

    def test_a_chunk_larger_than_a_page_comes_back_whole(self, engine: Engine) -> None:
        large = bytes(range(256)) * 1_000
        engine.commit([[create(head("a", 1), Chunk(0, large), Chunk(len(large), b"!"))]])
        assert engine.read(1, 0, ALL, 10) == [Chunk(0, large)]
        assert read_bytes(engine, 1, 255_999) == b"\xff!"

    def test_producer_rows_are_per_sid_and_replaced(self, engine: Engine) -> None:
        one, two = head("a", 1), head("b", 2)
        rows = [ProducerRow("p", 1, 5, 9, finished=False), ProducerRow("ü", 0, 0, 0)]
        engine.commit([[create(one, producers=rows)], [create(two)]])
        engine.commit([[replace(one, one._replace(version=2), producers=[ProducerRow("p", 2, 0)])]])
        asked = [(1, "p"), (2, "p"), (1, "ü"), (1, "q"), (9, "p"), (1, "p")]
        row = ProducerRow("p", 2, 0)  # shorter than what it takes the place of
        assert engine.load_producers(asked) == [row, None, rows[1], None, None, row]

    def test_producer_rows_are_scanned_in_utf8_byte_order(self, engine: Engine) -> None:
        rows = [ProducerRow(name, n, n) for n, name in enumerate(["a", "ab", "z", "\uffff", "\U0001f600"])]
        engine.commit([[create(head("a", 1), producers=rows[::-1])], [create(head("b", 2), producers=rows[:1])]])
        assert engine.scan_producers(1, "", 9) == rows
        assert engine.scan_producers(1, "", 2) == rows[:2]
        assert engine.scan_producers(1, "ab", 9) == rows[2:]
        assert engine.scan_producers(1, "aa", 9) == rows[1:]
        assert engine.scan_producers(1, rows[-1].producer_id, 9) == []
        assert engine.scan_producers(2, "", 9) == rows[:1]
        assert engine.scan_producers(3, "", 9) == []

    def test_forgotten_producers_are_gone_and_others_stay(self, engine: Engine) -> None:
        old, new = head("a", 1, version=1), head("a", 1, version=2)
        rows = [ProducerRow("p", 1, 1), ProducerRow("q", 2, 2)]
        engine.commit([[create(old, producers=rows)], [create(head("b", 2), producers=rows)]])
        forgets = Mutation("a", (1, 1), new, producers=[ProducerRow("r", 3, 3)], forgotten=["p", "never there"])
        assert engine.commit([[forgets]]) == [APPLIED]
        assert engine.scan_producers(1, "", 9) == [rows[1], ProducerRow("r", 3, 3)]
        assert engine.load_producers([(1, "p"), (2, "p")]) == [None, rows[0]]

    def test_scan_walks_in_utf8_byte_order(self, engine: Engine) -> None:
        # UTF-16 order, which some languages sort by, would put U+FFFF after U+10000.
        paths = ["a", "a/b", "a/c", "a0", "ab", "b", "z", "é", "\uffff", "\U00010000"]
        heads = [head(path, sid) for sid, path in enumerate(paths, start=1)]
        engine.commit([[create(each)] for each in reversed(heads)])
        assert engine.scan("", "", 99) == heads
        assert engine.scan("", "ab", 2) == heads[5:7]
        assert engine.scan("a/", "", 99) == heads[1:3]
        assert engine.scan("a", "a/b", 2) == heads[2:4]
        assert engine.scan("a/", "a", 99) == heads[1:3]
        assert engine.scan("a/", "b", 99) == []
        assert engine.scan("a/x", "", 99) == []
        assert engine.scan("", "a/bb", 1) == heads[2:3]


class TimeContract:
    """The due index and touches."""

    def test_due_lists_what_has_come_earliest_first(self, engine: Engine) -> None:
        for sid, due_ms in enumerate([300, 100, 0, 200, 100], start=1):
            engine.commit([[create(head(f"s{sid}", sid, due_ms=due_ms))]])
        assert engine.due(99, 9) == []
        assert engine.due(200, 9) == [Due(100, 2, "s2"), Due(100, 5, "s5"), Due(200, 4, "s4")]
        assert engine.due(ALL, 2) == [Due(100, 2, "s2"), Due(100, 5, "s5")]
        assert engine.due(200, 2, (100, 2)) == [Due(100, 5, "s5"), Due(200, 4, "s4")]
        assert engine.due(200, 9, (100, 9)) == engine.due(200, 9, (101, 0)) == [Due(200, 4, "s4")]

    @pytest.mark.parametrize(
        ("moved_ms", "expected"), [((5, 9), [9]), ((5, 0), []), ((0, 5), [5]), ((5, 5), [5]), ((0, 0), [])]
    )
    def test_a_changed_due_time_moves_the_row(
        self, engine: Engine, moved_ms: tuple[int, int], expected: list[int]
    ) -> None:
        before_ms, after_ms = moved_ms
        old = head("a", due_ms=before_ms)
        engine.commit([[create(old)]])
        engine.commit([[replace(old, old._replace(version=2, due_ms=after_ms))]])
        assert engine.due(ALL, 9) == [Due(due_ms, 1, "a") for due_ms in expected]

    def test_a_due_time_moved_twice_in_a_commit_leaves_one_row(self, engine: Engine) -> None:
        first, second, third = (head("a", 1, due_ms, due_ms=due_ms) for due_ms in (1, 2, 3))
        back = first._replace(version=4)
        engine.commit([[create(first)], [replace(first, second)], [replace(second, third)], [replace(third, back)]])
        assert engine.due(ALL, 9) == [Due(1, 1, "a")]

    def test_touch_raises_and_never_lowers(self, engine: Engine) -> None:
        old = head("a", 1, 7, touched_ms=100, tail=1, due_ms=3)
        engine.commit([[create(old)]])
        engine.touch([Touch("a", 1, 200), Touch("a", 1, 150)])
        assert engine.load(["a"]) == [old._replace(touched_ms=200)]
        engine.touch([Touch("a", 1, 50), Touch("a", 2, 900), Touch("b", 1, 900)])
        assert engine.load(["a", "b"]) == [old._replace(touched_ms=200), None]

    def test_touch_conflicts_with_no_write(self, engine: Engine) -> None:
        old = head("a", 1, 7)
        engine.commit([[create(old)]])
        engine.touch([Touch("a", 1, 9_999)])
        assert engine.commit([[replace(old, old._replace(version=8))]]) == [APPLIED]


class EngineContract(CommitContract, IncarnationContract, ReadContract, TimeContract):
    """All of it."""

    def test_probe_of_a_healthy_engine_is_silent(self, engine: Engine) -> None:
        engine.probe()

    def test_close_is_idempotent(self, engine: Engine) -> None:
        engine.close()
        engine.close()

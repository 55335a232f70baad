"""What the committer makes of every answer that an engine may give, and that everybody is answered exactly once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.commit.committer import CONFLICTS_MAX, Audience, Committer
from durable_streams.commit.heads import HeadCache
from durable_streams.commit.outcomes import RESUBMITS_MAX
from durable_streams.commit.writer import Writer
from durable_streams.engine.base import Mutation, Touch
from durable_streams.protocol.append import Append, Appended, Duplicate
from durable_streams.protocol.create import Create, Created, ForkRequest
from durable_streams.protocol.errors import (
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    ProducerGapError,
    StaleEpochError,
    StoreFailedError,
    StoreFullError,
    StreamClosedError,
    StreamExistsError,
)
from durable_streams.protocol.producer import ProducerTriple
from durable_streams.runtime import Runtime
from durable_streams.runtime.clock import Chance, ManualClock
from durable_streams.runtime.config import Bounds
from durable_streams.streams.commands import AppendCommand, CreateCommand, DeleteCommand
from durable_streams.streams.many import ManyCommand
from tests.scripted import ScriptedEngine, after, applied, before, failed, for_path, full, lost, won

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.commit.command import Command
    from durable_streams.commit.committer import Observer
    from durable_streams.protocol.draft import Draft
    from durable_streams.protocol.head import Head

TEXT = "text/plain"


class AtAnchor:
    """Sub-offsets are bytes here."""

    def decide(self, _batch: Batch, _source: Draft, anchor: int, sub_offset: int) -> int:
        return anchor + sub_offset


class Heard:
    """An observer that keeps the paths it was told of."""

    def __init__(self) -> None:
        self.applied_paths: list[str] = []
        self.lost_paths: list[str] = []

    def applied(self, slot: Slot) -> None:
        self.applied_paths.append(slot.path)

    def lost(self, slot: Slot) -> None:
        self.lost_paths.append(slot.path)

    def settled(self) -> None:
        pass


class Faulty:
    """An observer that fails whatever it is told."""

    def applied(self, slot: Slot) -> None:
        raise LookupError(slot.path)

    def lost(self, slot: Slot) -> None:
        raise LookupError(slot.path)

    def settled(self) -> None:
        raise LookupError("settled")


class Stage:
    """A committer on a scripted engine, and commands whose answers can be waited for; each counts its answers."""

    def __init__(self, *, shared: bool = False, observers: tuple[Observer, ...] = ()) -> None:
        self.engine, self.clock = ScriptedEngine(shared=shared), ManualClock()
        runtime = Runtime(clock=self.clock, chance=Chance(1))
        self._chance = runtime.chance
        self.writer = Writer(asyncio.get_running_loop())
        cache = HeadCache(self.engine, 64)
        self.heard = Heard()
        audience = Audience((*observers, self.heard))
        self.committer = Committer(self.engine, cache, self.writer, runtime=runtime, audience=audience)
        self.answers: dict[asyncio.Future[Any], int] = {}

    def _submit(self, make: Callable[[Callable[[Any], None]], Command]) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answers[answer] = 0

        def settle(outcome: object) -> None:
            self.answers[answer] += 1
            if not answer.done():
                answer.set_result(outcome)

        self.committer.submit(make(settle))
        return answer

    def append(self, path: str, payload: bytes = b"ours ", **fields: Any) -> asyncio.Future[Any]:  # noqa: ANN401 of Append
        return self._submit(partial(AppendCommand, path, Append(payload, TEXT, **fields)))

    def create(self, path: str, content_type: str | None = TEXT, **fields: Any) -> asyncio.Future[Any]:  # noqa: ANN401 of Create
        request = Create(content_type, b"", **fields)
        return self._submit(
            lambda settle: CreateCommand(path, request, settle, chance=self._chance, fork_base=AtAnchor())
        )

    def fork(self, path: str, source: str) -> asyncio.Future[Any]:
        return self.create(path, None, fork=ForkRequest(source, None, 0))

    def delete(self, path: str) -> asyncio.Future[Any]:
        return self._submit(partial(DeleteCommand, path))

    def many(self, *appends: tuple[str, Append], stop_at_refusal: bool = False) -> asyncio.Future[Any]:
        return self._submit(lambda settle: ManyCommand(appends, settle, stop_at_refusal=stop_at_refusal))

    def script(self, *steps: Any) -> None:  # noqa: ANN401 steps of the engine's
        """Say how the next commits go; forget those so far."""
        self.engine.script.extend(steps)
        self.engine.journal.clear()
        self.heard.applied_paths.clear()
        self.heard.lost_paths.clear()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A committer alone on its store, with the streams ``a`` and ``b``."""
    async for one in running(Stage()):
        yield one


@pytest.fixture
async def shared() -> AsyncIterator[Stage]:
    """As ``stage``, on a store that others write to."""
    async for one in running(Stage(shared=True)):
        yield one


async def running(stage: Stage) -> AsyncIterator[Stage]:
    await asyncio.gather(stage.create("a"), stage.create("b"))
    stage.script()
    yield stage
    await stage.committer.drain()
    await asyncio.to_thread(stage.writer.stop)
    assert not stage.engine.script, "the script was not played to its end"
    assert set(stage.answers.values()) == {1}, "everybody is answered exactly once"


def mutation_of(head: Head) -> Mutation:
    return Mutation(head.path, None, head)


def triple(seq: int, epoch: int = 0) -> ProducerTriple:
    return ProducerTriple("p", epoch, seq)


class TestConflict:
    async def test_it_is_decided_anew_on_what_the_other_writer_left(self, stage: Stage) -> None:
        stage.script(after(lambda: stage.engine.rival_appends("a")))
        ours, neighbours = await asyncio.gather(stage.append("a"), stage.append("b"))

        assert (ours.tail, neighbours.tail) == (11, 5)
        assert stage.engine.content("a") == b"rival ours "
        assert stage.engine.journal == [[["a"], ["b"]], [["a"]]]
        assert (stage.heard.applied_paths, stage.heard.lost_paths) == (["b", "a"], ["a"])

    async def test_the_order_on_one_stream_stays(self, stage: Stage) -> None:
        stage.script(after(lambda: stage.engine.rival_appends("a")))
        answers = [stage.append("a", b"%d " % number) for number in range(5)]
        later = stage.append("b")
        await asyncio.gather(*answers, later)

        assert stage.engine.content("a") == b"rival 0 1 2 3 4 "

    async def test_a_success_can_become_a_refusal(self, stage: Stage) -> None:
        stage.script(after(lambda: stage.engine.rival_appends("a", b"", close=True)))

        assert isinstance(await stage.append("a"), StreamClosedError)

    async def test_a_refusal_that_rests_on_it_is_decided_anew_as_well(self, stage: Stage) -> None:
        """A neighbour's close came to nothing."""
        stage.script(after(lambda: stage.engine.rival_deletes("a")))
        closing, refused, created = stage.append("a", close=True), stage.append("a"), stage.create("c")

        assert isinstance(await closing, NotFoundError)
        assert isinstance(await refused, NotFoundError)
        assert isinstance(await created, Created)

    async def test_it_is_decided_sixteen_times_and_then_given_up(self, stage: Stage) -> None:
        moves = [after(lambda: stage.engine.rival_appends("a", b".")) for _ in range(CONFLICTS_MAX + 1)]
        stage.script(*(for_path("a", move) for move in moves))
        ours, neighbours = stage.append("a"), stage.append("b")

        assert isinstance(await ours, OverloadedError)
        assert isinstance(await neighbours, Appended)
        assert stage.engine.content("a") == b"." * (CONFLICTS_MAX + 1)
        assert stage.engine.content("b") == b"ours "

    async def test_sixteen_moves_are_endured(self, stage: Stage) -> None:
        stage.script(*(after(lambda: stage.engine.rival_appends("a", b".")) for _ in range(CONFLICTS_MAX)))

        assert isinstance(await stage.append("a"), Appended)

    async def test_a_fork_and_its_source_lose_together(self, stage: Stage) -> None:
        stage.script(after(lambda: stage.engine.rival_appends("a")))
        forked, appended, neighbours = stage.fork("f", "a"), stage.append("a"), stage.append("b")
        created = await forked

        assert created.tail == len(b"rival ")
        assert (await appended).tail == len(b"rival ours ")
        assert isinstance(await neighbours, Appended)
        [source] = stage.engine.load(["a"])
        assert source is not None
        assert source.refs == 1
        assert sorted(stage.heard.lost_paths) == ["a", "f"]

    async def test_what_was_left_out_behind_a_refusal_does_not_count_twice(self, stage: Stage) -> None:
        """One of many appends is refused, the rest left out; another command loses on the stream of one left out."""
        await stage.append("b", b"", close=True)
        await stage.create("c")
        stage.script(for_path("c", after(lambda: stage.engine.rival_appends("c"))))
        one = Append(b"once", TEXT)
        many, other = stage.many(("a", one), ("b", one), ("c", one), stop_at_refusal=True), stage.append("c")
        outcomes = await many

        assert [type(outcome) for outcome in outcomes] == [Appended, StreamClosedError]
        assert isinstance(await other, Appended)
        assert stage.engine.content("a") == b"once"


class TestUnknown:
    @pytest.mark.parametrize("first", [won, lost])
    async def test_one_copy_stands_whether_the_first_had_won_or_not(self, stage: Stage, first: Any) -> None:  # noqa: ANN401 a step
        stage.script(first)
        ours, neighbours = await asyncio.gather(stage.append("a"), stage.append("b"))

        assert (ours.tail, neighbours.tail) == (5, 5)
        assert stage.engine.content("a") == stage.engine.content("b") == b"ours "
        assert stage.engine.journal == [[["a"], ["b"]]] * 2
        assert (stage.heard.applied_paths, stage.heard.lost_paths) == (["a", "b"], [])
        assert (await stage.append("a")).tail == 10

    async def test_only_what_is_unknown_is_sent_again(self, stage: Stage) -> None:
        stage.script(for_path("a", lost), lost, won)
        await asyncio.gather(stage.append("a"), stage.append("b"))

        assert stage.engine.journal == [[["a"], ["b"]], [["a"]], [["a"]], [["a"]]]
        assert stage.engine.content("a") == stage.engine.content("b") == b"ours "

    @pytest.mark.parametrize("first", [won, lost])
    async def test_a_fork_comes_whole(self, stage: Stage, first: Any) -> None:  # noqa: ANN401 a step
        stage.script(first)

        assert isinstance(await stage.fork("f", "a"), Created)
        [source, fork] = stage.engine.load(["a", "f"])
        assert source is not None
        assert fork is not None
        assert source.refs == 1

    @pytest.mark.parametrize("first", [won, lost])
    async def test_a_delete_is_done_once(self, stage: Stage, first: Any) -> None:  # noqa: ANN401 a step
        stage.script(first)

        assert await stage.delete("a") is True
        assert stage.engine.load(["a"]) == [None]

    async def test_a_touch_in_between_does_not_hide_that_it_had_won(self, stage: Stage) -> None:
        """A touch changes the head, and not its version."""

        def touch() -> None:
            [head] = stage.engine.load(["a"])
            assert head is not None
            stage.engine.touch([Touch("a", head.sid, head.touched_ms + 9_000)])

        stage.script(before(won, touch))

        assert isinstance(await stage.append("a"), Appended)
        assert stage.engine.content("a") == b"ours "

    async def test_one_head_tells_of_the_whole_group(self, stage: Stage) -> None:
        """The fork had been made when another writer moved its source."""
        stage.script(before(won, lambda: stage.engine.rival_appends("a")))

        assert isinstance(await stage.fork("f", "a"), Created)
        [source] = stage.engine.load(["a"])
        assert source is not None
        assert source.refs == 1

    @pytest.mark.parametrize("first", [won, lost])
    async def test_what_another_writer_has_covered_is_not_decided_anew(self, stage: Stage, first: Any) -> None:  # noqa: ANN401 a step
        """It may be there already: nobody can tell, and so it is neither promised nor put there twice."""
        stage.script(for_path("a", before(first, lambda: stage.engine.rival_appends("a"))))
        ours, neighbours = stage.append("a"), stage.append("b")

        assert isinstance(await ours, OutcomeUnknownError)
        assert isinstance(await neighbours, Appended)
        assert stage.engine.content("a") == (b"ours rival " if first is won else b"rival ")
        assert (await stage.append("a", b"later")).tail == len(stage.engine.content("a"))

    @pytest.mark.parametrize("first", [won, lost])
    async def test_no_room_for_the_second_copy_says_nothing_of_the_first(self, stage: Stage, first: Any) -> None:  # noqa: ANN401 a step
        stage.script(for_path("a", first), full)
        ours, neighbours = await asyncio.gather(stage.append("a"), stage.append("b"))

        assert isinstance(ours, Appended)
        assert isinstance(neighbours, Appended)
        assert stage.engine.content("a") == stage.engine.content("b") == b"ours "

    async def test_unknown_for_ever_is_a_failed_store(self, stage: Stage) -> None:
        stage.script(*[lost] * (RESUBMITS_MAX + 1))

        assert isinstance(await stage.append("a"), StoreFailedError)
        assert stage.committer.failed.is_set()

    async def test_the_last_answer_counts_too(self, stage: Stage) -> None:
        stage.script(*[lost] * RESUBMITS_MAX)

        assert isinstance(await stage.append("a"), Appended)


class TestNoRoom:
    async def test_what_does_not_fit_leaves_its_neighbours_alone(self, stage: Stage) -> None:
        stage.script(full, full, applied)
        ours, neighbours = stage.append("a"), stage.append("b")

        assert isinstance(await ours, StoreFullError)
        assert isinstance(await neighbours, Appended)
        assert stage.engine.journal == [[["a"], ["b"]], [["a"]], [["b"]]]
        assert stage.committer.unready() == "the store is full"
        await stage.delete("b")
        assert stage.committer.unready() == "the store is full"
        await stage.append("a")
        assert stage.committer.unready() is None

    async def test_refusals_beside_what_does_not_fit_come_to_nothing_too(self, stage: Stage) -> None:
        stage.script(full)
        closing, refused = stage.append("a", close=True), stage.append("a")

        assert isinstance(await closing, StoreFullError)
        assert isinstance(await refused, StoreFullError)
        assert isinstance(await stage.append("a"), Appended)

    async def test_a_fork_does_not_fit_whole(self, stage: Stage) -> None:
        stage.script(full, full, applied)
        forked, neighbours = stage.fork("f", "a"), stage.append("b")

        assert isinstance(await forked, StoreFullError)
        assert isinstance(await neighbours, Appended)
        [source, fork] = stage.engine.load(["a", "f"])
        assert source is not None
        assert (source.refs, fork) == (0, None)


class TestFailure:
    @pytest.mark.parametrize("fault", [failed, lambda _engine, _groups: 1 // 0])
    async def test_everybody_is_told_and_nothing_more_is_taken(self, stage: Stage, fault: Any) -> None:  # noqa: ANN401 a step
        stage.script(fault)
        answers = [stage.append("a"), stage.append("b"), stage.append("none")]
        for answer in answers:
            assert isinstance(await answer, StoreFailedError)

        assert isinstance(await stage.append("a"), StoreFailedError)
        assert stage.committer.unready() == "the store has failed"
        assert stage.engine.journal == [[["a"], ["b"]]]

    async def test_those_who_wait_in_the_queue_are_told(self, stage: Stage) -> None:
        waiting: list[asyncio.Future[Any]] = []
        loop = asyncio.get_running_loop()
        queued = asyncio.Event()

        def queue_another() -> None:
            waiting.append(stage.append("b"))
            queued.set()

        def wait_and_fail(engine: ScriptedEngine, groups: Any) -> Any:  # noqa: ANN401 a step
            asyncio.run_coroutine_threadsafe(queued.wait(), loop).result()
            return failed(engine, groups)

        stage.script(wait_and_fail)
        first = stage.append("a")
        loop.call_soon(loop.call_soon, queue_another)  # once the first batch has been taken

        assert isinstance(await first, StoreFailedError)
        assert isinstance(await waiting[0], StoreFailedError)


class TestNegativeAnswers:
    """On a store that others write to, each rests on a head as it was after the command came, or on a commit."""

    async def test_a_duplicate_a_gap_and_a_stale_epoch_are_found_on_a_fresh_head(self, shared: Stage) -> None:
        await shared.append("a", triple=triple(0, epoch=3))
        shared.engine.rival_deletes("a")

        for request in (triple(0, epoch=3), triple(5, epoch=3), triple(0, epoch=1)):
            assert isinstance(await shared.append("a", triple=request), NotFoundError)
        assert shared.engine.journal == [[["a"]]]

    async def test_they_stand_where_nothing_has_moved(self, shared: Stage) -> None:
        await shared.append("a", triple=triple(0, epoch=3))

        assert isinstance(await shared.append("a", triple=triple(0, epoch=3)), Duplicate)
        assert isinstance(await shared.append("a", triple=triple(5, epoch=3)), ProducerGapError)
        assert isinstance(await shared.append("a", triple=triple(0, epoch=1)), StaleEpochError)

    async def test_a_closed_stream_may_have_been_made_anew(self, shared: Stage) -> None:
        await shared.append("a", close=True)
        shared.engine.rival_deletes("a")
        [b] = shared.engine.load(["b"])
        assert b is not None
        shared.engine.apply([[mutation_of(b._replace(path="a", sid=77, version=78))]])

        assert isinstance(await shared.append("a", b"anew"), Appended)
        assert shared.engine.content("a") == b"anew"

    async def test_a_creation_may_meet_another_stream_than_it_knew(self, shared: Stage) -> None:
        shared.engine.rival_appends("a", b"", close=True)

        assert isinstance(await shared.create("a"), StreamExistsError)

    async def test_a_duplicate_on_a_stream_that_a_neighbour_finds_unmoved_needs_no_look(self, shared: Stage) -> None:
        await shared.append("a", triple=triple(0))
        shared.script()
        again, fresh, gap = (shared.append("a", triple=triple(seq)) for seq in (0, 1, 9))

        assert isinstance(await again, Duplicate)
        assert isinstance(await fresh, Appended)
        assert isinstance(await gap, ProducerGapError)
        assert shared.engine.journal == [[["a"]]]

    async def test_a_refusal_beside_an_append_that_conflicts_is_decided_anew(self, shared: Stage) -> None:
        await shared.append("a", triple=triple(0))
        shared.script(after(lambda: shared.engine.rival_deletes("a")))
        again, fresh = shared.append("a", triple=triple(0)), shared.append("a", triple=triple(1))

        assert isinstance(await again, NotFoundError)
        assert isinstance(await fresh, NotFoundError)

    async def test_many_appends_are_decided_on_fresh_heads_from_the_start(self, shared: Stage) -> None:
        """Some are accepted, some refused: once the former are stored it is too late to look again at the latter."""
        await shared.append("b", b"", close=True)
        shared.engine.rival_deletes("b")
        shared.script()
        one = Append(b"x", TEXT)

        outcomes = await shared.many(("a", one), ("b", one))

        assert [type(outcome) for outcome in outcomes] == [Appended, NotFoundError]
        assert shared.engine.journal == [[["a"]]]

    async def test_alone_on_a_store_nothing_is_looked_at_twice(self, stage: Stage) -> None:
        await stage.append("a", b"", close=True)
        stage.engine.rival_deletes("a")

        assert isinstance(await stage.append("a"), StreamClosedError)


class TestObservers:
    async def test_one_that_fails_keeps_nobody_from_an_answer_nor_from_the_next_commit(self) -> None:
        async for stage in running(Stage(observers=(Faulty(),))):
            answers = await asyncio.gather(stage.append("a"), stage.append("b"))

            assert [type(answer) for answer in (*answers, await stage.append("a"))] == [Appended] * 3
            assert stage.heard.applied_paths == ["a", "b", "a"]


class Looking(AppendCommand):
    """An append that looks at much beside its stream."""

    def decide(self, batch: Batch) -> None:
        super().decide(batch)
        batch.look(Bounds().batch_commands + 1)


class TestWork:
    async def test_what_commands_look_at_ends_a_batch(self, stage: Stage) -> None:
        """However many are queued in one turn of the loop: each has a commit, and the loop a turn, of its own."""
        answers = [stage._submit(partial(Looking, "a", Append(b"x", TEXT))) for _ in range(3)]
        answers.append(stage.append("b"))
        answers.append(stage.append("a", b"y"))
        assert all(isinstance(answer, Appended) for answer in await asyncio.gather(*answers))
        assert stage.engine.journal == [[["a"]], [["a"]], [["a"]], [["b"], ["a"]]]
        assert stage.engine.content("a") == b"xxxy"

    async def test_many_appends_in_one_command_count_as_many(self, stage: Stage) -> None:
        bound = Bounds().batch_commands
        appends = [("a", Append(b"x", TEXT))] * bound
        answers = [stage.many(*appends), stage.many(*appends), stage.append("b")]
        await asyncio.gather(*answers)
        assert [len(groups) for groups in stage.engine.journal] == [1, 1, 1]

    async def test_a_queue_is_bounded_in_appends(self, stage: Stage) -> None:
        half = [("a", Append(b"x", TEXT))] * (Bounds().queue_commands // 2)
        answers = [stage.many(*half), stage.many(*half), stage.append("b")]
        settled = await asyncio.gather(*answers)
        assert [isinstance(answer, OverloadedError) for answer in settled] == [False, False, True]
        assert stage.committer._queued_count == 0

    async def test_unknown_names_are_looked_up_at_once(self, stage: Stage) -> None:
        before = len(stage.engine.loads)
        refused = await stage.many(*[(f"none/{number}", Append(b"x", TEXT)) for number in range(200)])
        assert all(isinstance(verdict, NotFoundError) for verdict in refused)
        assert len(stage.engine.loads) == before + 1

    async def test_refusals_keep_no_frames(self, stage: Stage) -> None:
        refused = await stage.many(*[("none", Append(b"x", TEXT))] * 3)
        alone = await stage.append("none")
        assert [refusal.__traceback__ for refusal in (*refused, alone)] == [None] * 4

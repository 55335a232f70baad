"""Group commit: every command that waits goes into the next transaction, over all streams.

Owns: the queue, its bounds, and the one commit in flight.
Must not know: what a command decides.

Invariants:
1. Commands on one stream are decided in the order they were submitted.
2. At most one commit is in flight; while it is, the next batch collects. A lone command commits at once.
3. Nobody is answered before the commit that holds their decision is durable, and everybody is answered exactly once.
4. A refusal of one command never aborts its neighbours. An unexpected exception fails its whole batch, loudly.
5. Where other processes write to the store too, what changes nothing (a refusal, a duplicate) is answered only if the
   heads it rests on were loaded after the command came, or were found unmoved by a commit.
6. A commit is never cancelled: a client that goes away leaves its append to finish.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from durable_streams.commit.batch import Batch, Slot
from durable_streams.commit.outcomes import commit_groups
from durable_streams.commit.writer import LetGo
from durable_streams.engine.base import EngineFailedError, Mutation, Outcome, StorageFullError
from durable_streams.protocol.errors import (
    OutcomeUnknownError,
    OverloadedError,
    ShuttingDownError,
    StoreFailedError,
    StoreFullError,
    StreamError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.commit.batch import Watch
    from durable_streams.commit.command import Command
    from durable_streams.commit.heads import HeadCache
    from durable_streams.commit.outcomes import Result
    from durable_streams.commit.writer import Writer
    from durable_streams.engine.base import Engine
    from durable_streams.runtime import Runtime

CONFLICTS_MAX: Final = 16
"""How often a command is decided anew because another writer moved its stream, before it is told to try again."""
FULL_MS: Final = 5_000
"""How long after a write found no space the server calls itself unready, if no other finds some before."""
HELD_BYTES_MAX: Final = 1 << 20
"""Batches of two commands and more, up to this many bytes, hold the loop while their rows are written; more would hold
it for milliseconds."""
_log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Hears what became of each commit, on the loop's thread. Calls return at once and do not raise."""

    def applied(self, slot: Slot) -> None:
        """What this slot holds is durable; those who asked for it are not answered yet."""

    def lost(self, slot: Slot) -> None:
        """What this slot held has come to nothing; it is decided again, or refused."""

    def settled(self) -> None:
        """Everybody in the commit has been answered."""


def _nobody(_sid: int) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears of commits, and who is heard while they are decided.

    observers: told in this order. watch: see ``Watch``. followed: whether a live reader holds this sid (§5.1).
    """

    observers: tuple[Observer, ...] = ()
    watch: Watch | None = None
    followed: Callable[[int], bool] = _nobody

    def applied(self, slot: Slot) -> None:
        """Tell the observers."""
        for observer in self.observers:
            _tell(observer.applied, slot)

    def lost(self, slot: Slot) -> None:
        """Tell the observers."""
        for observer in self.observers:
            _tell(observer.lost, slot)

    def settled(self) -> None:
        """Tell the observers."""
        for observer in self.observers:
            _tell(observer.settled)


class _Flight:
    """A decided batch on its way to the disk."""

    __slots__ = ("batch", "commands", "groups", "mutations", "refusals")

    def __init__(self, batch: Batch, commands: list[Command], refusals: dict[Command, StreamError]) -> None:
        self.batch, self.commands, self.refusals = batch, commands, refusals
        self.groups: list[list[Slot]] = batch.groups()
        self.mutations: list[list[Mutation]] = []


class Committer:
    """Collects commands, decides them in batches, commits each batch in one transaction, and answers.

    Thread: the loop's thread only; the engine is called in the writer's.
    """

    def __init__(
        self, engine: Engine, cache: HeadCache, writer: Writer, *, runtime: Runtime, audience: Audience | None = None
    ) -> None:
        self._engine, self._cache, self._writer = engine, cache, writer
        self._audience = audience or Audience()
        self._clock, self._chance, self._bounds = runtime.clock, runtime.chance, runtime.bounds
        self._queue: deque[Command] = deque()
        self._queued_bytes = self._queued_count = 0
        self._doubted: set[Command] = set()
        self._busy = self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._full_until_ms = 0
        self.failed = asyncio.Event()

    def submit(self, command: Command) -> None:
        """Queue a command; it is settled later, exactly once, or now if the queue is full or closed."""
        if self._draining or self.failed.is_set():
            command.settle(StoreFailedError("the store has failed") if self.failed.is_set() else _shutting_down())
            return
        size, count = self._queued_bytes + command.size_bytes, self._queued_count + command.count
        if size > self._bounds.queue_bytes or (self._queue and count > self._bounds.queue_commands):
            command.settle(OverloadedError("too many appends are waiting"))
            return
        self._queue.append(command)
        self._queued_bytes, self._queued_count = size, count
        if not self._busy:
            self._busy = True
            self._idle.clear()
            # Not at once: everything that arrives in this turn of the loop joins one commit.
            asyncio.get_running_loop().call_soon(self._kick)

    def unready(self) -> str | None:
        """Return why writes are not taken now, or ``None``."""
        if self.failed.is_set():
            return "the store has failed"
        if self._draining:
            return "the server is shutting down"
        return "the store is full" if self._clock.now_ms() < self._full_until_ms else None

    async def drain(self) -> None:
        """Refuse what comes from now on, and return once everything queued is committed and answered."""
        self._draining = True
        await self._idle.wait()

    def _kick(self) -> None:
        if not self._queue:
            self._busy = False
            self._idle.set()
            return
        commands = self._take()
        try:
            flight = self._decide(commands)
        except EngineFailedError as fault:
            self._engine_failed(commands, fault)
            return
        except Exception as fault:  # noqa: BLE001 whatever it is, those waiting must hear of it
            _fail(commands, fault)
            self._doubted.difference_update(commands)
            if self._audience.watch is not None:
                self._audience.watch.reset()
            asyncio.get_running_loop().call_soon(self._kick)
            return
        if not flight.groups:
            for command, error in self._settlements(flight, {}):
                _settle(command, error)
            asyncio.get_running_loop().call_soon(self._kick)
            return
        let_go = LetGo() if _is_held(flight.commands) else None
        finish = partial(self._finish, flight)
        self._writer.submit(partial(self._commit, flight, let_go), finish, let_go=let_go)

    def _take(self) -> list[Command]:
        """Take commands up to the bounds of a batch; a single one may exceed them."""
        commands: list[Command] = []
        size = count = 0
        while self._queue:
            size += self._queue[0].size_bytes
            count += self._queue[0].count
            if commands and (size > self._bounds.batch_bytes or count > self._bounds.batch_commands):
                break
            command = self._queue.popleft()
            self._queued_bytes -= command.size_bytes
            self._queued_count -= command.count
            commands.append(command)
        return commands

    def _put_back(self, commands: list[Command]) -> None:
        """Queue commands again, before all that wait."""
        for command in reversed(commands):
            self._queue.appendleft(command)
            self._queued_bytes += command.size_bytes
            self._queued_count += command.count

    def _decide(self, commands: list[Command]) -> _Flight:
        if self._engine.shared:
            self._look_again(commands)
        batch = Batch(self._cache, self._clock.now_ms(), self._audience.followed, watch=self._audience.watch)
        refusals: dict[Command, StreamError] = {}
        for number, command in enumerate(commands, 1):
            try:
                command.decide(batch)
            except StreamError as refusal:
                refusals[command] = refusal.bare()
            if batch.looks > self._bounds.batch_commands and number < len(commands):
                # What commands look at is known only now: the rest waits for the next batch, and the loop has a turn.
                self._put_back(commands[number:])
                return _Flight(batch, commands[:number], refusals)
        return _Flight(batch, commands, refusals)

    def _look_again(self, commands: list[Command]) -> None:
        """Have the heads loaded anew under commands that were decided in doubt, and under those over several streams.

        A decision over several streams may change some and refuse others: by the time a commit has told whether the
        former had moved, it is too late to find out about the latter.
        """
        for command in commands:
            paths = command.paths()
            if len(paths) > 1 or command in self._doubted:
                for path in paths:
                    self._cache.forget(path)

    def _commit(self, flight: _Flight, let_go: LetGo | None) -> list[Result]:
        """In the writer's thread: build the mutations (large bodies are cut here) and commit them."""
        flight.mutations = [[slot.mutation(self._chance.version()) for slot in group] for group in flight.groups]
        return commit_groups(self._engine, flight.mutations, let_go)

    def _finish(self, flight: _Flight, outcome: list[Result] | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._engine_failed(flight.commands, outcome)
            return
        errors: dict[str, StreamError | None] = {}
        for group, result in zip(flight.groups, outcome, strict=True):
            self._finish_group(group, result, errors)
        self._note_room(flight, outcome)
        settlements = self._settlements(flight, errors)
        self._kick()  # first, so that the disk works while the answers are sent
        for command, error in settlements:
            _settle(command, error)
        self._audience.settled()

    def _note_room(self, flight: _Flight, results: list[Result]) -> None:
        """Be unready for a while if something did not fit, and ready again once bytes did and nothing did not."""
        if any(isinstance(result, StorageFullError) for result in results):
            self._full_until_ms = self._clock.now_ms() + FULL_MS
        elif self._full_until_ms and any(slot.pieces for group in flight.groups for slot in group):
            self._full_until_ms = 0

    def _finish_group(self, group: list[Slot], result: Result, errors: dict[str, StreamError | None]) -> None:
        """Publish an applied group; note in ``errors`` the paths of one that was not (``None``: decide it again)."""
        for slot in group:
            if result is Outcome.APPLIED:
                if slot.head is None:
                    self._cache.forget(slot.path)
                else:
                    self._cache.store(slot.head, slot.fences)
                self._audience.applied(slot)
                continue
            self._cache.forget(slot.path)
            self._audience.lost(slot)
            errors[slot.path] = None
            if result is Outcome.UNKNOWN:
                errors[slot.path] = OutcomeUnknownError("another writer moved the stream while this was on its way")
            elif isinstance(result, StorageFullError):
                errors[slot.path] = StoreFullError(str(result))

    def _settlements(
        self, flight: _Flight, errors: dict[str, StreamError | None]
    ) -> list[tuple[Command, StreamError | None]]:
        """Return whom to answer what, and queue again the commands to decide again."""
        if not errors and not self._engine.shared:
            return [(command, flight.refusals.get(command)) for command in flight.commands]
        settlements, retried = _sort_out(flight, errors)
        if self._engine.shared:
            settlements, doubtful = self._doubt(flight, settlements)
            retried += doubtful
        again = set(retried)
        self._put_back([command for command in flight.commands if command in again])
        return settlements

    def _doubt(
        self, flight: _Flight, settlements: list[tuple[Command, StreamError | None]]
    ) -> tuple[list[tuple[Command, StreamError | None]], list[Command]]:
        """Take out whose decision rests on a head of some time ago that nothing has confirmed; once for each."""
        committed = {slot.path for group in flight.groups for slot in group}
        sure: list[tuple[Command, StreamError | None]] = []
        doubtful: list[Command] = []
        for command, error in settlements:
            paths = command.paths()
            if len(paths) > 1 or paths[0] in committed or command in self._doubted:
                sure.append((command, error))
                self._doubted.discard(command)
            else:
                doubtful.append(command)
                self._doubted.add(command)
        return sure, doubtful

    def _engine_failed(self, commands: list[Command], fault: BaseException) -> None:
        """Fail-stop: nothing about the disk is certain any more, so nothing more is promised."""
        _log.critical("the store failed; no more writes are accepted", error=str(fault), exc_info=fault)
        self.failed.set()
        waiting = [*commands, *self._queue]
        self._queue.clear()
        self._doubted.clear()
        self._queued_bytes = self._queued_count = 0
        self._busy = False
        for command in waiting:
            _settle(command, StoreFailedError("the store has failed"))
        self._idle.set()


def _is_held(commands: list[Command]) -> bool:
    """Whether the loop stands still while the rows of a batch are written.

    Not for a lone command: it makes half a dozen calls of LMDB, which seldom meet a busy loop, and holding costs three
    of the ten futex calls of an append (``bench/append_calls.py``).
    """
    return len(commands) > 1 and sum(command.size_bytes for command in commands) <= HELD_BYTES_MAX


def _sort_out(
    flight: _Flight, errors: dict[str, StreamError | None]
) -> tuple[list[tuple[Command, StreamError | None]], list[Command]]:
    """Return whom to answer what, and the commands to decide again, because their stream had moved."""
    settlements: list[tuple[Command, StreamError | None]] = []
    retried: list[Command] = []
    for command in flight.commands:
        lost = [errors[path] for path in command.paths() if path in errors]
        error = next((one for one in lost if one is not None), None)
        if lost and error is None:
            command.conflicts += 1
            if command.conflicts <= CONFLICTS_MAX:
                retried.append(command)
                continue
            error = OverloadedError("other writers kept moving the stream")
        settlements.append((command, error or flight.refusals.get(command)))
    return settlements, retried


def _tell(call: Callable[..., None], *what: Slot) -> None:
    """Tell one observer; what goes wrong with it must not keep writers from their answers, nor the next commit."""
    try:
        call(*what)
    except Exception as fault:  # noqa: BLE001 our fault, told loudly; the commit itself stands
        _log.error("an observer of commits failed", exc_info=fault)


def _settle(command: Command, error: StreamError | None) -> None:
    """Answer one command; what goes wrong in telling one caller must not keep the others from hearing."""
    try:
        command.settle(error)
    except Exception as fault:  # noqa: BLE001 our fault, told loudly; the commit itself stands
        _log.error("answering a command failed", paths=command.paths(), exc_info=fault)


def _fail(commands: list[Command], fault: Exception) -> None:
    """Answer a batch whose deciding raised what it must not: our fault, told loudly, under a number to find it by."""
    incident = secrets.token_hex(4)
    _log.error("deciding a batch failed", incident=incident, commands=len(commands), exc_info=fault)
    for command in commands:
        _settle(command, StoreFailedError(f"internal error {incident}"))


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError("the server is shutting down")

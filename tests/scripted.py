"""A store whose commits go as the test has written down: the memory engine with a script before it.

A step of the script is one commit: a function of the engine and the groups that returns outcomes or raises. Commits
without a step are applied. ``journal`` holds the paths of each group of each commit, in order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from durable_streams.engine.base import Chunk, EngineFailedError, Mutation, Outcome, StorageFullError
from durable_streams.engine.memory import MemoryEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.protocol.head import Head

    Groups: TypeAlias = Sequence[Sequence[Mutation]]
    Step: TypeAlias = "Callable[[ScriptedEngine, Groups], list[Outcome]]"

RIVAL_VERSION = 1 << 40
"""Versions that another writer chooses count from here."""


class ScriptedEngine(MemoryEngine):
    """See the module."""

    def __init__(self, *, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared
        self.script: deque[Step] = deque()
        self.journal: list[list[list[str]]] = []
        self.loads: list[str] = []
        self._rivals = 0

    def load(self, paths: Sequence[str]) -> list[Head | None]:
        """Note which were asked for."""
        self.loads.append(" ".join(paths))
        return super().load(paths)

    def commit(self, groups: Groups, *, on_written: Callable[[], None] | None = None) -> list[Outcome]:
        """Do what the script says."""
        self.journal.append([[mutation.path for mutation in group] for group in groups])
        step = self.script.popleft() if self.script else applied
        try:
            return step(self, groups)
        finally:
            if on_written is not None:
                on_written()

    def apply(self, groups: Groups) -> list[Outcome]:
        """Commit, past the script."""
        return super().commit(groups)

    def rival_appends(self, path: str, payload: bytes = b"rival ", *, close: bool = False) -> None:
        """Append as another process would."""
        [old] = self.load([path])
        assert old is not None
        self._rivals += 1
        state = old.state | 1 if close else old.state
        new = old._replace(version=RIVAL_VERSION + self._rivals, tail=old.tail + len(payload), state=state)
        chunks = [Chunk(old.tail, payload)] if payload else []
        assert self.apply([[Mutation(path, (old.sid, old.version), new, chunks)]]) == [Outcome.APPLIED]

    def rival_deletes(self, path: str) -> None:
        """Delete as another process would."""
        [old] = self.load([path])
        assert old is not None
        assert self.apply([[Mutation(path, (old.sid, old.version), None)]]) == [Outcome.APPLIED]

    def content(self, path: str) -> bytes:
        """Return what is stored at a path of the stream's own."""
        [head] = self.load([path])
        assert head is not None
        return b"".join(chunk.payload for chunk in self.read(head.sid, 0, head.tail, 1 << 60))


def applied(engine: ScriptedEngine, groups: Groups) -> list[Outcome]:
    """All goes well."""
    return engine.apply(groups)


def won(engine: ScriptedEngine, groups: Groups) -> list[Outcome]:
    """What can be applied is, and nobody hears of it."""
    engine.apply(groups)
    return [Outcome.UNKNOWN] * len(groups)


def lost(_engine: ScriptedEngine, groups: Groups) -> list[Outcome]:
    """Nothing is applied, and nobody hears of it."""
    return [Outcome.UNKNOWN] * len(groups)


def full(_engine: ScriptedEngine, _groups: Groups) -> list[Outcome]:
    """There is no room."""
    raise StorageFullError("scripted")


def failed(_engine: ScriptedEngine, _groups: Groups) -> list[Outcome]:
    """The disk is gone."""
    raise EngineFailedError("scripted")


def for_path(path: str, step: Step) -> Step:
    """Do ``step`` with the group that this path is in, and apply the others."""

    def split(engine: ScriptedEngine, groups: Groups) -> list[Outcome]:
        return [
            (step if path in {mutation.path for mutation in group} else applied)(engine, [group])[0] for group in groups
        ]

    return split


def after(happening: Callable[[], None], step: Step = applied) -> Step:
    """Do ``step`` once something has happened between the decision and the commit."""

    def later(engine: ScriptedEngine, groups: Groups) -> list[Outcome]:
        happening()
        return step(engine, groups)

    return later


def before(step: Step, happening: Callable[[], None]) -> Step:
    """Do ``step``, then let something happen."""

    def sooner(engine: ScriptedEngine, groups: Groups) -> list[Outcome]:
        outcomes = step(engine, groups)
        happening()
        return outcomes

    return sooner

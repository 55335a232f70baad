"""What became of groups of mutations that were sent to the engine.

Owns: sending again what may or may not have been applied, and sending alone what did not fit beside others.
Must not know: what the mutations are for.
Invariant: ``APPLIED`` is said of a group whose heads were stored, ``CONFLICT`` of one that is certainly not there.

Thread: the writer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from durable_streams.engine.base import EngineFailedError, Mutation, Outcome, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.engine.base import Engine

Group: TypeAlias = "Sequence[Mutation]"
Result: TypeAlias = "Outcome | StorageFullError"
"""What became of one group. ``UNKNOWN`` in the end: another writer moved its heads before it could be found out."""
RESUBMITS_MAX: Final = 8
"""How often one batch with an unknown outcome is sent again."""


def commit_groups(
    engine: Engine, groups: Sequence[Group], on_written: Callable[[], None] | None = None
) -> list[Result]:
    """Commit groups, each whole or not at all; return what became of each.

    Args:
        engine: the store.
        groups: mutations that are applied together, in order.
        on_written: called when only the sync is left, as ``Engine.commit`` says; ``None`` for nobody.

    Raises:
        EngineFailedError: nothing is certain; or ``RESUBMITS_MAX`` answers in a row said nothing.
    """
    try:
        return _commit_surely(engine, groups, on_written)
    except StorageFullError as full:
        if len(groups) == 1:
            return [full]
    # One stream's bytes do not fit; its neighbours' may.
    return [_commit_alone(engine, group) for group in groups]


def _commit_alone(engine: Engine, group: Group) -> Result:
    try:
        return _commit_surely(engine, [group])[0]
    except StorageFullError as full:
        return full


def _commit_surely(
    engine: Engine, groups: Sequence[Group], on_written: Callable[[], None] | None = None
) -> list[Result]:
    """Commit; send groups of unknown outcome again, unchanged: at most one copy can win.

    Raises:
        StorageFullError: nothing at all was applied.
    """
    results: list[Result] = [*engine.commit(groups, on_written=on_written)]
    unknown = [index for index, result in enumerate(results) if result is Outcome.UNKNOWN]
    for _ in range(RESUBMITS_MAX):
        if not unknown:
            return results
        outcomes = _commit_again(engine, [groups[index] for index in unknown])
        for index, outcome in zip(unknown, outcomes, strict=True):
            results[index] = _which_won(engine, groups[index]) if outcome is Outcome.CONFLICT else outcome
        unknown = [index for index, outcome in zip(unknown, outcomes, strict=True) if outcome is Outcome.UNKNOWN]
    if not unknown:
        return results
    msg = "the outcome of a commit stayed unknown"
    raise EngineFailedError(msg)


def _commit_again(engine: Engine, groups: Sequence[Group]) -> list[Outcome]:
    """Commit; finding no room says nothing about the copies sent before."""
    try:
        return engine.commit(groups)
    except StorageFullError:
        return [Outcome.UNKNOWN] * len(groups)


def _which_won(engine: Engine, group: Group) -> Outcome:
    """Tell what met a second copy of a group: its first, or perhaps another writer.

    One head of the group that stands is enough, for it came whole. With none, the first may have won and been written
    over, or have lost. A head is told by its version, which is chosen by chance; touches do not change it.
    """
    kept = [mutation for mutation in group if mutation.head is not None] or group
    heads = engine.load([mutation.path for mutation in kept])
    for mutation, head in zip(kept, heads, strict=True):
        after = mutation.head
        if (head and (head.sid, head.version)) == (after and (after.sid, after.version)):
            return Outcome.APPLIED
    return Outcome.UNKNOWN

"""Many appends as one command: decided together, durable together, each with a verdict of its own.

Owns: the order of the appends within the command, and whether one refusal ends it.
Must not know: how the appends arrived.
Invariant: the appends that a command accepts are applied by one commit, all of them or none.

A command is decided on heads from a cache. When another writer has moved one of those heads, the engine refuses the
group of mutations that rests on it, and the whole command is decided again. Appends already applied in another group
would then be made twice. So every stream that the command looked at goes into one group, those that refused included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from durable_streams.protocol.errors import NotFoundError, StreamError
from durable_streams.streams.commands import decide_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.protocol.append import Append, Appended, Duplicate

Verdict: TypeAlias = "Appended | Duplicate | StreamError"
"""What was decided of one append. An outcome is the engine's: what became of a group of mutations."""


class ManyCommand:
    """Appends to any number of streams. Implements ``Command``.

    Args:
        appends: (path, request), decided in this order.
        settle: called once: with a list of verdicts, one for each append in order, or with the error that met all.
        stop_at_refusal: whether the first refusal ends the command. The appends after it are then not decided, and the
            list of verdicts ends with the refusal.
    """

    __slots__ = ("_appends", "_settle", "_stop_at_refusal", "_verdicts", "conflicts", "count", "size_bytes")

    def __init__(
        self,
        appends: Sequence[tuple[str, Append]],
        settle: Callable[[list[Verdict] | StreamError], None],
        *,
        stop_at_refusal: bool,
    ) -> None:
        self._appends, self._settle, self._stop_at_refusal = appends, settle, stop_at_refusal
        self._verdicts: list[Verdict] = []
        self.conflicts, self.count = 0, len(appends)
        self.size_bytes = sum(len(request.payload) for _, request in appends if isinstance(request.payload, bytes))

    def paths(self) -> Sequence[str]:
        """Return the paths the decisions rest on."""
        return [path for path, _ in self._appends]

    def decide(self, batch: Batch) -> None:
        """Decide the appends one after the other, and link all their streams into one group of mutations.

        A stream that refused is linked too. Its refusal rests on a head, and perhaps on an append that another command
        of this batch made there. If the engine does not apply that, this command is decided again, so none of its
        appends may have been applied by itself. The same is true of streams behind a refusal that ends the command.
        """
        self._verdicts = []
        batch.load([path for path, _ in self._appends])
        first: Slot | None = None
        for number, (path, request) in enumerate(self._appends, 1):
            slot = batch.slot(path)
            verdict = _decided(batch, slot, request)
            self._verdicts.append(verdict)
            first = _together(batch, first, slot)
            if self._stop_at_refusal and isinstance(verdict, StreamError):
                for left_out, _ in self._appends[number:]:
                    first = _together(batch, first, batch.slot(left_out))
                return

    def settle(self, error: StreamError | None) -> None:
        """Answer, after the commit."""
        self._settle(self._verdicts if error is None else error)


def _decided(batch: Batch, slot: Slot, request: Append) -> Verdict:
    if slot.draft is None:  # not raised: a batch may name thousands that are not there
        return NotFoundError(slot.path)
    try:
        return decide_on(batch, slot.path, request)[1]
    except StreamError as refusal:
        return refusal.bare()


def _together(batch: Batch, first: Slot | None, slot: Slot) -> Slot:
    """Link a slot into the group of the command's first slot, which is returned."""
    first = first or slot
    batch.link(first, slot)
    return first

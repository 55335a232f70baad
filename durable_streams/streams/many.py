"""Many appends as one command: decided together, durable together, each with an outcome of its own.

Owns: the order of the appends within the command, and whether one refusal ends it.
Must not know: how the appends arrived.
Invariant: all accepted appends of one command are in one commit, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from durable_streams.protocol.errors import StreamError
from durable_streams.streams.commands import decide_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.commit.batch import Batch, Slot
    from durable_streams.protocol.append import Append, Appended, Duplicate

AppendOutcome: TypeAlias = "Appended | Duplicate | StreamError"


class ManyCommand:
    """Appends to any number of streams. Implements ``Command``.

    Args:
        appends: (path, request) in order.
        settle: called once, with one outcome per append in order, or with the error that met all of them.
        stop_at_refusal: whether what comes after a refused append is left out; then fewer outcomes are settled.
    """

    __slots__ = ("_appends", "_outcomes", "_settle", "_stop_at_refusal", "conflicts", "size_bytes")

    def __init__(
        self,
        appends: Sequence[tuple[str, Append]],
        settle: Callable[[list[AppendOutcome] | StreamError], None],
        *,
        stop_at_refusal: bool,
    ) -> None:
        self._appends, self._settle, self._stop_at_refusal = appends, settle, stop_at_refusal
        self._outcomes: list[AppendOutcome] = []
        self.conflicts = 0
        self.size_bytes = sum(len(request.payload) for _, request in appends if isinstance(request.payload, bytes))

    def paths(self) -> Sequence[str]:
        """Return the paths the decisions rest on."""
        return [path for path, _ in self._appends]

    def decide(self, batch: Batch) -> None:
        """Decide the appends one after the other; those accepted win or lose together.

        So do the streams that refused, and those not come to: what a refusal rests on may come to nothing, and then all
        is decided again, or fails, and an append that had stood alone would be there twice.
        """
        self._outcomes = []
        first: Slot | None = None
        for number, (path, request) in enumerate(self._appends, 1):
            try:
                slot, outcome = decide_on(batch, path, request)
            except StreamError as refusal:
                self._outcomes.append(refusal)
                first = _together(batch, first, batch.slot(path))
                if self._stop_at_refusal:
                    for left_out, _ in self._appends[number:]:
                        first = _together(batch, first, batch.slot(left_out))
                    return
                continue
            self._outcomes.append(outcome)
            first = _together(batch, first, slot)

    def settle(self, error: StreamError | None) -> None:
        """Answer, after the commit."""
        self._settle(self._outcomes if error is None else error)


def _together(batch: Batch, first: Slot | None, slot: Slot) -> Slot:
    first = first or slot
    batch.link(first, slot)
    return first

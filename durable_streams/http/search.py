"""Looking for a place in a stream a slice at a time: ``?tail=N``, and the base of a fork.

Owns: the turns of the loop between slices, of which all searches together have one a turn. Must not know: what a slice
is, nor what is answered at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from durable_streams.http.errors import answer_of, answer_to_fault
from durable_streams.http.messages import Pending
from durable_streams.protocol.errors import StreamError
from durable_streams.runtime.turns import TURN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from durable_streams.http.messages import Answer, Request, Settle, SseStart
    from durable_streams.runtime.turns import Turns

Handled: TypeAlias = "Answer | SseStart | Pending"
T = TypeVar("T")


class Search(Pending, Generic[T]):
    """A search that goes on among other work, and the answer that begins where it ends.

    Args:
        request: for the log, should it fail.
        steps: stops between slices and returns what was looked for.
        answer: makes the answer of that.
        turns: of the loop, shared by all searches.
        settle: takes the answer.
    """

    __slots__ = ("_answer", "_awaited", "_over", "_request", "_settle", "_steps", "_turns")

    def __init__(
        self,
        request: Request,
        steps: Generator[None, None, T],
        answer: Callable[[T], Handled],
        *,
        turns: Turns,
        settle: Settle,
    ) -> None:
        self._request, self._steps, self._answer, self._settle = request, steps, answer, settle
        self._awaited: Pending | None = None
        self._over, self._turns = False, turns
        turns.add(self._step)

    def _step(self) -> int:
        """Look at one slice, which is a turn's worth."""
        if self._over:
            return 0
        try:
            next(self._steps)
        except StopIteration as found:
            self._found(found.value)
        except StreamError as refusal:
            self._settle(answer_of(refusal))
        except Exception as fault:  # noqa: BLE001 nobody above would answer
            self._settle(answer_to_fault(self._request, fault))
        else:
            self._turns.add(self._step)
        return TURN_BYTES

    def _found(self, found: T) -> None:
        try:
            handled = self._answer(found)
        except StreamError as refusal:
            handled = answer_of(refusal)
        except Exception as fault:  # noqa: BLE001 nobody above would answer
            handled = answer_to_fault(self._request, fault)
        if isinstance(handled, Pending):
            self._awaited = handled  # a long-poll that found nothing yet, or a commit
        else:
            self._settle(handled)

    def abandon(self) -> None:
        """Look no further, and wait for nothing."""
        self._over = True
        self._steps.close()
        if self._awaited is not None:
            self._awaited.abandon()

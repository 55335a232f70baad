"""``?tail=N``: looking for the last N messages a slice at a time, so that no other request waits for all of it.

Owns: the turns of the loop between slices. Must not know: what a slice is, nor what is answered at the end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from durable_streams.http.errors import answer_of, answer_to_fault
from durable_streams.http.messages import Pending
from durable_streams.protocol.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from durable_streams.http.messages import Answer, Request, Settle, SseStart

Handled: TypeAlias = "Answer | SseStart | Pending"


class TailSearch(Pending):
    """A search that goes on after other work, and the answer that begins where it ends.

    Args:
        request: for the log, should it fail.
        steps: stops between slices and returns the position.
        answer: makes the answer from there.
        settle: takes it, unless ``begin`` returned it.
    """

    __slots__ = ("_answer", "_awaited", "_request", "_settle", "_steps", "_turn")

    def __init__(
        self, request: Request, steps: Generator[None, None, int], answer: Callable[[int], Handled], *, settle: Settle
    ) -> None:
        self._request, self._steps, self._answer, self._settle = request, steps, answer, settle
        self._turn: asyncio.Handle | None = None
        self._awaited: Pending | None = None

    def begin(self) -> Handled:
        """Look at one slice; return the answer if that was all, else itself. Raises what ``steps`` raises."""
        try:
            next(self._steps)
        except StopIteration as found:
            return self._answer(found.value)
        self._turn = asyncio.get_running_loop().call_soon(self._go_on)
        return self

    def _go_on(self) -> None:
        try:
            handled = self.begin()
        except StreamError as refusal:
            handled = answer_of(refusal)
        except Exception as fault:  # noqa: BLE001 nobody above would answer
            handled = answer_to_fault(self._request, fault)
        if not isinstance(handled, Pending):
            self._settle(handled)
        elif handled is not self:
            self._awaited = handled  # a long-poll that found nothing yet

    def abandon(self) -> None:
        """Look no further, and wait for nothing."""
        if self._turn is not None:
            self._turn.cancel()
        self._steps.close()
        if self._awaited is not None:
            self._awaited.abandon()

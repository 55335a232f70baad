"""What a batch is made of: a command decides, and is settled once its commit is durable.

Must not know: queues, threads, what is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.commit.batch import Batch
    from durable_streams.protocol.errors import StreamError

R = TypeVar("R")


class Command(Protocol):
    """Something to decide inside a batch.

    size_bytes, count: what it adds to queue and batch bounds: bytes, and commands, of which many appends are as many.
    conflicts: how often it has been decided in vain.
    """

    size_bytes: int
    count: int
    conflicts: int

    def decide(self, batch: Batch) -> None:
        """Change the batch and keep the result for ``settle``; refuse by a ``StreamError``, with nothing changed."""

    def paths(self) -> Sequence[str]:
        """Return the paths whose heads the decision rests on."""

    def settle(self, error: StreamError | None) -> None:
        """Answer: with the result kept, or with the error. Must not raise."""


class SettledCommand(Generic[R]):
    """Keeps the result of ``decide`` until the commit that holds it is durable."""

    __slots__ = ("_result", "_settle", "conflicts", "count", "path", "size_bytes")

    def __init__(
        self, path: str, size_bytes: int, settle: Callable[[R | StreamError], None], *, count: int = 1
    ) -> None:
        self.path, self.size_bytes, self.count, self.conflicts = path, size_bytes, count, 0
        self._settle = settle
        self._result: R | None = None

    def paths(self) -> Sequence[str]:
        """Return the paths the decision rests on."""
        return (self.path,)

    def settle(self, error: StreamError | None) -> None:
        """Answer, after the commit."""
        result = self._result
        if error is None and result is None:
            msg = "a command was settled without a decision"
            raise AssertionError(msg)
        self._settle(error if error is not None else result)  # type: ignore[arg-type]

"""The engine seam: compare-and-swap on a stream's head.

Owns: the interface every engine implements, and the values that cross it.
Must not know: any rule of the protocol; an engine stores and never decides.
Invariant: what ``commit`` answered ``APPLIED`` for survives a crash of process and machine (durable engines), whole.

All calls block and are safe from any thread; ``commit``, ``touch`` and ``collect`` are made by one thread at a time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.protocol.head import Head


PACKED_BYTES: Final = 64 * 1024
"""Size that ``Engine.pack`` merges small chunks up to."""


class Chunk(NamedTuple):
    """Consecutive bytes of one stream, starting at ``offset``. Never splits a JSON message."""

    offset: int
    payload: bytes


class ProducerRow(NamedTuple):
    """The fence of one producer on one stream, whose meaning is the protocol's.

    epoch, seq: 63 bits. upload_bytes: 63 bits, or ``None``. finished: always true where ``upload_bytes`` is ``None``.
    """

    producer_id: str
    epoch: int
    seq: int
    upload_bytes: int | None = None
    finished: bool = True


class Touch(NamedTuple):
    """A read that slides a TTL: raise ``touched_ms`` of the head at ``path`` if it still is incarnation ``sid``."""

    path: str
    sid: int
    touched_ms: int


class Due(NamedTuple):
    """One row of the ``due`` index whose time has come."""

    due_ms: int
    sid: int
    path: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """If the head at ``path`` is still ``expected``, replace it by ``head`` and add these rows.

    path: the stream's path.
    expected: (sid, version) of the head that must be there, or ``None``: there must be no head.
    head: the new head, or ``None`` to remove it. When the sid goes (removed, or replaced by another incarnation), the
        engine drops its sid row and due row at once and leaves its chunks and producer rows to ``collect``.
    chunks: new chunks of ``head.sid``, in offset order, none empty.
    producers: producer rows of ``head.sid`` to put.
    forgotten: ids of producer rows of ``head.sid`` to remove, none of them among ``producers``; no row, no error.
    """

    path: str
    expected: tuple[int, int] | None
    head: Head | None
    chunks: Sequence[Chunk] = ()
    producers: Sequence[ProducerRow] = ()
    forgotten: Sequence[str] = ()


class Outcome(enum.Enum):
    """What became of one group of mutations."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """A head was not the expected one, or a new sid was taken: nothing of the group was applied."""
    UNKNOWN = "unknown"
    """It may or may not have been applied; send the identical group again."""


class EngineError(Exception):
    """Base of everything an engine raises on purpose."""


class StorageFullError(EngineError):
    """Map or disk full: nothing of the call was applied; the engine stays usable, and writes work again with space."""


class EngineFailedError(EngineError):
    """A write or sync failed in a way after which nothing about the disk is certain. Fail-stop: never retried."""


class RefusedToStartError(EngineError):
    """``open`` refuses: the message is one line for the operator and says what to do."""


class Engine(Protocol):
    """What a store offers. Every method may raise ``EngineFailedError``.

    What is read and is not what was stored raises ``protocol.errors.DamagedError``, which is that stream's alone.
    """

    name: str
    """``lmdb``, ``memory``, …: what ``--engine`` says."""
    durable: bool
    """Whether ``APPLIED`` means fsynced."""
    shared: bool
    """Whether another process may write to the same store: then a head loaded earlier proves nothing."""

    def open(self) -> None:
        """Open the store. Raises ``RefusedToStartError``."""

    def close(self) -> None:
        """Release everything. Idempotent; no other call may be under way."""

    def load(self, paths: Sequence[str]) -> list[Head | None]:
        """Return the heads at these paths, in order, each as it stood at some moment of the call; ``None`` for none."""

    def load_producers(self, keys: Sequence[tuple[int, str]]) -> list[ProducerRow | None]:
        """Return the producer rows of these (sid, producer id) pairs, in order."""

    def scan_producers(self, sid: int, after: str, limit: int) -> list[ProducerRow]:
        """Return up to ``limit`` producer rows of ``sid`` whose id sorts after ``after``, in UTF-8 order."""

    def commit(
        self, groups: Sequence[Sequence[Mutation]], *, on_written: Callable[[], None] | None = None
    ) -> list[Outcome]:
        """Apply each group whole or not at all, all applied ones in one durable transaction; one outcome per group.

        A refused group leaves its neighbours alone. Groups are applied in order, and a later group sees the earlier
        ones; so does a later mutation within a group.

        Args:
            groups: mutations that are applied together, in order.
            on_written: may be called once everything but making it durable is done, in the calling thread.

        Raises:
            StorageFullError: nothing at all was applied.
        """

    def read(self, sid: int, start: int, end: int, max_bytes: int) -> list[Chunk]:  # noqa: PLR0917 - a range and its bound
        """Return consecutive chunks covering ``[start, end)`` from ``start`` on, from one snapshot.

        The first chunk is cut to begin at ``start`` and the last to stop at ``end``. Stops before the chunk with which
        the sum would exceed ``max_bytes``, but always returns at least one chunk, however large, when there is one.
        Stops at a gap. Empty when nothing is stored at ``start``. What was appended in pieces may come back as one.

        Args:
            sid: the incarnation.
            start: offset of the first byte.
            end: offset behind the last byte; past what is stored is allowed.
            max_bytes: of all chunks together, but for the first.
        """

    def read_before(self, sid: int, end: int) -> Chunk | None:
        """Return the chunk that holds byte ``end - 1``, cut to stop at ``end``; ``None`` if that byte is not stored."""

    def touch(self, touches: Sequence[Touch]) -> None:
        """Raise ``touched_ms`` durably where the incarnation still stands; ``version`` stays, so no write conflicts.

        Raises:
            StorageFullError: nothing was applied.
        """

    def scan(self, prefix: str, after: str, limit: int) -> list[Head]:
        """Return up to ``limit`` heads whose path starts with ``prefix`` and sorts after ``after``, in UTF-8 order.

        Damaged ones are left out.
        """

    def due(self, now_ms: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[Due]:
        """Return index rows with ``due_ms <= now_ms``, earliest first.

        Args:
            now_ms: Unix milliseconds.
            limit: most rows.
            after: (due_ms, sid) of a row; only those behind it are returned.
        """

    def collect(self, limit: int) -> int:
        """Remove up to ``limit`` rows of dropped sids in one transaction; return how many it removed.

        Lowest sid first: its chunks, its producer rows, then its mark as dropped, which counts as a row like the
        others, so that dropping many empty streams is bounded too. Fewer than ``limit`` means that nothing is left.

        Raises:
            StorageFullError: nothing was removed.
        """

    def pack(self, sid: int, start: int, end: int, limit: int) -> int:  # noqa: PLR0917 - a range and its bound
        """Merge runs of consecutive small chunks within ``[start, end)`` into chunks of up to ``PACKED_BYTES``.

        One transaction. Bytes and offsets stay as they are; damage stays where it is. Returns where to go on, at or
        past ``end`` when there is nothing more.

        Args:
            sid: the incarnation.
            start: offset to begin at.
            end: offset to stop at, not past what is committed.
            limit: most rows looked at.
        """

    def probe(self) -> None:
        """Check that the store can still be written to, without writing.

        Raises:
            StorageFullError: no space left.
            EngineFailedError: the store is gone or has failed.
        """

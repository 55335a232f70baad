"""What one stream must hold: who wrote what to it and what the server said; its bytes are held against it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from tests.crash.payloads import JSON, tag_at
from tests.crash.wire import ProofError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from tests.crash.payloads import Payload


class Status(enum.Enum):
    """What stands at a path, as a HEAD tells it."""

    ABSENT = 404
    SOFT_DELETED = 410
    OPEN = 200
    CLOSED = 201


LIVE = frozenset({Status.OPEN, Status.CLOSED})


class Fate(enum.Enum):
    """What is known of a write. Once it is known, it must stay so through every crash."""

    UNDECIDED = "not answered yet"
    STANDS = "acknowledged, or seen standing after a crash"
    NEVER = "refused, or seen missing after a crash and not sent again"


@dataclass(eq=False, slots=True)
class Write:
    """One request's payload, whole or not at all in its stream. ``end``: the position behind it, once known."""

    writer: str
    number: int
    payload: Payload
    is_produced: bool = False
    fate: Fate = Fate.UNDECIDED
    end: int | None = None


class Stream:
    """One incarnation of a stream.

    inherited: positions of message ends within what a fork inherits.
    final: its length, once a closing request was acknowledged.
    """

    def __init__(self, path: str, content_type: str, ttl_s: int | None = None) -> None:
        """Begin empty."""
        self.path, self.content_type, self.ttl_s = path, content_type, ttl_s
        self.base = b""
        self.inherited: list[int] = [0]
        self.writes: dict[tuple[str, int], Write] = {}
        self.final: int | None = None

    def write(self, writer: str, number: int, payload: Payload, *, is_produced: bool = False) -> Write:
        """Note what is about to be written."""
        write = self.writes[writer, number] = Write(writer, number, payload, is_produced)
        return write

    def inherit(self, source: Stream, length: int) -> None:
        """Make this a fork of the first ``length`` bytes of a stream whose content is known."""
        self.base = source.content()[:length]
        self.inherited = [position for position in source.boundaries() if position <= length]

    def standing(self) -> list[Write]:
        """Return the writes that stand, in their order in the stream."""
        return sorted((write for write in self.writes.values() if write.fate is Fate.STANDS), key=_end)

    def content(self) -> bytes:
        """Return the stored bytes, provided that no write is undecided."""
        return self.base + b"".join(write.payload.stored for write in self.standing())

    def boundaries(self) -> list[int]:
        """Return where messages end, and 0; provided that no write is undecided."""
        sizes = [size for write in self.standing() for size in write.payload.sizes]
        return [*self.inherited, *list(accumulate(sizes, initial=len(self.base)))[1:]]

    def compare(self, content: bytes) -> None:
        """Hold all stored bytes against the model, and learn the fate of every write found.

        Raises:
            ProofError: something is missing, doubled, torn, moved, out of order, or was never acknowledged to anybody.
        """
        if not content.startswith(self.base):
            self._fail("what the fork inherited has changed")
        if self.final is not None and self.final != len(content):
            self._fail(f"closed at {self.final}, and now {len(content)} long")
        found: dict[Write, int] = {}
        for write, end in self._walk(content):
            self._check_place(write, end, found)
            found[write] = end
        self._check_missing(found)
        for write, end in found.items():
            write.fate, write.end = Fate.STANDS, end

    def _walk(self, content: bytes) -> Iterator[tuple[Write, int]]:
        position = len(self.base)
        last: dict[str, int] = {}
        while position < len(content):
            tag = tag_at(content, position)
            write = self.writes.get(tag) if tag else None
            if write is None:
                self._fail(f"unknown bytes at {position}: {content[position : position + 60]!r}")
            if not content.startswith(write.payload.stored, position):
                self._fail(f"{tag} is not whole at {position}")
            if last.get(write.writer, -1) >= write.number:
                self._fail(f"{tag} comes at {position}, behind {last[write.writer]} of the same writer")
            last[write.writer] = write.number
            position += len(write.payload.stored)
            yield write, position

    def _check_place(self, write: Write, end: int, found: dict[Write, int]) -> None:
        tag = (write.writer, write.number)
        if write in found:
            self._fail(f"{tag} stands twice, up to {found[write]} and up to {end}")
        if write.fate is Fate.NEVER:
            self._fail(f"{tag} was {Fate.NEVER.value}, and stands now up to {end}")
        if write.end not in {None, end}:
            self._fail(f"{tag} stood up to {write.end}, and now up to {end}")

    def _check_missing(self, found: dict[Write, int]) -> None:
        highest: dict[str, int] = {}
        for write in found:
            highest[write.writer] = max(write.number, highest.get(write.writer, -1))
        for write in self.writes.values():
            tag = (write.writer, write.number)
            if write in found or write.fate is Fate.NEVER:
                continue
            if write.fate is Fate.STANDS:
                self._fail(f"{tag} was {write.fate.value}, and is missing")
            if write.is_produced and highest.get(write.writer, -1) > write.number:
                self._fail(f"{tag} is missing, and later ones of the same producer stand")

    def _fail(self, what: str) -> NoReturn:
        raise ProofError(f"{self.path}: {what}")


def stored_form(content_type: str, body: bytes) -> bytes:
    """Return the stored bytes of a page: JSON comes as an array of its messages."""
    if content_type != JSON:
        return body
    if not (body.startswith(b"[") and body.endswith(b"]")):
        raise ProofError(f"a JSON page is no array: {body[:60]!r}")
    return body[1:-1] + b"," if len(body) > len(b"[]") else b""


def _end(write: Write) -> int:
    if write.end is None:
        raise AssertionError("a standing write has its place")
    return write.end

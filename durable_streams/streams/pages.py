"""Reading stored bytes: pages, alignment, the last N messages; across a fork's ancestors.

Owns: how a range of a stream maps to engine reads. Must not know: HTTP; who is waiting for more.
Invariant: only committed bytes are read, and JSON messages are never torn.

Cost: engine calls are made on the caller's thread. The embedded engines answer from memory or a memory map; a copy out
of either holds the interpreter lock, so a thread of its own would buy nothing (``docs/adr/0002``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.protocol import content_types, json_scan
from durable_streams.protocol.chunks import CHUNK_MAX_BYTES
from durable_streams.protocol.errors import (
    DamagedError,
    InvalidHeaderError,
    InvalidQueryError,
    NotFoundError,
    OffsetInsideMessageError,
    SubOffsetBeyondTailError,
)
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.headers import STREAM_FORK_SUB_OFFSET
from durable_streams.protocol.read import Page, page_bytes, segments_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import NoReturn

    from durable_streams.engine.base import Engine
    from durable_streams.protocol.draft import Draft
    from durable_streams.protocol.head import Head, Record
    from durable_streams.streams.packer import Packer

TAIL_MESSAGES_MAX: Final = 10_000
"""Most messages that ``?tail=N`` may ask for."""
FORK_MESSAGES_MAX: Final = 100_000
"""Most messages that ``Stream-Fork-Sub-Offset`` may count on a JSON stream."""
FORK_SCAN_MAX_BYTES: Final = 8 * 1024 * 1024
"""How far behind its anchor it still begins to look at a slice."""
FORK_SLICE_BYTES: Final = 256 * 1024
"""What of that is read in one go."""
PART_BYTES: Final = 64 * 1024
PART_COUNT: Final = 16_384
"""What of stored messages is told apart in one go, and how many of them are counted forwards."""
TAIL_SCAN_MAX_BYTES: Final = 64 * 1024 * 1024
"""Most bytes that ``?tail=N`` looks at to find them."""
SLICE_BYTES: Final = 128 * 1024
SLICE_CHUNKS: Final = 256
"""What of that is looked at in one go, in bytes and in chunks."""


class Pages:
    """Reads committed bytes of streams through their segments.

    Args:
        engine: the store.
        page_max_bytes: most bytes read at once, save that a single larger message goes whole.
        packer: is told how many rows each read took.
    """

    def __init__(self, engine: Engine, page_max_bytes: int, packer: Packer) -> None:
        self._engine, self.page_max_bytes, self.packer = engine, page_max_bytes, packer

    def page(self, head: Head, start: int, max_bytes: int | None = None) -> Page:
        """Return the page of a stream from ``start`` on (§5.6).

        Args:
            head: the stream, as it is to be seen.
            start: a byte position from 0 to ``head.tail``, between two messages on a JSON stream.
            max_bytes: most bytes of this page; ``None``, or more than ``page_max_bytes``, means that.

        Raises:
            NotFoundError: the bytes are gone: the stream was deleted by another process.
        """
        record = decode_record(head.record)
        limit = self.page_max_bytes if max_bytes is None else min(max_bytes, self.page_max_bytes)
        # A page of messages ends with a whole one; any other is filled to its last byte, so that a character cut by the
        # page before is always complete in this one.
        last = head.tail if content_types.is_json(record.content_type) else min(head.tail, start + limit)
        payload = self._stored(head.path, record, head.sid, start=start, end=last, max_bytes=limit)
        if not (len(payload) > limit and _is_one_message(record, payload)):
            payload = payload[: page_bytes(record.content_type, payload, limit)]
        end = start + len(payload)
        at_tail = end == head.tail
        return Page(head.sid, start, end, payload, at_tail, at_tail and head.closed, record.content_type)

    def piece(self, head: Head, start: int, end: int) -> bytes:
        """Return stored bytes of ``[start, end)`` from ``start`` on, at least one, at most a page of them.

        For an answer that holds all of them. A piece stops anywhere, within a message or a character too, so that no
        more than a page is held of a message however large.

        Args:
            head: the stream, as it is to be seen.
            start: a byte position below ``end``.
            end: where the answer ends, not past ``head.tail``.

        Raises:
            NotFoundError: the bytes are gone.
        """
        record, last = decode_record(head.record), min(end, start + self.page_max_bytes)
        return self._stored(head.path, record, head.sid, start=start, end=last, max_bytes=self.page_max_bytes)

    def _stored(self, path: str, record: Record, sid: int, *, start: int, end: int, max_bytes: int) -> bytes:
        """Return stored bytes of ``[start, end)``, at least one chunk, and no further chunk past ``max_bytes``."""
        parts: list[bytes] = []
        position = start
        for segment_sid, segment_start, inherited_end in segments_of(record, sid, end):
            segment_end = min(inherited_end, end)  # an ancestor's share goes on behind the end of this read
            while segment_start <= position < segment_end:
                chunks = self._engine.read(segment_sid, position, segment_end, max_bytes - (position - start))
                if not chunks:
                    self._refuse_missing(path, sid, position)
                self.packer.read(segment_sid, position, segment_end, rows=len(chunks))
                payload = b"".join([chunk.payload for chunk in chunks]) if len(chunks) > 1 else chunks[0].payload
                if parts and position - start + len(payload) > max_bytes:
                    return b"".join(parts)
                parts.append(payload)
                position += len(payload)
                if position - start >= max_bytes:
                    return b"".join(parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _refuse_missing(self, path: str, sid: int, position: int) -> NoReturn:
        """Say why committed bytes are not there: the stream has gone meanwhile, or the disk has lost them."""
        (head,) = self._engine.load([path])
        if head is None or head.sid != sid or position >= head.tail or self._engine.shared:
            raise NotFoundError(path)
        raise DamagedError(path, f"its bytes from {position} on are missing")

    def check_aligned(self, head: Head, position: int) -> None:
        """Check that a JSON stream may be read, or forked, from ``position``.

        Raises:
            OffsetInsideMessageError: the position would tear a message (§9.1.1).
        """
        record = decode_record(head.record)
        if not content_types.is_json(record.content_type) or position in {0, head.tail}:
            return
        self._check_boundary(record, segments_of(record, head.sid, head.tail), position)

    def _check_boundary(self, record: Record, segments: Iterable[tuple[int, int, int]], position: int) -> None:
        for segment_sid, segment_start, segment_end in segments:
            if segment_start <= position < segment_end:
                # The chunk that holds the byte at ``position``, up to and with it: what is before it must be whole.
                chunk = self._engine.read_before(segment_sid, position + 1)
                if chunk is None:
                    return
                if _is_one_message(record, chunk.payload) or not json_scan.is_boundary(chunk.payload[:-1]):
                    raise OffsetInsideMessageError(position)
                return

    def last_messages(self, head: Head, count: int) -> Generator[None, None, int]:
        """Look for where the last messages of a JSON stream begin, 0 if there are fewer; it is returned.

        Yields after every ``SLICE_BYTES`` or ``SLICE_CHUNKS``, so that others come in between.

        Args:
            head: the stream, as it is to be seen.
            count: messages, 0 to ``TAIL_MESSAGES_MAX``.

        Raises:
            InvalidQueryError: not a JSON stream, or the messages are too large to be found this way.
            NotFoundError: the stream was deleted meanwhile.
        """
        record = decode_record(head.record)
        if not content_types.is_json(record.content_type):
            raise InvalidQueryError("tail", "counts messages, and only application/json streams have them")
        missing, position, chunks, looked_at = count, head.tail, 0, head.tail
        for segment_sid, segment_start, _ in reversed(segments_of(record, head.sid, head.tail)):
            while missing > 0 and position > segment_start:
                if head.tail - position > TAIL_SCAN_MAX_BYTES:
                    raise InvalidQueryError("tail", f"the last {count} messages exceed {TAIL_SCAN_MAX_BYTES} bytes")
                if looked_at - position >= SLICE_BYTES or chunks >= SLICE_CHUNKS:
                    yield
                    chunks, looked_at = 0, position
                chunk = self._engine.read_before(segment_sid, position)
                if chunk is None:
                    self._refuse_missing(head.path, head.sid, position - 1)
                start, found = _start_of_last(record, chunk.payload, missing)
                position = chunk.offset + start
                missing -= found
                chunks += 1
        return position

    def fork_base(self, source: Draft, anchor: int, sub_offset: int) -> Generator[None, None, int]:
        """Look for the position ``sub_offset`` bytes, or messages on a JSON stream, past ``anchor`` (§4.2).

        It is returned. Yields after every ``FORK_SLICE_BYTES``.

        Args:
            source: the stream to fork, as it is to be seen.
            anchor: a byte position from 0 to the source's tail.
            sub_offset: bytes or messages, from 0.

        Raises:
            OffsetInsideMessageError: the anchor tears a message.
            SubOffsetBeyondTailError: the source does not reach that far.
            InvalidHeaderError: more than ``FORK_MESSAGES_MAX`` or ``FORK_SCAN_MAX_BYTES`` would have to be looked at.
        """
        record, tail = source.record, source.tail
        if not content_types.is_json(record.content_type):
            if anchor + sub_offset > tail:
                raise SubOffsetBeyondTailError(sub_offset)
            return anchor + sub_offset
        if sub_offset > FORK_MESSAGES_MAX:
            raise InvalidHeaderError(STREAM_FORK_SUB_OFFSET, f"counts at most {FORK_MESSAGES_MAX} messages")
        if anchor not in {0, tail}:
            self._check_boundary(record, segments_of(record, source.sid, tail), anchor)
        position, missing = anchor, sub_offset
        while missing:
            if position >= tail:
                raise SubOffsetBeyondTailError(sub_offset)
            if position - anchor > FORK_SCAN_MAX_BYTES:
                raise InvalidHeaderError(
                    STREAM_FORK_SUB_OFFSET, f"is looked for in {FORK_SCAN_MAX_BYTES} bytes; take a closer anchor"
                )
            try:
                payload = self._stored(
                    source.path, record, source.sid, start=position, end=tail, max_bytes=FORK_SLICE_BYTES
                )
            except NotFoundError:  # appended in this very batch: not stored yet, so nobody can know its messages
                raise SubOffsetBeyondTailError(sub_offset) from None
            length, found = _end_of_first(record, payload, missing)
            position += length
            missing -= found
            if missing:
                yield
        return position


def _start_of_last(record: Record, stored: bytes, count: int) -> tuple[int, int]:
    """Return where a part of the last ``count`` messages begins, and how many they are."""
    if _is_one_message(record, stored):
        return 0, 1
    part = json_scan.last_part(stored, PART_BYTES)
    start, found = json_scan.start_of_last(part, count)
    return len(stored) - len(part) + start, found


def _end_of_first(record: Record, stored: bytes, count: int) -> tuple[int, int]:
    """Return where a part of the first ``count`` messages ends, and how many they are."""
    if _is_one_message(record, stored):
        return len(stored), 1
    return json_scan.end_of_first(json_scan.first_part(stored, PART_BYTES), min(count, PART_COUNT))


def _is_one_message(record: Record, stored: bytes) -> bool:
    """Whether a chunk holds one message for certain, however it looks inside: only that makes chunks so large."""
    return len(stored) > CHUNK_MAX_BYTES and content_types.is_json(record.content_type)

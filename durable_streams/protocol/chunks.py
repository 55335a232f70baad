"""Chunks: how the bytes of one commit are cut into stored rows.

Invariant: a chunk never splits a JSON message, so that every page can be cut by looking at one chunk alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.protocol import json_scan

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

CHUNK_TARGET_BYTES: Final = 256 * 1024
"""Small appends are joined up to this. One chunk per stream per commit is the rule; this is for large ones."""
CHUNK_MAX_BYTES: Final = 1024 * 1024
"""Larger appends are cut, so that reading a page never copies much more than the page. One message may exceed it."""
GUESS_COUNT: Final = 8
"""Commas tried as the end of a message before ends are looked for."""


def split_chunks(pieces: Iterable[bytes], *, is_json: bool) -> Iterator[bytes]:
    """Yield the chunks for these consecutive appends, in order, none empty."""
    held: list[bytes] = []
    held_bytes = 0
    for piece in pieces:
        if held and held_bytes + len(piece) > CHUNK_TARGET_BYTES:
            yield b"".join(held)
            held, held_bytes = [], 0
        if len(piece) > CHUNK_MAX_BYTES:
            yield from _cut(piece, is_json=is_json)
        elif piece:
            held.append(piece)
            held_bytes += len(piece)
    if held:
        yield b"".join(held)


def _cut(piece: bytes, *, is_json: bool) -> Iterator[bytes]:
    start = 0
    while len(piece) - start > CHUNK_MAX_BYTES:
        end = _guessed_end(piece, start) if is_json else start + CHUNK_MAX_BYTES
        if end:
            yield piece[start:end]
            start = end
        else:
            start = yield from _cut_at(piece, start, _ends(piece, start))
    if start < len(piece):
        yield piece[start:]


def _guessed_end(piece: bytes, start: int) -> int:
    """Return the end of messages from ``start`` on that about fill a chunk, 0 if the last commas in it are not one."""
    end = start + CHUNK_MAX_BYTES
    for _ in range(GUESS_COUNT):
        end = piece.rfind(b",", start, end)
        if end < 0:
            return 0
        if json_scan.is_boundary(piece[start : end + 1]):
            return end + 1
    return 0


def _ends(piece: bytes, start: int) -> Iterable[int]:
    """Return the ends of messages from ``start`` on, more than a chunk of them: a few by skipping them, or all."""
    ends = [start + end for end in json_scan.first_ends(piece[start:])]
    if ends[-1] - start > CHUNK_MAX_BYTES:
        return ends
    return json_scan.boundaries(piece, start)


def _cut_at(piece: bytes, start: int, ends: Iterable[int]) -> Generator[bytes, None, int]:
    """Yield chunks that end at some of the ends; return where the rest begins."""
    last = start
    for end in ends:
        if end - start > CHUNK_MAX_BYTES and last > start:
            yield piece[start:last]
            start = last
        last = end
    if last - start > CHUNK_MAX_BYTES:
        yield piece[start:last]
        return last
    return start

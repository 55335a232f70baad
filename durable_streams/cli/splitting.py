"""How input becomes messages: by lines, by blocks, or whole. Pure, but for the reading it is fed by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from durable_streams.cli.endings import Failure, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_streams.cli.inputs import Source

Splitting: TypeAlias = Literal["lines", "blocks", "whole"]

MESSAGE_MAX_BYTES: Final = 32 * 2**20
"""Longest line or whole input taken: twice what a server accepts by default, and held in memory."""
_BLANKS: Final = b" \t\r\n"


class Piece(NamedTuple):
    """Some messages of a source.

    first_line: number of the first message's line, from 1; blank lines count.
    messages: in order; an empty one is a blank line, to be skipped.
    size_bytes: what was read of the source for them.
    """

    first_line: int
    messages: list[bytes]
    size_bytes: int


def split(source: Source, splitting: Splitting) -> AsyncIterator[Piece]:
    """Yield the messages of a source, as they come.

    Raises:
        Failure: a message over ``MESSAGE_MAX_BYTES``.
    """
    if splitting == "lines":
        return _lines(source)
    return _whole(source) if splitting == "whole" else _blocks(source)


async def _lines(source: Source) -> AsyncIterator[Piece]:
    rest = b""
    number = 1
    async for block in source.blocks():
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        _check_size(source, len(rest), number + len(lines))
        yield Piece(number, [line.strip(_BLANKS) for line in lines], len(block))
        number += len(lines)
    if rest:
        yield Piece(number, [rest.strip(_BLANKS)], 0)


async def _blocks(source: Source) -> AsyncIterator[Piece]:
    async for block in source.blocks():
        yield Piece(1, [block], len(block))


async def _whole(source: Source) -> AsyncIterator[Piece]:
    content = bytearray()
    async for block in source.blocks():
        content += block
        _check_size(source, len(content), 1)
    yield Piece(1, [bytes(content)], len(content))


def _check_size(source: Source, size_bytes: int, line: int) -> None:
    if size_bytes > MESSAGE_MAX_BYTES:
        raise Failure(f"{source.name}: line {line} is longer than {MESSAGE_MAX_BYTES} bytes", Status.USAGE)

"""Where ``append`` takes its bytes from: files, pipes, terminals.

Owns: reading without blocking the loop, and telling one input from another. Must not know: messages, streams.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from contextlib import ExitStack

BLOCK_BYTES: Final = 256 * 1024
STDIN: Final = "-"
_DIGEST_BYTES: Final = 12


@dataclass(slots=True)
class Source:
    """One input, read once from where its descriptor stands.

    Attributes:
        name: what messages call it.
        descriptor: open for reading; whoever opened it closes it.
        size_bytes: what is left of a regular file; ``None`` for everything that has no size.
    """

    name: str
    descriptor: int
    size_bytes: int | None = field(init=False)

    def __post_init__(self) -> None:
        status = os.fstat(self.descriptor)
        self.size_bytes = (
            max(0, status.st_size - os.lseek(self.descriptor, 0, os.SEEK_CUR)) if stat.S_ISREG(status.st_mode) else None
        )

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield what there is, up to ``BLOCK_BYTES`` at a time; a regular file's blocks are full ones but the last."""
        while block := await self._read():
            yield block

    async def _read(self) -> bytes:
        if self.size_bytes is None:
            await _readable(self.descriptor)
        else:
            await asyncio.sleep(0)  # a file is always ready: let what was read before travel
        return os.read(self.descriptor, BLOCK_BYTES)


def open_sources(names: Sequence[str], exits: ExitStack) -> list[Source]:
    """Open the named files, ``-`` being stdin; no names are stdin alone. ``exits`` closes them.

    Raises:
        OSError: one cannot be opened.
    """
    sources = []
    for name in names or [STDIN]:
        if name == STDIN:
            sources.append(Source("stdin", sys.stdin.fileno()))
        else:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            exits.callback(os.close, descriptor)
            sources.append(Source(name, descriptor))
    return sources


def pinned(sources: Sequence[Source], exits: ExitStack) -> tuple[list[Source], str]:
    """Read all sources to the end once; return them to be read again, and a digest of what is in them.

    What cannot be read twice is kept in a temporary file, which ``exits`` removes.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    again = []
    for source in sources:
        if source.size_bytes is None:
            again.append(_spooled(source, digest, exits))
        else:
            again.append(source)
            start = os.lseek(source.descriptor, 0, os.SEEK_CUR)
            size = 0
            for block in _blocks(source.descriptor):
                digest.update(block)
                size += len(block)
            os.lseek(source.descriptor, start, os.SEEK_SET)
            source.size_bytes = size
        # Where one file ends and the next begins is part of the content: a message does not span files.
        digest.update(b"\0%d\0" % (again[-1].size_bytes or 0))
    return again, digest.hexdigest()


def _spooled(source: Source, digest: hashlib.blake2b, exits: ExitStack) -> Source:
    kept = exits.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 for as long as ``exits``
    for block in _blocks(source.descriptor):
        digest.update(block)
        kept.write(block)
    kept.seek(0)
    return Source(source.name, kept.fileno())


def _blocks(descriptor: int) -> Iterator[bytes]:
    while block := os.read(descriptor, BLOCK_BYTES):
        yield block


async def _readable(descriptor: int) -> None:
    """Wait until a pipe, socket or terminal has something to read; return at once for what the loop cannot watch.

    No thread: one that is stuck in a read would keep ctrl-C waiting. And no non-blocking mode: that would be set for
    every process that shares the descriptor.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        await asyncio.sleep(0)
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
